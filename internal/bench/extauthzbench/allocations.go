package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/agentidp/agentidp/internal/bench/report"
)

const (
	allocationsMax = 12.0
	checkPackage   = "github.com/agentidp/agentidp/extauthz"
	checkBenchmark = "^BenchmarkCheck$/^warm$"
	checkTimes     = "5000x"
)

var allocationsOf = regexp.MustCompile(`(?m)^BenchmarkCheck/warm\S*\s.*\s(\d+) allocs/op`)

// allocations are those of Server.Check itself, from the bytes of the question to the bytes of the answer, as the
// benchmark beside it counts them: from outside they cannot be told from those of gRPC.
func (b *bench) allocations(ctx context.Context) ([]report.Row, error) {
	b.progress("count the allocations of a warm check")
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", checkBenchmark, "-benchtime", checkTimes, "-benchmem", checkPackage).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s: %w\n%s", checkBenchmark, err, out)
	}
	found := allocationsOf.FindSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("go test -bench %s says nothing about allocations:\n%s", checkBenchmark, out)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		return nil, err
	}
	return []report.Row{report.Absolute("allocations of a warm check", n, allocationsMax)}, nil
}
