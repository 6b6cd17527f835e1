package feed

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/smallfile"
)

const settled = policyPoll + 2*policySettle

func rego(allow string) string { return "package authz\n\nallow := " + allow + "\n" }

func newPolicyDir(b *bundle, dir string) *PolicyDir {
	return NewPolicyDir(b.Env, dir, policy.Config{Path: "authz/allow", EvalTimeout: 5 * time.Second, Workers: 1})
}

// allows asks the policy in force. It leaves the bubble's clock alone: the policy has its own workers.
func allows(t *testing.T, b *bundle) bool {
	t.Helper()
	got, err := b.Store.Load().Policy.Eval(t.Context(), policy.Object())
	if err != nil {
		t.Fatal(err)
	}
	return got == true
}

func TestPolicyDirFollowsEdits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "authz.rego")
	writeFile(t, file, rego("true"))
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		run(t, newPolicyDir(b, dir))
		if !allows(t, b) {
			t.Fatal("the policy is not in force")
		}
		epoch := b.Store.Load().Epoch
		wait(time.Minute)
		if got := b.Store.Load().Epoch; got != epoch {
			t.Errorf("epoch moved from %d to %d though nothing changed", epoch, got)
		}
		began := b.Store.Load().Policy
		writeFile(t, file, rego("false"))
		wait(settled)
		if allows(t, b) {
			t.Error("the edit is not in force")
		}
		if got, err := began.Eval(t.Context(), policy.Object()); err != nil || got != true {
			t.Errorf("a request that began with the old policy: %v, %v", got, err)
		}
		if b.log.count("policy in force", b.Store.Load().Policy.Revision()) != 1 {
			t.Errorf("log: %s", b.log.lines)
		}
	})
}

// TestPolicyDirOnAFileSystemThatHangs: as TestKeyFileOnAFileSystemThatHangs.
func TestPolicyDirOnAFileSystemThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "authz.rego")
	writeFile(t, file, rego("true"))
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		f := newPolicyDir(b, dir)
		var system hanging
		f.files = smallfile.Follow(dir, func() ([]policy.Source, error) {
			sources, err := policy.ReadDir(dir)
			system.answer()
			return sources, err
		})
		run(t, f)
		comeBack := system.hang()
		defer comeBack()
		wait(time.Minute)
		if !allows(t, b) || failing(b.Env, "policy", "") != 1 || b.log.count(`"level":"ERROR"`, dir+": the file system does not answer") != 1 {
			t.Errorf("failing %v: %s", failing(b.Env, "policy", ""), b.log.lines)
		}
		writeFile(t, file, rego("false"))
		comeBack()
		wait(policyPoll + settled)
		if allows(t, b) || failing(b.Env, "policy", "") != 0 {
			t.Error("what the directory holds now is not in force")
		}
	})
}

func TestPolicyDirKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(t *testing.T, dir string)
		says   []string
	}{
		"syntax": {
			func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "authz.rego"), "package authz\n\nallow if {\n")
			},
			[]string{`"file":"authz.rego"`, `"line":4`},
		},
		"unknown function": {
			func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "sub", "more.rego"), "package more\n\nx := http.send({})\n")
			},
			[]string{`"file":"sub/more.rego"`, `"line":3`},
		},
		"beyond its limits": {
			func(t *testing.T, dir string) {
				writeFile(t, filepath.Join(dir, "authz.rego"), "package authz\n\nallow if {\n\tn := numbers.range(1, 40000)\n\tcount(array.concat(n, n)) == 1\n}\n")
			},
			[]string{`"file":"authz.rego"`, `"line":3`, "beyond its limits"},
		},
		"empty directory": {
			func(t *testing.T, dir string) {
				if err := os.Remove(filepath.Join(dir, "authz.rego")); err != nil {
					t.Fatal(err)
				}
			},
			[]string{`"level":"ERROR"`},
		},
		"no directory": {
			func(t *testing.T, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			},
			[]string{`"level":"ERROR"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "policies")
			writeFile(t, filepath.Join(dir, "authz.rego"), rego("true"))
			synctest.Test(t, func(t *testing.T) {
				b := newBundle(t)
				run(t, newPolicyDir(b, dir))
				tc.change(t, dir)
				wait(time.Minute)
				if !allows(t, b) {
					t.Error("the good policy is gone")
				}
				if n := b.log.count(tc.says...); n < 1 || n > 2 {
					t.Errorf("want one line with %q, got %s", tc.says, b.log.lines)
				}
				if failing(b.Env, "policy", "") != 1 {
					t.Error("the metric does not say that the edit failed")
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				writeFile(t, filepath.Join(dir, "authz.rego"), rego("false"))
				wait(settled)
				if allows(t, b) || failing(b.Env, "policy", "") != 0 {
					t.Error("the repaired policy is not in force")
				}
			})
		})
	}
}

// A checkout that writes file after file must not be judged half done.
func TestPolicyDirWaitsUntilEditsSettle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "authz.rego")
	writeFile(t, file, rego("true"))
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		run(t, newPolicyDir(b, dir))
		for i := range 100 {
			writeFile(t, file, "package authz\n\nallow := "+strings.Repeat("(", i+1))
			wait(policySettle / 2)
		}
		if b.log.count(`"level":"ERROR"`) != 0 {
			t.Errorf("contents that never stood still were judged: %s", b.log.lines)
		}
		writeFile(t, file, rego("false"))
		wait(settled)
		if allows(t, b) {
			t.Error("the finished edit is not in force")
		}
	})
}

// Kubernetes mounts a ConfigMap as links through ..data, which it swaps.
func TestPolicyDirFollowsKubernetesMounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mount := func(version, allow string) {
		writeFile(t, filepath.Join(dir, version, "authz.rego"), rego(allow))
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..2026_01", "true")
	if err := os.Symlink("..data/authz.rego", filepath.Join(dir, "authz.rego")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		run(t, newPolicyDir(b, dir))
		if !allows(t, b) {
			t.Fatal("the mounted policy is not in force")
		}
		mount("..2026_02", "false")
		wait(settled)
		if allows(t, b) {
			t.Error("the swapped mount is not in force")
		}
	})
}

func TestPolicyDirMustBeGoodAtFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bad.rego"), "package authz\nallow := \n")
	for _, d := range []string{dir, filepath.Join(dir, "none")} {
		b := newBundle(t)
		if err := newPolicyDir(b, d).Load(t.Context()); err == nil || b.Store.Load().Policy != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestPolicyDirBoundsItsLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bad.rego"), "package authz\n"+strings.Repeat("x := nowhere(1)\n", 2*problemsLogMax))
	b := newBundle(t)
	if err := newPolicyDir(b, dir).Load(t.Context()); err == nil {
		t.Fatal("accepted")
	}
	if n := b.log.count("policy refused"); n == 0 || n > problemsLogMax+1 {
		t.Errorf("%d lines", n)
	}
}

// An edit that takes the compiler for ever costs one processor, and neither the policy in force nor the next edit.
func TestPolicyDirCompilesOneEditAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "authz.rego")
	writeFile(t, file, rego("true"))
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		f := newPolicyDir(b, dir)
		compiled, started, release := f.compile, 0, make(chan struct{})
		f.compile = oneAtATime(func(ctx context.Context, sources []policy.Source) (*policy.Policy, error) {
			started++
			if strings.Contains(string(sources[0].Data), "hard") {
				<-release
			}
			return compiled(ctx, sources)
		})
		run(t, f)
		writeFile(t, file, rego("false # hard"))
		wait(compileTimeout + settled)
		if b.log.count("not compiled within 30s", "authz.rego") != 1 {
			t.Errorf("log: %s", b.log.lines)
		}
		for _, edit := range []string{"false # 1", "false # 2"} {
			writeFile(t, file, rego(edit))
			wait(time.Minute)
		}
		if started != 2 || !allows(t, b) {
			t.Errorf("%d compilations, want 2; the policy of before is in force: %v", started, allows(t, b))
		}
		if b.log.count("waits for an earlier edit") == 0 {
			t.Errorf("log: %s", b.log.lines)
		}
		close(release)
		wait(settled)
		if started != 3 || allows(t, b) {
			t.Errorf("%d compilations, want 3; the last edit is in force: %v", started, !allows(t, b))
		}
	})
}
