package explain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "canary-91d2"

const readers = `package a

default allow := {"allowed": false}

allow := {"allowed": true} if {
	input.attributes.request.http.method == "GET"
	data.routes[input.parsed_path[0]] == true
}

allow := {"allowed": true} if input.attributes.request.http.headers.cookie == "s=canary-91d2"
`

func compile(t testing.TB, source string) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(context.Background(), []policy.Source{
		{Name: "a.rego", Data: []byte(source)}, {Name: "data.json", Data: []byte(`{"routes": {"orders": true}}`)},
	}, policy.Config{Path: "a/allow", EvalTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// decided asks the policy, as a request would.
func decided(t testing.TB, p *policy.Policy, id, method, path string) Decided {
	t.Helper()
	r := &checkreq.Request{
		Method: method, Path: "/" + path, Target: "/" + path + "?access_token=" + canary, Query: "access_token=" + canary, Segments: []string{path},
		Headers: checkreq.Headers{
			{Name: ":path", Value: "/" + path + "?access_token=" + canary},
			{Name: "authorization", Value: "Bearer " + canary},
			{Name: "content-type", Value: "application/json"},
			{Name: "cookie", Value: "s=" + canary},
		},
		Body: []byte(`{"secret": "` + canary + `"}`), Source: checkreq.Peer{Principal: "spiffe://a/b", Certificate: canary},
	}
	subject := decide.Subject{Request: r, ShowAuth: true}
	decision, refusal, fault := decide.Decide(t.Context(), p, subject)
	if refusal != nil || fault != nil {
		t.Fatal(refusal, fault)
	}
	return Decided{
		Record: decisionlog.Record{
			DecisionID: id, Time: time.Unix(1790000000, 0), Epoch: 7, Revision: p.Revision(), Path: "a/allow", Result: decisionlog.ResultAllowed, Request: r, Decision: decision.Result,
		},
		Subject: subject, Policy: p,
	}
}

func start(t testing.TB, bytesMax int64, mask ...string) *Recorder {
	t.Helper()
	r := New(bytesMax, mask)
	t.Cleanup(r.Close)
	return r
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

// settled returns when everything added is kept or was missed.
func (r *Recorder) settled(t testing.TB) {
	t.Helper()
	await(t, "settled", func() bool { return r.pending.Load() == 0 })
}

func get(t testing.TB, r *Recorder, id string) (int, string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(Route, r)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/decision/"+id, nil))
	return w.Code, w.Body.String()
}

func TestExplains(t *testing.T) {
	t.Parallel()
	r, p := start(t, 1<<20, "/input/attributes/source/principal"), compile(t, readers)
	d := decided(t, p, "d-1", "GET", "orders")
	d.Issuer = &state.Issuer{Rules: jose.Rules{Issuer: "https://i"}, Epoch: 6, KeysUntil: time.Unix(1790086400, 0), Revocations: &trust.Revocations{}}
	r.Add(d)
	r.settled(t)
	status, text := get(t, r, "d-1")
	if strings.Contains(text, canary) {
		t.Errorf("a secret is shown: %s", text)
	}
	var got Answer
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusOK {
		t.Fatal(status, err, text)
	}
	if !bytes.Contains(got.Input, []byte(`"method": "GET"`)) && !bytes.Contains(got.Input, []byte(`"method":"GET"`)) {
		t.Errorf("input %s", got.Input)
	}
	got.Input, got.Kept.Decision = nil, nil
	if d := string(got.Explanation.Decision); strings.Join(strings.Fields(d), "") != `{"allowed":true}` {
		t.Errorf("decision %s", d)
	}
	got.Explanation.Decision = nil
	const http = "/input/attributes/request/http"
	want := Answer{
		Kept: Kept{
			DecisionID: "d-1", Time: time.Unix(1790000000, 0).UTC(), Path: "a/allow", Result: "allowed", Epoch: 7, Revision: p.Revision(), Issuer: &KeptIssuer{Issuer: "https://i", Epoch: 6, KeysUntil: time.Unix(1790086400, 0).UTC(), RevocationsSequence: new(int64)},
			Erased: []string{http + "/body", "/input/parsed_body", "/input/attributes/source/certificate", "/input/attributes/source/principal"},
		},
		Policy: PolicyState{Revision: p.Revision(), Available: true},
		Explanation: &Explanation{
			Agrees: true,
			Rules:  []policy.ExplainedRule{{Name: "data.a.allow", File: "a.rego", Line: 5, Held: true}},
			Data:   []policy.ExplainedData{{Path: "data.routes", Found: true}},
		},
	}
	for _, masked := range []string{http + "/headers/authorization", http + "/headers/cookie", http + "/path"} {
		if !strings.Contains(text, `"`+masked+`"`) {
			t.Errorf("%s is not said to be masked", masked)
		}
	}
	got.Masked = nil
	rules := got.Explanation.Rules[:0]
	for _, rule := range got.Explanation.Rules {
		if rule.Held {
			rules = append(rules, rule)
		}
	}
	got.Explanation.Rules = rules
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What a policy decided by is masked in what is kept: the answer says that it would decide otherwise.
func TestSaysWhenItDisagrees(t *testing.T) {
	t.Parallel()
	r, p := start(t, 1<<20), compile(t, readers)
	r.Add(decided(t, p, "d-1", "PUT", "orders"))
	r.settled(t)
	if _, text := get(t, r, "d-1"); !strings.Contains(text, `"agrees": false`) {
		t.Error(text)
	}
}

func TestUnknownAndGone(t *testing.T) {
	t.Parallel()
	r := start(t, 1<<20)
	if status, text := get(t, r, "nothing"); status != http.StatusNotFound || !strings.Contains(text, "not kept") {
		t.Errorf("%d %s", status, text)
	}
	r.Add(Decided{Record: decisionlog.Record{DecisionID: "refused", Result: "denied", Reason: "credential_missing"}})
	for n := range 3 {
		r.Add(decided(t, compile(t, readers+strings.Repeat("\n", n+1)), fmt.Sprint(n), "GET", "orders"))
		r.settled(t)
	}
	for id, want := range map[string]string{
		"refused": "the policy was not asked", "0": "the policy that decided is gone", "1": `"agrees": true`, "2": `"agrees": true`,
	} {
		if status, text := get(t, r, id); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", id, status, text)
		}
	}
}

// The ring holds the newest decisions, never more than its bytes.
func TestIsBounded(t *testing.T) {
	t.Parallel()
	r, p := start(t, 16<<10), compile(t, readers)
	const all = 200
	for n := range all {
		r.Add(decided(t, p, fmt.Sprint(n), "GET", "orders"))
		r.settled(t)
		r.mu.Lock()
		sum := int64(0)
		for _, e := range r.entries {
			sum += e.size
		}
		if sum != r.bytes || sum > r.bytesMax || len(r.entries) != len(r.order)-r.head || cap(r.order) > 4*all {
			t.Fatalf("%d bytes, counted %d, %d entries, %d in order", sum, r.bytes, len(r.entries), len(r.order)-r.head)
		}
		r.mu.Unlock()
	}
	if status, _ := get(t, r, fmt.Sprint(all-1)); status != http.StatusOK {
		t.Error("the newest is gone")
	}
	if status, _ := get(t, r, "0"); status != http.StatusNotFound {
		t.Error("the oldest is still there")
	}
	huge := decided(t, p, "huge", "GET", "orders")
	huge.Record.Decision = strings.Repeat("x", 17<<10)
	r.Add(huge)
	r.settled(t)
	if status, _ := get(t, r, "huge"); status != http.StatusNotFound {
		t.Error("one decision is larger than the ring")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	r, p := start(t, 64<<10), compile(t, readers)
	one := decided(t, p, "", "GET", "orders")
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for n := range 200 {
				d := one
				d.Record.DecisionID = fmt.Sprint(g, "-", n)
				r.Add(d)
				if n%50 == 0 {
					get(t, r, d.Record.DecisionID)
				}
			}
		})
	}
	group.Wait()
	r.Close()
	r.Add(one)
}
