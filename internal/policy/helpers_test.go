package policy

import (
	"context"
	"testing"
)

// mustCompile compiles one module for the decision at path and closes the policy when the test ends.
func mustCompile(tb testing.TB, path string, cfg Config, module string) *Policy {
	tb.Helper()
	cfg.Path = path
	return mustCompileSources(tb, cfg, profileFor(cfg), Source{Name: "policy.rego", Data: []byte(module)})
}

func mustCompileSources(tb testing.TB, cfg Config, prof profile, sources ...Source) *Policy {
	tb.Helper()
	p, err := compile(context.Background(), sources, cfg, prof)
	if err != nil {
		tb.Fatalf("compile: %v", err)
	}
	tb.Cleanup(p.Close)
	return p
}
