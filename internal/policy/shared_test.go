package policy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/policy/policytest"
)

const (
	sharedEnv      = "AGENTIDP_TEST_SHARED" // the policy that a child process is to try
	sharedPeakMax  = 160 << 20              // bytes; the child takes 40 MiB, and several times as much with the race detector
	sharedRequests = 12
)

// A policy that makes a small value in which one thing stands again and again has the memory of a good one, whatever it has done with
// that value, and ends with an error. Each is tried in a process of its own, which it would take down.
func TestSharedValuesTakeNoMemory(t *testing.T) {
	t.Parallel()
	if name := os.Getenv(sharedEnv); name != "" {
		trySharedValue(t, name)
		return
	}
	for _, h := range policytest.SharedPack() {
		t.Run(h.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSharedValuesTakeNoMemory$", "-test.timeout=50s")
			child.Env = append(os.Environ(), sharedEnv+"="+h.Name, "GOMEMLIMIT=128MiB")
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%.2000s", err, out)
			}
		})
	}
}

func trySharedValue(t *testing.T, name string) {
	limitMemory(t)
	for _, h := range policytest.SharedPack() {
		if h.Name != name {
			continue
		}
		p := mustCompile(t, "t/allow", Config{EvalTimeout: 200 * time.Millisecond, Workers: 4}, h.Module())
		var asking sync.WaitGroup
		for range sharedRequests {
			asking.Go(func() {
				got, err := p.Eval(context.Background(), Object(Member{"x", Int(1)}))
				if !errors.Is(err, ErrEvaluation) && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrOverloaded) {
					t.Errorf("Eval = %.100v, %v", got, err)
				}
			})
		}
		asking.Wait()
		if _, err := p.Explain(context.Background(), Object(Member{"x", Int(1)})); err == nil {
			t.Error("it was explained")
		}
		for end := time.Now().Add(10 * time.Second); p.Stats().Stuck > 0 || len(p.engine.workers.slots) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it goes on: %+v", p.Stats())
			}
		}
		got, err := mustCompile(t, "t/allow", Config{}, "package t\nallow := true").Eval(context.Background(), Object())
		if got != true {
			t.Errorf("afterwards a good policy gives %v, %v", got, err)
		}
		if peak := peakMemory(t); peak > sharedPeakMax {
			t.Errorf("it took %d MiB", peak>>20)
		}
		return
	}
	t.Fatalf("there is no policy %q", name)
}

func peakMemory(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
