package settings

import (
	"time"

	"github.com/agentidp/agentidp/internal/config"
)

const (
	decisionCacheBytesDefault = 32 << 20
	decisionCacheAgeDefault   = time.Minute
	decisionCacheBytesMin     = 1 << 20
	decisionCacheAgeMax       = time.Hour // a decision is as good after an hour; memory for what nobody asks again is not
)

// ObstaclesShownMax bounds what the log and -check say of one policy that cannot be remembered by.
const ObstaclesShownMax = 10

// DecisionCache says how many decisions of the policy are remembered, and for how long. The zero value remembers none.
type DecisionCache struct {
	Bytes  config.Bytes    `yaml:"bytes"` // 0 switches it off
	MaxAge config.Duration `yaml:"maxAge"`
}

// SetDefaults implements the defaults of the config file.
func (d *DecisionCache) SetDefaults() {
	d.Bytes, d.MaxAge = decisionCacheBytesDefault, config.Duration{Duration: decisionCacheAgeDefault}
}

func (d *DecisionCache) validate(r *config.Report) {
	if d.Bytes != 0 && d.Bytes < decisionCacheBytesMin {
		r.Errorf("decisionCache.bytes", "want at least 1MiB, or 0 to switch it off")
	}
	if d.MaxAge.Duration <= 0 || d.MaxAge.Duration > decisionCacheAgeMax {
		r.Errorf("decisionCache.maxAge", "want more than 0 and at most %s", decisionCacheAgeMax)
	}
}
