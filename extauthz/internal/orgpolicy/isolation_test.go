package orgpolicy

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/policy/policytest"
)

// A compilation that does not end keeps no other organization from being compiled, and there is never a second one beside it.
func TestSlowCompilationsGiveWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Max = 2 }, "org_a", "org_b", "org_c", "org_d")
	w.slots = make(chan struct{}, 1)
	w.waits.slow = time.Millisecond
	var hostile atomic.Int32
	end := make(chan struct{})
	w.write(t, "org_a/a.rego", rego("true")+"# takes for ever\n")
	w.compile = func(ctx context.Context, s []policy.Source, c policy.Config) (*policy.Policy, error) {
		if strings.Contains(string(s[0].Data), "for ever") {
			hostile.Add(1)
			<-end
		}
		return policy.Compile(ctx, s, c)
	}
	if _, err := w.Find("org_a").Await(t.Context()); !errors.Is(err, ErrLoading) {
		t.Errorf("a request waits for what does not end: %v", err)
	}
	for range 3 { // evicts org_a again and again
		for _, id := range []string{"org_b", "org_c", "org_d"} {
			await(t, id+" is compiled", func() bool { // which may take longer than slow, too
				p, err := w.Find(id).Await(t.Context())
				return p != nil && err == nil
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), w.waits.reserve)
		if _, err := w.Find("org_a").Await(ctx); !errors.Is(err, ErrLoading) {
			t.Errorf("org_a: %v", err)
		}
		cancel()
	}
	if n := hostile.Load(); n != 1 {
		t.Errorf("%d compilations of one organization at a time", n)
	}
	close(end)
	await(t, "what took long is accepted when it ends", func() bool {
		p, err := w.Find("org_a").Await(t.Context())
		return p != nil && err == nil
	})
	await(t, "all slots are free", func() bool { return len(w.slots) == 0 && w.slow.Load() == 0 })
}

// Only so many compilations go on beside their slot.
func TestSlowCompilationsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a", "org_b", "org_c")
	w.slots = make(chan struct{}, 1)
	w.waits.slow, w.waits.slowMax = time.Millisecond, 1
	var started atomic.Int32
	end := make(chan struct{})
	w.compile = func(ctx context.Context, s []policy.Source, c policy.Config) (*policy.Policy, error) {
		started.Add(1)
		<-end
		return policy.Compile(ctx, s, c)
	}
	for _, id := range []string{"org_a", "org_b"} {
		if _, err := w.Find(id).Await(t.Context()); !errors.Is(err, ErrLoading) {
			t.Errorf("%s: %v", id, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), w.waits.reserve+20*time.Millisecond)
	defer cancel()
	if _, err := w.Find("org_c").Await(ctx); !errors.Is(err, ErrLoading) || started.Load() != 2 {
		t.Errorf("%v; %d compilations, want 2", err, started.Load())
	}
	close(end)
	await(t, "org_c is compiled", func() bool {
		p, err := w.Find("org_c").Await(t.Context())
		return p != nil && err == nil
	})
}

// Every policy of the hostile pack keeps the workers of its organization busy, with as many requests waiting as may. Meanwhile each
// decision of another organization is made, by its own workers, and none of them waits for a place.
func TestHostileNeighbours(t *testing.T) {
	t.Parallel()
	pack := policytest.HostilePack()
	w := newWorld(t, func(c *Config) { c.Policy.EvalTimeout, c.Max = 400*time.Millisecond, len(pack)+1 }, "org_good")
	good := w.get(t, "org_good")
	decisions := 0
	for _, h := range pack {
		id := "org_" + strings.ReplaceAll(h.Name, " ", "_")
		h.Body = "input.hostile; " + h.Body // or it would not come into force
		w.write(t, id+"/a.rego", h.Module())
		if err := w.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		bad, err := w.Find(id).Await(t.Context())
		if h.Refused {
			if !errors.Is(err, ErrBroken) {
				t.Errorf("%s: %v, want it refused", h.Name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		o := w.Find(id)
		var asking sync.WaitGroup
		var answered atomic.Int32
		for range 2 * inFlightMax {
			asking.Go(func() {
				if got, err := bad.Eval(t.Context(), policy.Object(policy.Member{Name: "hostile", Value: policy.Bool(true)}, policy.Member{Name: "x", Value: policy.Int(1)})); got == true {
					t.Errorf("%s: %v, %v", h.Name, got, err)
				}
				answered.Add(1)
			})
		}
		for n := 0; n < 20 || answered.Load() < 2*inFlightMax && n < 2000; n++ {
			if flying := o.inFlight.Load(); flying > 2*inFlightMax {
				t.Errorf("%s: %d in flight", h.Name, flying)
			}
			if got, err := good.Eval(t.Context(), policy.Object()); err != nil || got != true {
				t.Fatalf("beside %s the good organization gets %v, %v", h.Name, got, err)
			}
			decisions++
			runtime.Gosched()
		}
		asking.Wait()
		if s := bad.Stats(); s.Workers > 1 || s.Timeouts > 0 && o.owing.Load() == 0 {
			t.Errorf("%s: %+v, owing %v", h.Name, s, o.owing.Load())
		}
	}
	if s := good.Stats(); s.Timeouts+s.Overloads+s.Overruns > 0 || s.Workers != 1 || w.Find("org_good").owing.Load() != 0 {
		t.Errorf("of %d decisions of the good organization: %+v", decisions, s)
	}
	w.mu.Lock()
	residents := w.residents
	w.mu.Unlock()
	for r := range residents {
		if p := r.Load(); p != nil {
			await(t, "what got stuck has ended", func() bool { return p.Stats().Stuck == 0 })
		}
	}
}

// Time that was spent for nothing is counted, and when it is too much the policy is not evaluated at all; no other organization's is.
func TestOverdraft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Policy.EvalTimeout = 5 * time.Millisecond }, "org_good")
	w.write(t, "org_bad/a.rego", "package t\n\nallow if { input.hostile; n := numbers.range(1, 3000); some a in n; some b in n; a + b == -1 }\n")
	if err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	bad, good := w.get(t, "org_bad"), w.get(t, "org_good")
	began := time.Now()
	evaluated := 0
	for range 2000 {
		switch _, err := bad.Eval(t.Context(), policy.Object(policy.Member{Name: "hostile", Value: policy.Bool(true)}, policy.Member{Name: "x", Value: policy.Int(1)})); {
		case errors.Is(err, policy.ErrTimeout):
			evaluated++
		case !errors.Is(err, policy.ErrOverloaded):
			t.Fatal(err)
		}
	}
	// Each took at least 5 ms; what is regained in the meantime is a tenth of it.
	if most := int(overdraft/(5*time.Millisecond)) + int(time.Since(began)/(overdraftShare*5*time.Millisecond)) + 2; evaluated > most || evaluated == 0 {
		t.Errorf("evaluated %d times of 2000, want at most %d", evaluated, most)
	}
	before := bad.Stats()
	w.Find("org_bad").charge(time.Now(), time.Hour)
	edited := w.Find("org_bad").current.Load()
	edited.Store(bad.Policy) // as an edit does
	again, _ := edited.decided()
	for _, p := range []*InForce{bad, again} {
		if _, err := p.Eval(t.Context(), policy.Object()); !errors.Is(err, policy.ErrOverloaded) {
			t.Errorf("overdrawn: %v", err)
		}
	}
	if after := bad.Stats(); after.Timeouts != before.Timeouts {
		t.Error("it was evaluated")
	}
	for range 100 {
		if got, err := good.Eval(t.Context(), policy.Object()); errors.Is(err, policy.ErrOverloaded) || got == false {
			t.Fatalf("the other organization: %v, %v", got, err)
		}
	}
}

// A quarantine is the organization's: neither an edit nor being evicted ends it.
func TestQuarantineOutlivesThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a", "org_b")
	a := w.get(t, "org_a")
	w.Find("org_a").barred.Store(time.Now().Add(time.Hour).UnixNano())
	w.mu.Lock()
	w.remove(w.Find("org_a").current.Load())
	w.mu.Unlock()
	for _, p := range []*InForce{a, w.get(t, "org_a")} {
		if _, err := p.Eval(t.Context(), policy.Object()); !errors.Is(err, policy.ErrQuarantined) {
			t.Errorf("Eval = %v", err)
		}
	}
	wantAllow(t, w.get(t, "org_b"), true)
}

// What is in the sources of one organization is not seen by another's, however they are named.
func TestNothingIsShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for id, value := range map[string]string{"org_a": "1", "org_b": "2"} {
		w.write(t, id+"/data.json", `{"secret": {"`+id+`": `+value+`}}`)
		w.write(t, id+"/a.rego", "package t\n\nallow := data.secret\n")
	}
	w.write(t, "org_c/a.rego", "package t\n\ndefault allow := false\n\nallow if data.secret\n\nallow if data.org_a\n")
	if err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"org_a", "org_b"} {
		got, err := w.get(t, id).Eval(t.Context(), policy.Object())
		if object, ok := got.(map[string]any); err != nil || !ok || len(object) != 1 || object[id] == nil {
			t.Errorf("%s sees %v, %v", id, got, err)
		}
	}
	wantAllow(t, w.get(t, "org_c"), false)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a", "org_b")
	w.write(t, "org_b/a.rego", "package t\n")
	w.get(t, "org_a")
	if _, err := w.Find("org_b").Await(t.Context()); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	if err := testutil.CollectAndCompare(w.Set, strings.NewReader(`
# HELP agentidp_extauthz_organization_policies Policies of organizations in memory: in_force, stale (its folder is broken, the last good one is in force), broken (none ever compiled), loading.
# TYPE agentidp_extauthz_organization_policies gauge
agentidp_extauthz_organization_policies{state="broken"} 1
agentidp_extauthz_organization_policies{state="in_force"} 1
agentidp_extauthz_organization_policies{state="loading"} 0
agentidp_extauthz_organization_policies{state="stale"} 0
# HELP agentidp_extauthz_organization_compilations_total Policies of organizations that were compiled (good), or could not be (refused).
# TYPE agentidp_extauthz_organization_compilations_total counter
agentidp_extauthz_organization_compilations_total{result="good"} 1
agentidp_extauthz_organization_compilations_total{result="refused"} 1
`), metricPrefix+"policies", metricPrefix+"compilations_total"); err != nil {
		t.Error(err)
	}
}
