package policy

import (
	"context"
	"testing"
	"time"
)

// patient is the deadline of evaluations whose timing is not the subject: a busy machine must not fail them.
const patient = 10 * time.Second

// mustCompile compiles one module for the decision at path and closes the policy when the test ends. Without an EvalTimeout the policy is patient.
func mustCompile(tb testing.TB, path string, cfg Config, module string) *Policy {
	tb.Helper()
	cfg.Path = path
	return mustCompileSources(tb, cfg, profileFor(cfg), Source{Name: "policy.rego", Data: []byte(module)})
}

func mustCompileSources(tb testing.TB, cfg Config, prof profile, sources ...Source) *Policy {
	tb.Helper()
	if cfg.EvalTimeout == 0 {
		cfg.EvalTimeout = patient
	}
	p, err := compile(context.Background(), sources, cfg, prof)
	if err != nil {
		tb.Fatalf("compile: %v", err)
	}
	tb.Cleanup(p.Close)
	return p
}
