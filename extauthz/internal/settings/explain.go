package settings

import "github.com/agentidp/agentidp/internal/config"

// Explain keeps the last decisions in memory, without credentials and bodies, for /debug/decision/{id} on metrics.listen.
type Explain struct {
	Bytes config.Bytes `yaml:"bytes"`
}

const (
	explainBytesMin = 64 << 10
	explainBytesMax = 256 << 20
)

func (c *Config) validateObservers(r *config.Report) {
	if e := c.Explain; e != nil {
		if e.Bytes < explainBytesMin || e.Bytes > explainBytesMax {
			r.Errorf("explain.bytes", "want between 64KiB and 256MiB, such as 4MiB")
		}
		if c.Metrics == nil {
			r.Errorf("explain", "needs metrics.listen: that is where it answers")
		}
	}
	if c.Shadow != nil {
		c.Shadow.validate(c, r)
	}
}
