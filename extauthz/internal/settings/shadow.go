package settings

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/policy"
)

// Shadow are candidates for policies, followed as the policies in force are: one for the mesh policy, and one for the own policy of each
// organization that has a Dir here. What they say is compared, counted and logged, after the answer; a candidate that is broken, slow or
// hostile changes no answer.
type Shadow struct {
	Dir     config.Path `yaml:"dir"`     // of the candidate for the mesh policy
	Path    string      `yaml:"path"`    // of its decision; that of the policy in force if unsaid
	Percent float64     `yaml:"percent"` // of the decisions, by decision id, where Organizations says nothing else
	// Organizations are callers' organizations about which something else is to be said, by id.
	Organizations map[string]ShadowOrganization `yaml:"organizations"`
}

// ShadowOrganization says what is compared of the decisions about callers of one organization.
type ShadowOrganization struct {
	Percent *float64    `yaml:"percent"` // that of Shadow if unsaid
	Dir     config.Path `yaml:"dir"`     // of a candidate for the organization's own policy; none if unsaid
}

const (
	shadowPercentDefault = 10
	shadowWorkers        = 1 // a candidate is asked about one decision at a time
	organizationsMax     = 1000
	shadowFoldersMax     = 16 // candidates for policies of organizations: each has a queue and a policy in memory
)

// SetDefaults implements the defaults of the config file.
func (s *Shadow) SetDefaults() { s.Percent = shadowPercentDefault }

// validate does not compile a candidate: a broken one must not keep the process from starting.
func (s *Shadow) validate(c *Config, r *config.Report) {
	if c.DecisionLog == nil {
		r.Errorf("shadow", "needs decisionLog: that is where disagreements go")
	}
	if s.candidates() == 0 {
		r.Errorf("shadow.dir", "is required, or a dir of one of shadow.organizations")
	}
	if s.Dir == c.Policy.Dir && s.Dir != "" && (s.Path == "" || s.Path == c.Policy.DecisionPath()) {
		r.Errorf("shadow.dir", "is the policy in force: there is nothing to compare")
	}
	if strings.HasPrefix(s.Path, "/") || strings.HasSuffix(s.Path, "/") {
		r.Errorf("shadow.path", "want names separated by single slashes, as in agentidp/authz/allow")
	}
	if !isPart(s.Percent, 100) || s.Percent == 0 && len(s.Organizations) == 0 {
		r.Errorf("shadow.percent", "want a number above 0, up to 100; 0 is for comparing only what shadow.organizations names")
	}
	if len(s.Organizations) > organizationsMax {
		r.Errorf("shadow.organizations", "has %d entries, at most %d are accepted", len(s.Organizations), organizationsMax)
	}
	folders := 0
	for _, id := range slices.Sorted(maps.Keys(s.Organizations)) {
		o := s.Organizations[id]
		field := "shadow.organizations." + id
		if err := checkIdentifier(id); err != nil {
			r.Errorf("shadow.organizations", "%q: %v", id, err)
			continue
		}
		if o.Percent != nil && !isPart(*o.Percent, 100) {
			r.Errorf(field+".percent", "want a number of 0 (none) to 100")
		}
		if o.Dir == "" {
			continue
		}
		if folders++; folders == shadowFoldersMax+1 {
			r.Errorf("shadow.organizations", "more than %d have a dir", shadowFoldersMax)
		}
		switch own := c.Policy.Organizations; {
		case own == nil:
			r.Errorf(field+".dir", "needs policy.organizations: it is a candidate for the organization's own policy")
		case filepath.Clean(string(o.Dir)) == filepath.Join(string(own.Dir), id):
			r.Errorf(field+".dir", "is the policy in force: there is nothing to compare")
		}
	}
}

// candidates is how many there may be.
func (s *Shadow) candidates() (n int64) {
	if s == nil {
		return 0
	}
	if s.Dir != "" {
		n++
	}
	for _, o := range s.Organizations {
		if o.Dir != "" {
			n++
		}
	}
	return n
}

// PercentOf is for the callers of an organization that is named.
func (s *Shadow) PercentOf(id string) float64 {
	if p := s.Organizations[id].Percent; p != nil {
		return *p
	}
	return s.Percent
}

// MeshConfig is how the candidate for the mesh policy is compiled.
func (s *Shadow) MeshConfig(c *Config) policy.Config {
	cfg := c.PolicyConfig()
	cfg.Workers, cfg.Routes = shadowWorkers, nil
	if s.Path != "" {
		cfg.Path = s.Path
	}
	return cfg
}

// OwnConfig is how candidates for policies of organizations are compiled.
func (s *Shadow) OwnConfig(c *Config) policy.Config {
	cfg := c.OrganizationConfig()
	cfg.Workers, cfg.OwnCaches = shadowWorkers, true
	return cfg
}

// describe compiles the candidates, which validation leaves alone.
func (s *Shadow) describe(w io.Writer, c *Config) {
	say := func(who, dir string, cfg policy.Config, asked string) {
		candidate, err := compileDir(dir, cfg)
		if err != nil {
			fmt.Fprintf(w, "shadow: %s is not asked%s: %v\n", dir, who, err)
			return
		}
		candidate.Close()
		fmt.Fprintf(w, "shadow: %s is asked%s about %s\n", dir, who, asked)
	}
	if s.Dir != "" {
		asked := fmt.Sprintf("%g %% of the decisions", s.Percent)
		for n, id := range slices.Sorted(maps.Keys(s.Organizations)) {
			if n == shadowFoldersMax {
				asked += fmt.Sprintf(", and %d organizations more", len(s.Organizations)-n)
				break
			}
			asked += fmt.Sprintf(", %g %% of %s", s.PercentOf(id), id)
		}
		say("", string(s.Dir), s.MeshConfig(c), asked)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Organizations)) {
		if dir := string(s.Organizations[id].Dir); dir != "" {
			say(" beside the policy of "+id, dir, s.OwnConfig(c), fmt.Sprintf("%g %% of its decisions", s.PercentOf(id)))
		}
	}
}
