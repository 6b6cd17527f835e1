package settings

import (
	"fmt"
	"io"

	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/internal/config"
)

// TokenCache says how much memory verified tokens may take.
type TokenCache struct {
	Bytes config.Bytes `yaml:"bytes"`
}

const tokenCacheBytesMin = 1 << 20

// SetDefaults implements the defaults of the config file.
func (t *TokenCache) SetDefaults() { t.Bytes = identity.CacheBytesDefault }

func (t *TokenCache) validate(r *config.Report) {
	if t.Bytes < tokenCacheBytesMin {
		r.Errorf("tokenCache.bytes", "want at least 1MiB")
	}
}

// What takes memory beside the parts that are configured; docs/limits.md has the table.
const (
	logQueueBytes  = 16 << 20 // decisionlog: requests that wait
	logBatchBytes  = 4 << 20  // a batch, compressed and not, and the next one
	sideQueueBytes = 4 << 20  // explain, shadow: requests that wait
	limitsBytes    = 4 << 20  // ratelimit: 65,536 buckets
	tracesBytes    = 4 << 20  // spans that wait
	flightBytes    = 16 << 20 // 250 checks at a time of 64 KiB
	policyBytes    = 16 << 20 // compiled twice while one is replaced, keys, a list of some ten thousand revocations
	processBytes   = 48 << 20 // program, stacks, buffers of the network, tables of caches
)

// MemoryPart is one thing that takes memory, and how much at most.
type MemoryPart struct {
	Name  string
	Bytes int64
}

// Memory lists what the process keeps at most.
func (c *Config) Memory() []MemoryPart {
	replay := int64(c.DPoP.ReplayBytes)
	if replay <= 0 {
		replay = possession.ReplayBytesDefault
	}
	parts := []MemoryPart{
		{"tokenCache.bytes", int64(c.TokenCache.Bytes)},
		{"decisionCache.bytes", int64(c.DecisionCache.Bytes)},
		{"dpop.replayBytes", replay},
		{"checks in flight", flightBytes},
		{"policy, keys, revocations", policyBytes},
	}
	for _, p := range []struct {
		on   bool
		part MemoryPart
	}{
		{c.Policy.Organizations != nil, MemoryPart{"policy.organizations.bytes", c.organizationBytes()}},
		{c.DecisionLog != nil, MemoryPart{"decisionLog", logQueueBytes + logBatchBytes}},
		{c.Shadow != nil, MemoryPart{"shadow", c.Shadow.candidates() * (sideQueueBytes + policyBytes)}},
		{c.Limits != nil, MemoryPart{"limits", limitsBytes}},
		{c.Tracing != nil, MemoryPart{"tracing", tracesBytes}},
	} {
		if p.on {
			parts = append(parts, p.part)
		}
	}
	if c.Explain != nil {
		parts = append(parts, MemoryPart{"explain", int64(c.Explain.Bytes) + sideQueueBytes})
	}
	return parts
}

func (c *Config) organizationBytes() int64 {
	if c.Policy.Organizations == nil {
		return 0
	}
	return int64(c.Policy.Organizations.Bytes)
}

// MemoryMax is what GOMEMLIMIT is to be, and the resident memory for a configuration: what is kept, half as much again for what the garbage collector has not
// found yet, and the process itself. The limit of a container belongs above resident.
func (c *Config) MemoryMax() (goMemLimit, resident int64) {
	var kept int64
	for _, p := range c.Memory() {
		kept += p.Bytes
	}
	goMemLimit = kept + kept/2
	return goMemLimit, goMemLimit + processBytes
}

func (c *Config) describeMemory(w io.Writer) {
	for _, p := range c.Memory() {
		fmt.Fprintf(w, "memory: %4d MiB %s\n", (p.Bytes+1<<20-1)>>20, p.Name)
	}
	limit, resident := c.MemoryMax()
	fmt.Fprintf(w, "memory: %d MiB resident at most, with GOMEMLIMIT=%dMiB, which is set where the environment has none\n", resident>>20, limit>>20)
}
