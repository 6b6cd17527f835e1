package shadow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/internal/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// byMethod allows GET; the candidate allows POST instead, and says why it does not allow.
const (
	byMethod  = "package a\n\ndefault allow := false\n\n# METADATA\n# labels: {id: readers}\nallow if input.attributes.request.http.method == \"GET\"\n"
	candidate = "package a\n\ndefault allow := {\"allowed\": false, \"reason\": {\"code\": \"read_only\"}, \"headers\": {\"set-cookie\": \"s=secret\"}}\n\nallow := {\"allowed\": true} if input.attributes.request.http.method == \"POST\"\nallow := {\"allowed\": \"x\"} if input.attributes.request.http.method == \"PUT\"\n"
	loops     = "package a\n\nallow if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i + j == -1 }\n"
)

func compile(t testing.TB, source string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "a.rego", Data: []byte(source)}},
		policy.Config{Path: "a/allow", EvalTimeout: 200 * time.Millisecond, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func start(t testing.TB, change func(*Config)) *Shadow {
	t.Helper()
	cfg := Config{Path: "a/allow", Percent: 100}
	if change != nil {
		change(&cfg)
	}
	var err error
	if cfg.Metrics, err = NewMetrics(prometheus.NewPedanticRegistry()); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func decided(id, method, result string) Decided {
	request := &checkreq.Request{Method: method, Target: "/", Path: "/", Segments: []string{""}}
	return Decided{
		Record:  decisionlog.Record{DecisionID: id, Result: result, Request: request, Revision: "active", Path: "b/allow"},
		Subject: decide.Subject{Request: request},
	}
}

func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("still not: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *Shadow) compared() float64 { return total(s.decisions) }

func total(c *prometheus.CounterVec) (sum float64) {
	metrics := make(chan prometheus.Metric, 100)
	c.Collect(metrics)
	close(metrics)
	for m := range metrics {
		sum += testutil.ToFloat64(only{m})
	}
	return sum
}

// only is one metric as a collector.
type only struct{ prometheus.Metric }

func (o only) Describe(ch chan<- *prometheus.Desc) { ch <- o.Desc() }
func (o only) Collect(ch chan<- prometheus.Metric) { ch <- o.Metric }

func TestComparesAndCounts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{})
	s := start(t, func(c *Config) { c.Log = log })
	s.Candidate().Store(compile(t, candidate))
	active := compile(t, byMethod)
	for n, d := range []Decided{
		decided("agree-deny", "DELETE", "denied"), decided("flip-deny", "GET", "allowed"), decided("flip-allow", "POST", "denied"),
		decided("error", "PUT", "denied"), decided("agree-allow", "POST", "allowed"), decided("better", "POST", "undecided"),
	} {
		d.Policy = active
		s.explained = time.Time{} // the worker is idle: each disagreement is explained
		s.Offer(d)
		await(t, d.Record.DecisionID, func() bool { return s.compared() == float64(n+1) })
	}
	for labels, want := range map[[2]string]float64{
		{"denied", "denied"}: 1, {"allowed", "denied"}: 1, {"denied", "allowed"}: 1, {"denied", "undecided"}: 1, {"allowed", "allowed"}: 1, {"undecided", "allowed"}: 1,
	} {
		if got := testutil.ToFloat64(s.decisions.WithLabelValues("", labels[0], labels[1])); got != want {
			t.Errorf("%v: %v, want %v", labels, got, want)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(out.String()) {
		var event struct {
			ID string `json:"decision_id"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, event.ID)
	}
	if d := cmp.Diff([]string{"flip-deny", "flip-allow", "error", "better"}, ids); d != "" {
		t.Errorf("disagreements in the log: %s", d)
	}
	first, _, _ := strings.Cut(out.String(), "\n")
	for _, want := range []string{
		`"type":"shadow"`, `"result":"allowed"`, `"rules":["data.a.allow@a.rego:7"],"rule_labels":[{"id":"readers"}]`, `"path":"b/allow"`,
		`"shadow":{"revision":"` + s.Candidate().Load().Revision() + `","path":"a/allow","result":"denied","reason":"policy_denied","reason_code":"read_only"`,
		`"rules":["data.a.allow@a.rego:3"]`, `"set-cookie":"[masked]"`,
	} {
		if !strings.Contains(first, want) {
			t.Errorf("%s is not in %s", want, first)
		}
	}
}

// Without a candidate, for other organizations, and outside the percentage nobody is asked.
func TestWhoIsCompared(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.Offer(decided("d", "GET", "allowed"))
	if got := testutil.ToFloat64(s.skipped.WithLabelValues("", "missing")); got != 1 {
		t.Errorf("%v missing", got)
	}
	s = start(t, func(c *Config) { c.Percent, c.Percents = 0, map[string]float64{"org_a": 100} })
	s.Candidate().Store(compile(t, candidate))
	for org, want := range map[string]float64{"": 0, "org_b": 0, "org_a": 1} {
		before := s.compared()
		d := decided(org, "GET", "allowed")
		if org != "" {
			d.Subject.Identity = &identity.Identity{OrganizationID: org}
		}
		s.Offer(d)
		s.Offer(Decided{Record: decisionlog.Record{DecisionID: "behind", Result: "denied"}, Subject: func() decide.Subject { // comes after it
			behind := decided("", "DELETE", "").Subject
			behind.Identity = &identity.Identity{OrganizationID: "org_a"}
			return behind
		}()})
		await(t, "compared", func() bool { return s.compared() >= before+1+want })
		if got := s.compared() - before - 1; got != want {
			t.Errorf("organization %q: %v compared", org, got)
		}
	}
	s = start(t, func(c *Config) { c.Percent = 10 }) // no candidate: each that would be asked counts as missing
	share, want := decisionlog.NewShare("shadow", 0.1), 0.0
	const all = 20_000
	for n := range all {
		id := fmt.Sprint(n)
		s.Offer(decided(id, "GET", "allowed"))
		if share.Has(id) {
			want++
		}
	}
	if got := total(s.skipped); got != want || got < 0.09*all || got > 0.11*all {
		t.Errorf("%v of %d would be asked, want %v", got, all, want)
	}
}

// A candidate that panics, fails or is stuck never holds up an offer; what is skipped is counted; the next good one works.
func TestHostileCandidates(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.Candidate().Store(compile(t, loops))
	const offers = 2000
	began := time.Now()
	for n := range offers {
		s.Offer(decided(fmt.Sprint(n), "GET", "allowed"))
	}
	if took := time.Since(began); took > 5*time.Second { // of patience with the machine: it takes about a millisecond
		t.Errorf("%d offers took %v", offers, took)
	}
	await(t, "rest", func() bool { return s.restUntil.Load() != 0 })
	s.Offer(decided("late", "GET", "allowed"))
	if got := testutil.ToFloat64(s.skipped.WithLabelValues("", "busy")); got < offers-queueMax-1 {
		t.Errorf("%v skipped", got)
	}
	await(t, "all are counted", func() bool { return s.compared()+total(s.skipped) == offers+1 })
	if got := testutil.ToFloat64(s.skipped.WithLabelValues("", "resting")); got < 2 {
		t.Errorf("%v skipped while the candidate rests", got)
	}
	if got := testutil.ToFloat64(s.decisions.WithLabelValues("", "allowed", "undecided")); got != 1 {
		t.Errorf("%v asked: the first ran out of time, the others should have been let go", got)
	}
}

// Each organization that is named has its own percentage and its own counters; the others share one of each.
func TestPercentOfOrganizations(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.Percent, c.Percents = 10, map[string]float64{"org_a": 50, "org_b": 0} }) // no candidate: each counts as missing
	const all = 10_000
	for n := range all {
		for _, org := range []string{"", "org_a", "org_b", "org_c"} {
			d := decided(fmt.Sprint(org, n), "GET", "allowed")
			if org != "" {
				d.Subject.Identity = &identity.Identity{OrganizationID: org}
			}
			s.Offer(d)
		}
	}
	for org, want := range map[string]float64{"org_a": 0.5 * all, "": 0.2 * all} {
		if got := testutil.ToFloat64(s.skipped.WithLabelValues(org, "missing")); got < 0.9*want || got > 1.1*want {
			t.Errorf("%q: %v would be asked, want about %v", org, got, want)
		}
	}
	if n := testutil.CollectAndCount(s.skipped); n != 2 {
		t.Errorf("%d time series: there must be none of organizations that are not named", n)
	}
}

// Every decision that was offered is counted once, as compared or as skipped, whatever became of the candidate meanwhile.
func TestEveryOfferIsCounted(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(*Shadow){
		"compared":                       func(*Shadow) {},
		"the candidate goes meanwhile":   func(s *Shadow) { s.Candidate().Store(nil) },
		"it begins to rest meanwhile":    func(s *Shadow) { s.restUntil.Store(time.Now().Add(time.Hour).UnixNano()) },
		"it is closed meanwhile":         func(s *Shadow) { go s.Close(); <-s.ctx.Done() },
		"the queue is full long ago":     func(s *Shadow) { offerMany(s, 2*queueMax) },
		"closed before others are there": func(s *Shadow) { go s.Close(); <-s.ctx.Done(); offerMany(s, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, nil)
			entered, gate := make(chan struct{}, 1), make(chan struct{})
			ask := s.ask
			s.ask = func(ctx context.Context, e decide.Evaluator, d decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
				select {
				case entered <- struct{}{}:
					<-gate
				default:
				}
				return ask(ctx, e, d)
			}
			s.Candidate().Store(compile(t, candidate))
			offerMany(s, 1)
			<-entered
			offerMany(s, 99)
			offered := 100.0
			switch then(s); name {
			case "the queue is full long ago":
				offered += 2 * queueMax
			case "closed before others are there":
				offered += 10
			}
			close(gate)
			await(t, "all are counted", func() bool { return s.compared()+total(s.skipped) >= offered })
			s.Close()
			if got := s.compared() + total(s.skipped); got != offered {
				t.Errorf("%v compared and %v skipped of %v", s.compared(), total(s.skipped), offered)
			}
		})
	}
}

func offerMany(s *Shadow, n int) {
	for i := range n {
		s.Offer(decided(fmt.Sprint(i), "GET", "allowed"))
	}
}

func TestPanicIsAnOpinion(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.ask = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
		panic("hostile")
	}
	s.Candidate().Store(compile(t, candidate))
	for n := range 3 {
		s.Offer(decided(fmt.Sprint(n), "GET", "denied"))
	}
	await(t, "three panics", func() bool { return testutil.ToFloat64(s.decisions.WithLabelValues("", "denied", "undecided")) == 3 })
}

func TestFaultIsAnOpinion(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for reason, want := range map[decide.Reason]bool{decide.ReasonUndefined: false, decide.ReasonTimeout: true, decide.ReasonOverloaded: true} {
		s.restUntil.Store(0)
		s.ask = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
			return nil, nil, &decide.Fault{Reason: reason, Err: errors.New("x")}
		}
		if got := s.opinionOf(nil, decide.Subject{}); got.result != "undecided" || got.reason != string(reason) {
			t.Errorf("%s: %+v", reason, got)
		}
		if rests := s.restUntil.Load() != 0; rests != want {
			t.Errorf("%s: rests %v", reason, rests)
		}
	}
}

// Offers from everywhere, while the candidate changes and the shadow ends.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	good := compile(t, candidate)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for n := range 500 {
				s.Offer(decided(fmt.Sprint(n), "GET", "allowed"))
				if n%100 == 0 {
					s.Candidate().Store(good)
				}
			}
		})
	}
	group.Go(s.Close)
	group.Wait()
	s.Offer(decided("after", "GET", "allowed"))
}
