package feed

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentidp/agentidp/internal/policy"
)

// A candidate is followed as a policy is. A broken one, or none, is said and changes nothing, the policy in force least of all.
func TestCandidateDir(t *testing.T) {
	t.Parallel()
	dir, inForce := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(inForce, "authz.rego"), rego("true"))
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		run(t, newPolicyDir(b, inForce))
		epoch := b.Store.Load().Epoch
		var slot atomic.Pointer[policy.Policy]
		candidate := NewCandidateDir(b.Env, filepath.Join(dir, "c"), policy.Config{Path: "authz/allow", EvalTimeout: 5 * time.Second, Workers: 1}, &slot)
		run(t, candidate) // Load is good though there is no such directory
		if slot.Load() != nil || b.log.count("source cannot be used", "shadow") != 1 {
			t.Errorf("log: %s", b.log.lines)
		}
		file := filepath.Join(dir, "c", "authz.rego")
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, file, rego("false"))
		wait(settled)
		good := slot.Load()
		if got, err := good.Eval(t.Context(), policy.Object()); err != nil || got != false {
			t.Fatalf("%v, %v", got, err)
		}
		writeFile(t, file, rego("nowhere(1)"))
		wait(settled)
		if slot.Load() != good {
			t.Error("a broken edit took the candidate away")
		}
		if !allows(t, b) || b.Store.Load().Epoch != epoch {
			t.Error("the candidate touched the policy in force")
		}
	})
}
