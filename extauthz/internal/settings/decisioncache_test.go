package settings

import (
	"strings"
	"testing"
	"time"
)

func TestDecisionCacheConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                "",
		"decisionCache: {bytes: 0}":       "",
		"decisionCache: {bytes: 1MiB}":    "",
		"decisionCache: {bytes: 1KiB}":    "decisionCache.bytes: want at least 1MiB, or 0 to switch it off",
		"decisionCache: {maxAge: 0s}":     "decisionCache.maxAge: want more than 0 and at most 1h0m0s",
		"decisionCache: {maxAge: 61m}":    "decisionCache.maxAge: want more than 0 and at most 1h0m0s",
		"decisionCache: {maxAges: 1m}":    "maxAges",
		"decisionCache: {maxAge: 1m0.5s}": "",
	} {
		dir := configDir(t)
		cfg, err := loadConfig(t, dir, minimal+text+"\n")
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		case text == "" && (cfg.DecisionCache.Bytes != 32<<20 || cfg.DecisionCache.MaxAge.Duration != time.Minute):
			t.Errorf("by default %+v", cfg.DecisionCache)
		}
	}
}
