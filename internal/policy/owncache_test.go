package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

// However many patterns other policies use, those of a policy with caches of its own stay compiled; and it keeps only so many.
func TestOwnCaches(t *testing.T) {
	t.Parallel()
	mine := mustCompile(t, "t/allow", Config{OwnCaches: true}, `package t
allow if regex.match("^mine+$", "mine")`)
	wantEval(t, mine, Object(), true, nil)
	kept := func(p *Policy, pattern string) bool {
		_, ok := p.engine.patterns.Get(ast.String(pattern))
		return ok
	}
	var many strings.Builder
	many.WriteString("package t\nallow if {\n")
	for n := range 2 * ownCacheMax {
		fmt.Fprintf(&many, "\tregex.match(\"^x{%d}\", \"%s\")\n", n+1, strings.Repeat("x", 2*ownCacheMax))
	}
	other := mustCompile(t, "t/allow", Config{OwnCaches: true}, many.String()+"}\n")
	wantEval(t, other, Object(), true, nil)
	n := 0
	for i := range 2 * ownCacheMax {
		if kept(other, fmt.Sprintf("^x{%d}", i+1)) {
			n++
		}
	}
	if n == 0 || n > ownCacheMax {
		t.Errorf("%d patterns are kept, want at most %d", n, ownCacheMax)
	}
	if !kept(mine, "^mine+$") || kept(mine, "^x{1}") || kept(other, "^mine+$") {
		t.Error("one policy's patterns are another's")
	}
	if p := mustCompile(t, "t/allow", Config{}, "package t\nallow := true"); p.engine.patterns != nil {
		t.Error("a policy has a cache that it did not ask for")
	}
}
