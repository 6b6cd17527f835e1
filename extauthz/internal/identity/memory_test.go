package identity

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// What a remembered token really costs is not above what the cache is told it costs. Not parallel: it measures the heap.
func TestCacheStaysWithinItsBytes(t *testing.T) {
	const tokens = 400
	k := newKey(t)
	s := snapshot(trusted(issuerA, "org_a", keySet(t, k)))
	v := newVerifier(t, nil)
	for _, padding := range []int{0, 200, 1000} {
		compact := make([]string, tokens)
		for n := range compact {
			compact[n] = sign(t, k, claims(map[string]any{
				"jti": fmt.Sprint("token-", n), "sub": fmt.Sprint("agt_", n), "pad": strings.Repeat("p", padding),
				"act": map[string]any{"sub": fmt.Sprint("agt_actor_", n)},
			}))
		}
		verdicts := make([]*verdict, tokens)
		before := heap()
		for n, c := range compact {
			_, d, refusal := v.verify(s, c, noon)
			if refusal != nil {
				t.Fatal(refusal)
			}
			verdicts[n] = d
		}
		real := int64(heap()-before) / tokens
		told := cost(compact[0])
		t.Logf("token of %d bytes: %d bytes kept, %d told", len(compact[0]), real, told)
		if real > told {
			t.Errorf("a token of %d bytes costs %d bytes, the cache is told %d", len(compact[0]), real, told)
		}
		runtime.KeepAlive(verdicts)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
