package decide

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
)

func newTestCache(t testing.TB) *Cache {
	t.Helper()
	c, err := NewCache(8<<20, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func compiled(t testing.TB, path, source string) *policy.Policy {
	t.Helper()
	p, err := compileTest(path, source)
	if err != nil {
		t.Fatalf("%v in\n%s", err, source)
	}
	t.Cleanup(p.Close)
	return p
}

func compileTest(path, source string) (*policy.Policy, error) {
	cfg := policy.Config{Path: path, EvalTimeout: 2 * time.Second, TokenBuiltins: true, Workers: 1}
	return policy.Compile(context.Background(), []policy.Source{{Name: "p.rego", Data: []byte(source)}}, cfg)
}

// conditions are what random policies are made of. P and Q are parts of the input.
var conditions = []string{
	`P`, `not P`, `P == "a"`, `P != "a"`, `P == Q`, `not P == Q`, `count(P) > 1`, `is_string(P)`, `P == {}`, `not P.x`, `x := P; not x.b`, `x := P; x.a == "b"`,
	`some x in P; x == "a"`, `some k, _ in P; k == "a"`, `every x in P { x == "a" }`, `every k, v in P { k != v }`, `"a" in P`, `Q in P`,
	`count([x | some x in P]) == 0`, `count({k | some k, v in P; v != "a"}) > 0`, `{k: v | some k, v in P} == Q`, `P[_] == "a"`, `P[Q]`,
	`object.get(P, "a", "none") == "b"`, `object.get(P, ["a", "b"], 0) == 1`, `contains(sprintf("%v", [P]), "a")`, `walk(P, [_, "a"])`, `startswith(P, "a")`,
	`json.marshal(P) == json.marshal(Q)`, `helper with input.identity as {"subject": P}`, `helper with input as P`, `helper with input.attributes.source as P`, `helper with input.identity.agent as Q`,
	`f(P) == "other"`, `not helper`, `chain == 2`,
}

// somePolicy makes a policy of a few conditions over parts of the input that do not rule out remembering.
func somePolicy(c chooser, focus ...string) string {
	all := slices.Concat(exactPaths, roundedPaths)
	paths := slices.Clone(focus) // few, so that much depends on each
	for len(paths) < 3 {
		paths = append(paths, pick(c, all))
	}
	condition := func() string {
		text := strings.NewReplacer("P", reference(pick(c, paths)), "Q", reference(pick(c, paths)))
		return text.Replace(pick(c, conditions))
	}
	var b strings.Builder
	b.WriteString("package t\n\n")
	for range 1 + c.choose(3) {
		fmt.Fprintf(&b, "holds if {\n\t%s\n}\n\n", condition())
	}
	if c.choose(2) == 0 {
		fmt.Fprintf(&b, "holds if {\n\thelped\n\t%s\n}\n\nhelped if {\n\t%s\n}\n\n", condition(), condition())
	}
	fmt.Fprintf(&b, "helper if input.identity.subject == \"a\"\n\nhelper if %s == \"a\"\n\n", reference(pick(c, paths)))
	fmt.Fprintf(&b, "f(x) := \"one\" if x == %s\nelse := \"other\"\n\n", reference(pick(c, paths)))
	fmt.Fprintf(&b, "chain := 1 if %s\nelse := 2 if not %s\n\n", reference(pick(c, paths)), reference(pick(c, paths)))
	switch c.choose(4) {
	case 0:
		b.WriteString("d if holds\n")
	case 1:
		fmt.Fprintf(&b, "default d := {\"allowed\": false}\n\nd := {\"allowed\": true, \"headers\": {\"x-a\": %s}} if holds\n", reference(pick(c, paths)))
	case 2:
		fmt.Fprintf(&b, "d := {\"allowed\": true} if holds\nelse := {\"allowed\": false, \"body\": %s, \"reason\": {\"code\": \"b\"}}\n", reference(pick(c, paths)))
	default:
		b.WriteString("default d := false\n\nd if holds\n")
	}
	return b.String()
}

// reference writes a path as Rego.
func reference(path string) string {
	var b strings.Builder
	b.WriteString("input")
	for _, name := range split(path) {
		fmt.Fprintf(&b, "[%q]", name)
	}
	return b.String()
}

// outcome is all that Decide may answer.
func outcome(d *Decision, refusal *checkreq.Refusal, fault *Fault) any {
	switch {
	case refusal != nil:
		return *refusal
	case fault != nil:
		return fault.Reason
	default:
		return *d
	}
}

// differ lets a cache with a few policies, issuers and callers answer a row of requests that resemble each other, and
// returns the first answer that is not the one without a cache.
func differ(c chooser, cache *Cache, focus ...string) error {
	var policies []*policy.Policy
	var sources []string
	for range 1 + c.choose(2) {
		source := somePolicy(c, focus...)
		p, err := compileTest("t/d", source)
		if err != nil {
			return fmt.Errorf("%w in\n%s", err, source)
		}
		defer p.Close()
		policies, sources = append(policies, p), append(sources, source)
	}
	s := someSubject(c)
	which := 0
	for range 40 {
		switch c.choose(8) {
		case 0: // another policy comes into force
			which = c.choose(len(policies))
		case 1:
			s.Issuer = &state.Issuer{Epoch: uint64(c.choose(2))}
		case 2:
			s.ShowAuth = !s.ShowAuth
		case 3, 4:
			s.Identity = pick(c, identities())
		case 5, 6:
			s.Request = changed(c, s.Request)
		default: // the same again
		}
		want := outcome(Decide(context.Background(), policies[which], s))
		if got := outcome(cache.Decide(context.Background(), policies[which], s)); !reflect.DeepEqual(got, want) {
			return fmt.Errorf("got %+v, want %+v\n%v\n%s", got, want, whole(fatal{}, s), sources[which])
		}
		cache.entries.Wait()
	}
	return nil
}

type fatal struct{}

func (fatal) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// Answers from memory and fresh ones never differ, whatever the policy, the request, the caller, and what changes between.
func TestCachedAndUncachedNeverDiffer(t *testing.T) {
	t.Parallel()
	cache := newTestCache(t)
	rapid.Check(t, func(rt *rapid.T) {
		if err := differ(byRapid{rt}, cache); err != nil {
			rt.Fatal(err)
		}
	})
	if hits, misses := cache.Counts(); hits < misses/4 {
		t.Errorf("%d hits, %d misses: this does not test much", hits, misses)
	}
}

// The test above finds each part that is missing in keys, and a difference of circumstances that is.
func TestAMissingPartIsFound(t *testing.T) {
	t.Parallel()
	seen := map[partKind]int{}
	for _, path := range append([]string{"parsed_query"}, exactPaths...) {
		dropped, _ := partOf(split(path))
		if dropped.kind == 0 || seen[dropped.kind] > 1 { // always the same; or enough of a kind
			continue
		}
		seen[dropped.kind]++
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			cache := newTestCache(t)
			cache.project = func(set policy.ReadSet) ([]part, []Obstacle) {
				parts, obstacles := project(set)
				return slices.DeleteFunc(parts, func(p part) bool { return reflect.DeepEqual(p, dropped) }), obstacles
			}
			for seed := range uint64(2000) {
				if differ(bySeed{rand.New(rand.NewPCG(seed, 1))}, cache, path) != nil {
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}

// Many callers, policies that follow one another, a cache too small for all of it: each answer is that of the policy asked.
func TestManyCallersAndPolicies(t *testing.T) {
	t.Parallel()
	cache, err := NewCache(64<<10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	const ask = "package t\nd := {\"allowed\": %v, \"headers\": {\"x-a\": input.attributes.request.http.host}} if input.attributes.request.http.method != \"\"\n"
	both := [2]*policy.Policy{compiled(t, "t/d", fmt.Sprintf(ask, false)), compiled(t, "t/d", fmt.Sprintf(ask, true))}
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 500 {
				which := (caller + i/50) % 2
				host := fmt.Sprint("host", i%40)
				d, _, fault := cache.Decide(context.Background(), both[which], Subject{Request: &checkreq.Request{Method: "GET", Host: host}, Now: noon})
				switch {
				case fault != nil && fault.Reason == ReasonOverloaded: // of the one worker, on a busy machine
				case fault != nil:
					t.Error(fault)
				case d.Allowed != (which == 1) || d.Result.(map[string]any)["headers"].(map[string]any)["x-a"] != host:
					t.Errorf("policy %d, %s: %+v", which, host, d)
				}
			}
		})
	}
	callers.Wait()
}

func TestCacheRemembers(t *testing.T) {
	t.Parallel()
	p := &counting{Policy: compiled(t, "t/d", "package t\ndefault d := false\nd if input.attributes.request.http.method == \"GET\"\n")}
	cache := newTestCache(t)
	ask := func(method string, now time.Time) bool {
		t.Helper()
		d, refusal, fault := cache.Decide(context.Background(), p, Subject{Request: &checkreq.Request{Method: method, Target: fmt.Sprint(p.asked)}, Now: now})
		if refusal != nil || fault != nil {
			t.Fatal(refusal, fault)
		}
		cache.entries.Wait()
		return d.Allowed
	}
	for range 3 {
		if !ask("GET", noon) || ask("POST", noon) {
			t.Fatal("wrong answers")
		}
	}
	if p.asked != 2 {
		t.Errorf("asked %d times, want one allowance and one denial", p.asked)
	}
	if hits, misses := cache.Counts(); hits != 4 || misses != 2 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	ask("GET", noon.Add(time.Minute-1))
	if p.asked != 2 {
		t.Error("forgotten before its time")
	}
	ask("GET", noon.Add(time.Minute))
	if p.asked != 3 {
		t.Error("remembered beyond its time")
	}
}

// counting counts evaluations.
type counting struct {
	*policy.Policy
	asked int
	fail  error
}

func (p *counting) Eval(ctx context.Context, input policy.Value) (any, error) {
	p.asked++
	if p.fail != nil {
		return nil, p.fail
	}
	return p.Policy.Eval(ctx, input)
}

// What a decision stands on may end sooner than the cache's maximum age.
func TestNothingIsRememberedBeyondWhatItStandsOn(t *testing.T) {
	t.Parallel()
	who := identities()[1] // expires 300 s after noon
	for name, tt := range map[string]struct {
		issuer state.Issuer
		now    time.Time
		want   time.Duration
	}{
		"maximum age": {state.Issuer{}, noon, time.Minute},
		"token":       {state.Issuer{}, noon.Add(290 * time.Second), 10 * time.Second},
		"keys":        {state.Issuer{KeysUntil: noon.Add(7 * time.Second)}, noon, 7 * time.Second},
		"revocations": {state.Issuer{RevocationsUntil: noon.Add(5 * time.Second), KeysUntil: noon.Add(7 * time.Second)}, noon, 5 * time.Second},
	} {
		s := Subject{Identity: who, Issuer: &tt.issuer, Now: tt.now}
		if got := s.until(tt.now.Add(time.Minute)).Sub(tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		s.Issuer.Rules.Skew = 3 * time.Second
		if name == "token" {
			if got := s.until(tt.now.Add(time.Minute)).Sub(tt.now); got != tt.want+3*time.Second {
				t.Errorf("with a skew: %v", got)
			}
		}
	}
	p := &counting{Policy: compiled(t, "t/d", "package t\nd := input.identity.subject == \"agt_1\"\n")}
	cache := newTestCache(t)
	s := Subject{Request: &checkreq.Request{}, Identity: who, Issuer: &state.Issuer{KeysUntil: noon.Add(time.Second)}, Now: noon}
	for want, at := range []time.Duration{0, time.Second - 1, time.Second} {
		s.Now = noon.Add(at)
		cache.Decide(context.Background(), p, s)
		cache.entries.Wait()
		if got := p.asked; got != []int{1, 1, 2}[want] {
			t.Errorf("after %v: asked %d times", at, got)
		}
	}
}

func TestWhatWasNotDecidedIsNotRemembered(t *testing.T) {
	t.Parallel()
	p := &counting{Policy: compiled(t, "t/d", "package t\nd := true\n")}
	cache := newTestCache(t)
	for _, p.fail = range []error{policy.ErrTimeout, policy.ErrOverloaded, policy.ErrUndefined, policy.ErrEvaluation, errors.New("any"), nil} {
		before := p.asked
		for range 2 {
			d, _, fault := cache.Decide(context.Background(), p, Subject{Request: &checkreq.Request{}, Now: noon})
			if (fault == nil) != (p.fail == nil) || (d != nil) != (p.fail == nil) {
				t.Fatalf("%v: %v, %v", p.fail, d, fault)
			}
			cache.entries.Wait()
		}
		if want := map[bool]int{true: 2, false: 1}[p.fail != nil]; p.asked-before != want {
			t.Errorf("%v: asked %d times, want %d", p.fail, p.asked-before, want)
		}
	}
}

// A decision is found under its own key and no other, also when the library takes two keys for one.
func TestTheWholeKeyIsCompared(t *testing.T) {
	t.Parallel()
	cache := newTestCache(t)
	key := []byte("a key")
	cache.entries.Set(key, &entry{key: "another", decision: &Decision{Allowed: true}, until: noon.Add(1).UnixNano()}, 1)
	cache.entries.Wait()
	if _, there := cache.entries.Get(key); !there {
		t.Fatal("nothing was put in")
	}
	if d := cache.find(key, noon); d != nil {
		t.Error("the decision of another key was found")
	}
}

// A remembered decision holds nothing of the request it was made of: that may be a small piece of a large message.
func TestDecisionsAreDetached(t *testing.T) {
	t.Parallel()
	p := compiled(t, "t/d", "package t\nd := {\"allowed\": false, \"headers\": {\"x-a\": input.attributes.request.http.method}, \"body\": input.attributes.request.http.host}\n")
	cache := newTestCache(t)
	request := func() (*checkreq.Request, []byte) {
		memory := []byte("GEThost")
		text := unsafe.String(&memory[0], len(memory))
		return &checkreq.Request{Method: text[:3], Host: text[3:]}, memory
	}
	first, memory := request()
	cache.Decide(context.Background(), p, Subject{Request: first, Now: noon})
	cache.entries.Wait()
	for i := range memory { // whoever owned it uses it for something else
		memory[i] = '!'
	}
	second, _ := request()
	d, _, fault := cache.Decide(context.Background(), p, Subject{Request: second, Now: noon})
	if hits, _ := cache.Counts(); fault != nil || hits != 1 || *d.Body != "host" || fmt.Sprint(d.Result) != "map[allowed:false body:host headers:map[x-a:GET]]" {
		t.Errorf("%+v, %v, %d hits", d, fault, hits)
	}
}

func TestLargeThingsAreNotRemembered(t *testing.T) {
	t.Parallel()
	p := &counting{Policy: compiled(t, "t/d", "package t\nd := {\"allowed\": true, \"x\": input.attributes.request.http.host, \"y\": input.attributes.request.http.method}\n")}
	cache := newTestCache(t)
	for _, size := range []int{keyBytesMax + 1, 100 << 10} {
		for range 2 {
			cache.Decide(context.Background(), p, Subject{Request: &checkreq.Request{Host: strings.Repeat("a", size)}, Now: noon})
			cache.entries.Wait()
		}
	}
	big := &counting{Policy: compiled(t, "t/d", "package t\nd := {\"allowed\": true, \"x\": [1 | some i in numbers.range(1, 1000)]}\n")}
	for range 2 {
		cache.Decide(context.Background(), big, Subject{Request: &checkreq.Request{}, Now: noon})
		cache.entries.Wait()
	}
	if hits, _ := cache.Counts(); hits != 0 || p.asked != 4 || big.asked != 2 {
		t.Errorf("%d hits", hits)
	}
}

// What an entry costs is not above what the cache is told it costs. Not parallel: it measures the heap.
func TestCacheStaysWithinItsBytes(t *testing.T) {
	const entries = 4000
	for name, source := range map[string]string{
		"boolean": "package t\nd := input.attributes.request.http.method != \"\"\n",
		"object": "package t\nd := {\"allowed\": false, \"http_status\": 403, \"headers\": {\"x-a\": input.attributes.request.http.method, \"x-b\": [\"a\", \"b\"]}, \"body\": \"no\", " +
			"\"reason\": {\"code\": \"a\", \"detail\": \"b\", \"required_scopes\": [\"a\"]}, \"dynamic_metadata\": {\"a\": {\"b\": 1}}}\n",
	} {
		p := compiled(t, "t/d", source)
		cache, err := NewCache(64<<20, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(i int) {
			cache.Decide(context.Background(), p, Subject{Request: &checkreq.Request{Method: fmt.Sprintf("%040d", i)}, Now: noon})
			cache.entries.Wait()
		}
		ask(-1)
		before, told := heapBytes(), cache.entries.RemainingCost()
		for i := range entries {
			ask(i)
		}
		kept, cost := int64(heapBytes()-before)/entries, (told-cache.entries.RemainingCost())/entries
		t.Logf("%s: %d bytes kept, %d told", name, kept, cost)
		if kept > cost || cost == 0 {
			t.Errorf("%s: an entry costs %d bytes, the cache is told %d", name, kept, cost)
		}
		cache.Close()
		runtime.KeepAlive(cache)
	}
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestCacheability(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body string
		want []string
	}{
		"what repeats":     {"input.identity.scopes[_] == \"a\"; input.parsed_path == []", nil},
		"nothing":          {"true", nil},
		"the time":         {"time.now_ns() > input.identity.expiresAt", []string{"p.rego:3: calls time.now_ns, whose result changes by itself"}},
		"verified tokens":  {"io.jwt.decode_verify(input.attributes.request.http.headers.authorization, {})[0]", []string{"p.rego:3: calls io.jwt.decode_verify, whose result changes by itself"}},
		"the request's id": {"input.attributes.request.http.id", []string{"p.rego:3: reads input.attributes.request.http.id, which differs in every request"}},
		"an id and a body": {
			"input.parsed_body.a\n\tinput.attributes.request.http.headers[\"x-request-id\"]",
			[]string{"p.rego:4: reads input.attributes.request.http.headers.x-request-id, which differs in every request", "p.rego:3: reads input.parsed_body.a, and bodies do not repeat"},
		},
		"whole input":  {"count(input) > 1", []string{"p.rego:3: reads input, " + whyWhole}},
		"all headers":  {"some k, v in input.attributes.request.http.headers", []string{"p.rego:3: reads input.attributes.request.http.headers, " + whyHeaders}},
		"what is none": {"input.nothing", []string{"p.rego:3: reads input.nothing, which the cache does not know"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := newTestCache(t)
			p := compiled(t, "t/d", "package t\nd if {\n\t"+tt.body+"\n}\n")
			report := cache.Use(p)
			var got []string
			for _, o := range report.Obstacles {
				got = append(got, o.String())
			}
			if !slices.Equal(got, tt.want) || report.On != (tt.want == nil) {
				t.Errorf("on: %v, %q", report.On, got)
			}
			for range 2 {
				cache.Decide(context.Background(), p, Subject{Request: &checkreq.Request{}, Now: noon})
			}
			if hits, misses := cache.Counts(); !report.On && hits+misses > 0 {
				t.Errorf("off, and yet %d hits, %d misses", hits, misses)
			}
		})
	}
	if report := newTestCache(t).Use(&fixed{}); report.On || len(report.Obstacles) != 1 {
		t.Errorf("of an evaluator that does not say what it reads: %+v", report)
	}
}
