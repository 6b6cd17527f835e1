package policy

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/policy/policytest"
)

// Each of the pack is refused when it is compiled, or answered at the deadline.
func TestHostileRego(t *testing.T) {
	t.Parallel()
	const timeout = 50 * time.Millisecond
	for _, tt := range policytest.HostilePack() {
		t.Run(tt.Name, func(t *testing.T) {
			p, err := Compile(context.Background(), []Source{{"t.rego", []byte(tt.Module())}}, Config{Path: "t/allow", EvalTimeout: timeout})
			if tt.Refused {
				var problems *CompileError
				if !errors.As(err, &problems) || !strings.Contains(err.Error(), "undefined function") {
					t.Errorf("compile = %v, want it refused as an undefined function", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("compile: %v", err)
			}
			defer p.Close()
			start := time.Now()
			got, err := p.Eval(context.Background(), Object())
			if d := time.Since(start); d > patient { // without the deadline it takes minutes, or for ever
				t.Errorf("answered after %v", d)
			}
			if got == true || err != nil && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrEvaluation) {
				t.Errorf("Eval = %v, %v", got, err)
			}
		})
	}
	if got, err := mustCompile(t, "t/allow", Config{}, "package t\nallow := true").Eval(context.Background(), Object()); got != true {
		t.Errorf("afterwards a good policy gives %v, %v", got, err)
	}
}

// TestUncancellableBuiltin is the deadline against a real one: bits.lsh as OPA has it, which a test profile allows.
func TestUncancellableBuiltin(t *testing.T) {
	t.Parallel()
	prof := profile{builtins: edgeBuiltins + " bits.lsh"}
	p := mustCompileSources(t, Config{Path: "t/allow", EvalTimeout: evalTimeoutDefault, Workers: 1}, prof,
		Source{"t.rego", []byte("package t\ndefault allow := false\nallow if bits.lsh(1, input.by) == 0")})
	if _, err := p.Eval(context.Background(), Object(Member{"by", Int(6_000_000)})); !errors.Is(err, ErrTimeout) {
		t.Errorf("Eval = %v, want ErrTimeout", err)
	}
	if len(p.engine.workers.slots) == 0 {
		t.Error("the answer waited for the evaluator")
	}
	for p.Stats().Stuck > 0 || len(p.engine.workers.slots) > 0 { // until it is back, or the goroutine would count as leaked
		runtime.Gosched()
	}
	wantEval(t, p, Object(Member{"by", Int(1)}), false, nil)
}
