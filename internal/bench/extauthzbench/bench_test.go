package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/bench/report"
	"github.com/agentidp/agentidp/internal/testkit"
)

// TestMain lets the test binary be the floor, as the program itself is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == floorCommand {
		if serveFloor(context.Background(), os.Args[2]) != nil {
			os.Exit(1)
		}
		return
	}
	testkit.MainCleanup(m, func() error { return os.RemoveAll(binaryDir) })
}

var binaryDir string

// binary is bin/extauthz, linked once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "agentidp-bench-test-"); err != nil {
		return "", err
	}
	program := filepath.Join(binaryDir, "extauthz")
	out, err := exec.Command("go", "build", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", program, "github.com/agentidp/agentidp/cmd/extauthz").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return program, nil
})

func extauthz(t *testing.T) string {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

const smokeMax = 5 * time.Minute // it takes ten seconds; a machine may be very busy

// smoke runs the whole program with figures too small to mean anything and returns its rows by name.
func smoke(t *testing.T, args ...string) (rows map[string]report.Row, stdout string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bench.json")
	args = append([]string{"-extauthz", extauthz(t), "-out", out, "-seconds", "0.05", "-repeats", "2", "-tokens", "50", "-cold-tokens", "50"}, args...)
	var table, progress strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), smokeMax)
	defer cancel()
	if err := run(ctx, args, &table, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	if !strings.Contains(progress.String(), "repeat 2 of 2") {
		t.Errorf("progress: %s", progress.String())
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var list []report.Row
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	rows = map[string]report.Row{}
	for _, r := range list {
		if !strings.Contains(table.String(), r.Name) {
			t.Errorf("row %q is not in the table", r.Name)
		}
		rows[r.Name] = r
	}
	if len(rows) != len(list) {
		t.Errorf("%d rows, %d names", len(list), len(rows))
	}
	return rows, table.String()
}

func TestWholeBench(t *testing.T) {
	rows, table := smoke(t)
	if r := rows["DPoP, 1 token, a new proof each, 16 callers: server CPU, us"]; r.Ours == nil {
		t.Errorf("no DPoP: %+v", r)
	}
	if !strings.HasPrefix(table, "machine: ") {
		t.Errorf("the table begins with %.60q, want the machine", table)
	}
	goals := map[string]string{
		"warm check, 1 token, 1 caller: server CPU, us":                                                           "<= 0.9",
		"warm check, 1 token, 64 callers: p99, us":                                                                "<= 1.2",
		"warm check, 50 tokens, 16 callers: server CPU, us":                                                       "<= 0.9",
		"denial (scope missing) against an allow, 16 callers: server CPU, us":                                     "<= 1.06",
		"cold token against the bare signature check, in process, ES256: us":                                      "<= 1.35",
		"allocations of a warm check":                                                                             "<= 12",
		"idle, ready and one check answered: RSS, MB":                                                             "<= 40",
		"50 tokens remembered, 16 callers: RSS, MB":                                                               "<= 90",
		"bin/extauthz as make build ships it: MB":                                                                 "<= 31",
		"from its start, issuer down, to the first allowed check: ms":                                             "<= 300",
		"JWT policy, 16 callers: server CPU, us (opa-envoy-plugin not given: no package ships it, set OPA_ENVOY)": "<= 0.0667",
	}
	for name, goal := range goals {
		r, ok := rows[name]
		if !ok || r.Goal != goal {
			t.Errorf("row %q: there %v, goal %q, want %q", name, ok, r.Goal, goal)
			continue
		}
		if measured := !strings.Contains(name, "not given"); measured != (r.Ours != nil && *r.Ours > 0) || measured != (r.Holds != nil) {
			t.Errorf("row %+v", r)
		}
	}
}

func TestWholeBenchWithPeer(t *testing.T) {
	t.Parallel()
	// The real one is no package. What stands in for it is a second sidecar of ours, behind the peer's command line.
	script := `#!/bin/sh
cd "$(dirname "${5#unix://}")" && sed s/warm/peer/ warm.yaml >stand-in.yaml && exec ` + extauthz(t) + ` -config stand-in.yaml
`
	peer := filepath.Join(t.TempDir(), "peer")
	if err := os.WriteFile(peer, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	rows, _ := smoke(t, "-opa-envoy", peer)
	r := rows["JWT policy against opa-envoy-plugin, 16 callers: server CPU, us"]
	if r.Holds == nil || r.Other == nil || r.Goal != "<= 0.0667" {
		t.Errorf("row %+v", r)
	}
}

func TestWholeBenchThroughEnvoy(t *testing.T) {
	t.Parallel()
	rows, table := smoke(t, "-envoy", "-envoy-program", testkit.EnvoyProgram(t))
	for _, name := range []string{
		"Envoy and server CPU, 16 connections, 1,000 tokens, against jwt_authn + RBAC, its cache as shipped (100): us",
		"added p50 at 1,000/s, against the no-op: us",
	} {
		if r := rows[name]; r.Holds == nil || r.Other == nil || r.Goal != "<= 1" {
			t.Errorf("row %q: %+v", name, r)
		}
	}
	for _, variant := range []string{vNone, vFloor, vOurs, vJWTShipped, vJWTAmple} {
		if !strings.Contains(table, "\n"+variant+" ") {
			t.Errorf("no details of %s in %s", variant, table)
		}
	}
}

func TestProfile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "cpu.pprof")
	args := []string{"-extauthz", extauthz(t), "-profile", file, "-seconds", "0.05", "-repeats", "1", "-tokens", "10"}
	if err := run(t.Context(), args, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "tool", "pprof", "-top", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "flat%") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCannotMeasure(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no such program":  {"-extauthz", filepath.Join(t.TempDir(), "none")},
		"not a server":     {"-extauthz", "/bin/true"},
		"an argument":      {"extra"},
		"no time":          {"-seconds", "0"},
		"an unknown flag":  {"-no-such-flag"},
		"no file to write": {"-extauthz", "/bin/true", "-out", filepath.Join(t.TempDir(), "none", "bench.json")},
	} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := run(t.Context(), []string{"-h"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: %v", err)
	}
}

func TestUnexpectedAnswerFailsTheMeasurement(t *testing.T) {
	t.Parallel()
	b := newTestBench(t)
	s, err := b.startOurs(t.Context(), "ours")
	if err != nil {
		t.Fatal(err)
	}
	unscoped, err := b.messages(1, scopeOther)
	if err != nil {
		t.Fatal(err)
	}
	good := []message{b.first[rawHeaders]}
	for _, c := range []struct {
		name     string
		messages []message
		want     outcome
		err      string
	}{
		{"allow", good, allowedAs, ""},
		{"denial", unscoped, deniedScope, ""},
		{"allow where a denial is due", good, deniedScope, "want a denial"},
		{"denial where an allow is due", unscoped, allowedAs, "want an allow"},
	} {
		l := load{socket: s.socket, pids: []int{s.PID()}, messages: c.messages, want: c.want, callers: 4, conns: 2}
		_, err := l.run(t.Context(), 0, time.Millisecond)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

// stumbling answers 503 a number of times.
type stumbling struct {
	times int
	err   error
}

func (s *stumbling) run(context.Context, time.Duration, time.Duration) (point, error) {
	if s.times--; s.times >= 0 {
		return point{}, s.err
	}
	return point{requests: 1}, nil
}

func TestAPointWithoutDecisionIsMeasuredAgain(t *testing.T) {
	t.Parallel()
	b := &bench{options: options{stderr: io.Discard}}
	undecided := fmt.Errorf("request 7: %w", errUndecided)
	if p, err := b.point(t.Context(), &stumbling{2, undecided}); err != nil || p.requests != 1 || b.again != 2 {
		t.Errorf("twice: %+v, %v, again %d", p, err, b.again)
	}
	if _, err := b.point(t.Context(), &stumbling{100, undecided}); !errors.Is(err, errUndecided) {
		t.Errorf("always: %v", err)
	}
	wrong := errors.New("want an allow")
	if _, err := b.point(t.Context(), &stumbling{1, wrong}); !errors.Is(err, wrong) {
		t.Errorf("a wrong decision was tried again: %v", err)
	}
}

func newTestBench(t *testing.T) *bench {
	t.Helper()
	b, err := newBench(options{extauthz: extauthz(t), stderr: io.Discard, repeats: 1, span: 10 * time.Millisecond, tokens: 10, coldTokens: 10}, testkit.SocketDir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func TestRatiosAreThoseWithinARepeat(t *testing.T) {
	t.Parallel()
	ours := &scenario{points: []point{{cpu: 10}, {cpu: 40}, {cpu: 12}}} // the second repeat hit a busy machine
	floor := &scenario{points: []point{{cpu: 20}, {cpu: 80}, {cpu: 20}}}
	got := compared("cpu", ours, floor, cpu, 0.5)
	want := report.Compared("cpu", 12, 20, 0.5, 0.5)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFloodBench(t *testing.T) {
	rows, _ := smoke(t, "-flood")
	for _, flood := range []string{"forged tokens of one source", "forged tokens of 4096 sources", "unknown keys", "unknown issuers"} {
		name := "500 good requests/s beside a flood of " + flood
		if r := rows[name+": share allowed within 250 ms"]; r.Ours == nil || r.Goal != ">= 0.9" {
			t.Errorf("%s: %+v", flood, r)
		}
		if r := rows[name+": p99, us"]; r.Goal != "<= 2" {
			t.Errorf("%s: %+v", flood, r)
		}
		if r := rows["flood of "+flood+": requests/s"]; r.Ours == nil || *r.Ours == 0 {
			t.Errorf("%s: %+v", flood, r)
		}
	}
	for name, goal := range map[string]string{"growth of memory during all floods: RSS, MB": "<= 73.8", "reads of the issuer's keys in 30 s of flood": "<= 1"} {
		if r := rows[name]; r.Ours == nil || r.Goal != goal {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Each bad message is one by one thing alone, and no two are the same.
func TestFloodMessages(t *testing.T) {
	b, err := newBench(options{stderr: io.Discard}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	floods, err := b.floods()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range floods {
		one, another := f.messages[0].write(nil, 1), f.messages[0].write(nil, 2)
		token := func(wire []byte) string {
			_, after, _ := strings.Cut(string(wire), "Bearer ")
			return after[:strings.IndexFunc(after, func(c rune) bool { return c <= ' ' })]
		}
		if a, b := token(one), token(another); a == b || strings.Count(a, ".") != 2 {
			t.Errorf("%s: %q and %q", f.name, a, b)
		}
		if len(f.messages) != floodVariants {
			t.Errorf("%s: %d messages", f.name, len(f.messages))
		}
	}
}
