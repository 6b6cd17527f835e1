package policy

import (
	"context"
	"errors"
	"testing"

	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
)

// BenchmarkEval compares evaluation on a worker with evaluation in the caller's goroutine: the difference is what the
// guarantee "answers by the deadline" costs.
func BenchmarkEval(b *testing.B) {
	p := mustCompile(b, "t/allow", Config{}, "package t\ndefault allow := false\nallow if input.method == \"GET\"")
	input := Object(Member{"method", String("GET")})
	ctx := context.Background()
	b.Run("direct", func(b *testing.B) {
		b.ReportAllocs()
		j := &job{}
		for b.Loop() {
			if _, err := p.engine.prepared.Eval(ctx, rego.EvalParsedInput(input), rego.EvalExternalCancel(j), rego.EvalMetrics(metrics.NoOp()), rego.EvalSortSets(true)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("worker", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.Eval(ctx, input); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("direct-parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			j := &job{}
			for pb.Next() {
				if _, err := p.engine.prepared.Eval(ctx, rego.EvalParsedInput(input), rego.EvalExternalCancel(j), rego.EvalMetrics(metrics.NoOp()), rego.EvalSortSets(true)); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("worker-parallel", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := p.Eval(ctx, input); err != nil && !errors.Is(err, ErrTimeout) { // a busy machine
					b.Fatal(err)
				}
			}
		})
	})
}
