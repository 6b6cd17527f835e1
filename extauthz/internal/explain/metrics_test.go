package explain

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/trust"
)

// exported is what an operator sees, by cause, and the number of decisions kept.
func exported(t *testing.T, r *Recorder) (missed map[string]float64, kept float64) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(r); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	missed = map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "agentidp_extauthz_explain_missed_total":
				missed[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			case "agentidp_extauthz_explain_kept":
				kept = m.GetGauge().GetValue()
			case "agentidp_extauthz_explain_kept_bytes":
				if got := int64(m.GetGauge().GetValue()); got != r.bytes || got > r.bytesMax {
					t.Errorf("%d bytes exported, %d kept, %d at most", got, r.bytes, r.bytesMax)
				}
			}
		}
	}
	return missed, kept
}

func TestWhatIsMissedIsCounted(t *testing.T) {
	t.Parallel()
	r, p := start(t, 16<<10), compile(t, readers)
	one := decided(t, p, "one", "GET", "orders")
	r.Add(one)
	r.settled(t)
	r.Add(one)
	large := decided(t, p, "large", "GET", "orders")
	large.Record.Decision = strings.Repeat("x", 17<<10)
	r.Add(large)
	broken := decided(t, p, "broken", "GET", "orders")
	broken.Record.Decision = make(chan int) // JSON has no such thing
	r.Add(broken)
	r.settled(t)
	if missed, kept := exported(t, r); kept != 1 || missed["twice"] != 1 || missed["size"] != 1 || missed["encode"] != 1 || missed["full"] != 0 {
		t.Errorf("kept %v, missed %v", kept, missed)
	}

	r.mu.Lock() // the worker stands still
	sent := 0
	for n := range 2*queueMax + 2 {
		d := one
		d.Record.DecisionID = fmt.Sprint("flood-", n)
		r.Add(d)
		sent++
	}
	r.mu.Unlock()
	r.settled(t)
	missed, kept := exported(t, r)
	if got := missed["full"]; got < queueMax || got > float64(sent) {
		t.Errorf("%v of %d missed, the queue holds %d", got, sent, queueMax)
	}
	if kept == 0 {
		t.Error("nothing kept")
	}
}

// What is kept costs no more memory than it is counted with. Not parallel: it measures the heap.
func TestCountedBytesAreHonest(t *testing.T) {
	p := compile(t, readers)
	const all = 2000
	for name, change := range map[string]func(*decisionlog.Record){
		"as usual":  func(*decisionlog.Record) {},
		"an issuer": func(*decisionlog.Record) {},
		"an error": func(r *decisionlog.Record) {
			r.Err = strings.Clone("a policy's runtime error of some length, with file and line")
		},
		"an object": func(r *decisionlog.Record) {
			r.Decision = map[string]any{"allowed": true, "headers": map[string]any{"x-a": "b"}}
		},
	} {
		r := start(t, 64<<20)
		one := decided(t, p, "", "GET", "orders")
		before := heap()
		for n := range all {
			d := one
			d.Record.DecisionID = fmt.Sprintf("01a20a31-af04-7248-b221-%012d", n)
			change(&d.Record)
			if name == "an issuer" {
				d.Issuer = &state.Issuer{Epoch: uint64(n), Revocations: &trust.Revocations{}}
			}
			r.Add(d)
			if n%100 == 0 {
				r.settled(t)
			}
		}
		r.settled(t)
		real, counted := int64(heap()-before), r.bytes
		t.Logf("%s: %d bytes an entry, %d counted", name, real/all, counted/all)
		if len(r.entries) < all/2 || real > counted {
			t.Errorf("%s: %d entries take %d bytes, counted with %d", name, len(r.entries), real, counted)
		}
		runtime.KeepAlive(r)
		r.Close()
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
