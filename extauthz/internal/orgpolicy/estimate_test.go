package orgpolicy

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/policy"
)

// What is counted of a policy is not less than what it takes, also of sources made to take much.
func TestEstimateIsHonest(t *testing.T) { // not parallel: it measures the heap
	repeat := func(before, line string, times int, after string) string {
		var b strings.Builder
		b.WriteString(before)
		for n := range times {
			b.WriteString(strings.ReplaceAll(line, "#", fmt.Sprint(n)))
		}
		return b.String() + after
	}
	data := func(text string) []policy.Source {
		return []policy.Source{{Name: "a.rego", Data: []byte(rego("true"))}, {Name: "data.json", Data: []byte(text)}}
	}
	module := func(text string) []policy.Source { return []policy.Source{{Name: "a.rego", Data: []byte(text)}} }
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for name, sources := range map[string][]policy.Source{
		"smallest":      module(rego("true")),
		"usual rules":   module(repeat("package t\ndefault allow := false\n", "allow if {\n\tinput.parsed_path == [\"orders\", \"x#\"]\n\t\"read#\" in input.identity.scopes\n}\n", 200, "")),
		"short rules":   module(repeat("package t\n", "a# if 1\n", 2000, "allow := true\n")),
		"short lines":   module(repeat("package t\nallow if {\n", "1\n", 3000, "}\n")),
		"empty lists":   module(repeat("package t\nallow := count([0", ",[]", 8000, "]) > 0\n")),
		"objects":       data(repeat(`{"z": 1`, `,"a#":{"s":["a"]}`, 10_000, "}")),
		"numbers":       data(repeat(`{"z": [1`, `,1`, 50_000, "]}")),
		"empty objects": data(repeat(`{"z": [1`, `,{}`, 50_000, "]}")),
	} {
		const copies = 3
		before := heap()
		var compiled [copies]*policy.Policy
		for n := range compiled {
			p, err := policy.Compile(context.Background(), sources, policy.Config{Path: "t/allow", OwnCaches: true})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			compiled[n] = p
		}
		took, counted := (heap()-before)/copies, Estimate(sources)
		for _, p := range compiled {
			p.Close()
		}
		runtime.KeepAlive(sources)
		if took > counted {
			t.Errorf("%s takes %d bytes, and is counted with %d", name, took, counted)
		}
	}
}
