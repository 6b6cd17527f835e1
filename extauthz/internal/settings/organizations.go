package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/policy"
)

// OrganizationPolicies are policies of single organizations: each folder of Dir has the name of an organization, and is asked about the
// requests of its callers that the mesh policy allows. It can take away what the mesh policy gives, and give nothing.
type OrganizationPolicies struct {
	Dir     config.Path     `yaml:"dir"`
	Path    string          `yaml:"path"`    // of the decision, in each folder
	Timeout config.Duration `yaml:"timeout"` // of one evaluation
	Max     int             `yaml:"max"`     // policies compiled at a time
	Bytes   config.Bytes    `yaml:"bytes"`   // memory for them
	Workers int             `yaml:"workers"` // evaluations at once, of each organization
	// Headers of requests that these policies may set and remove.
	Headers []string `yaml:"headers"`
}

const (
	organizationPathDefault     = "agentidp/org/decision"
	organizationPoliciesDefault = 100
	organizationPoliciesMax     = 10_000
	organizationBytesDefault    = 64 << 20
	organizationBytesMin        = 1 << 20
	organizationWorkersMax      = 64
	organizationHeadersMax      = 64
)

// SetDefaults implements the defaults of the config file.
func (o *OrganizationPolicies) SetDefaults() {
	o.Path = organizationPathDefault
	o.Timeout = config.Duration{Duration: policyTimeoutDefault}
	o.Max, o.Bytes = organizationPoliciesDefault, organizationBytesDefault
	o.Workers = max(1, runtime.GOMAXPROCS(0)/2) // so that one organization leaves processors to the others
}

// validate does not compile: a policy that is broken concerns its organization, and keeps nobody from starting.
func (o *OrganizationPolicies) validate(c *Config, r *config.Report) {
	const field = "policy.organizations"
	if c.Identity == IdentityPolicy {
		r.Errorf(field, "needs callers whose tokens were verified: with identity: policy there are none")
	}
	if strings.Contains("/"+o.Path+"/", "//") {
		r.Errorf(field+".path", "want names separated by single slashes, as in %s", organizationPathDefault)
	}
	if o.Timeout.Duration <= 0 || o.Timeout.Duration+c.Policy.Timeout.Duration > policyTimeoutMax {
		r.Errorf(field+".timeout", "want more than 0 and, with policy.timeout, at most %s: Envoy waits 250 ms for everything", policyTimeoutMax)
	}
	if o.Max < 1 || o.Max > organizationPoliciesMax {
		r.Errorf(field+".max", "want 1 to %d", organizationPoliciesMax)
	}
	if o.Bytes < organizationBytesMin {
		r.Errorf(field+".bytes", "want at least 1MiB")
	}
	if o.Workers < 1 || o.Workers > organizationWorkersMax {
		r.Errorf(field+".workers", "want 1 to %d", organizationWorkersMax)
	}
	o.validateHeaders(r, field+".headers")
	o.validateDir(c, r, field+".dir")
}

func (o *OrganizationPolicies) validateHeaders(r *config.Report, field string) {
	if len(o.Headers) > organizationHeadersMax {
		r.Errorf(field, "has %d entries, at most %d are accepted", len(o.Headers), organizationHeadersMax)
	}
	for i, name := range o.Headers {
		at := fmt.Sprintf("%s[%d]", field, i)
		var probe checkresp.Changes
		switch err := probe.RemoveHeader(name); {
		case err != nil:
			r.Errorf(at, "%v", err)
		case strings.ToLower(name) != name:
			r.Errorf(at, "want the name in lower case")
		case slices.Contains(o.Headers[:i], name):
			r.Errorf(at, "is listed twice")
		}
	}
}

func (o *OrganizationPolicies) validateDir(c *Config, r *config.Report, field string) {
	if o.Dir == "" {
		r.Errorf(field, "is required")
		return
	}
	if info, err := os.Stat(string(o.Dir)); err != nil || !info.IsDir() {
		r.Errorf(field, "%s is not a directory", o.Dir)
		return
	}
	if within(string(c.Policy.Dir), string(o.Dir)) || within(string(o.Dir), string(c.Policy.Dir)) {
		r.Errorf(field, "lies in policy.dir, or the other way round: a policy of an organization must not be a part of the mesh policy")
	}
	_, problems, err := orgpolicy.Scan(string(o.Dir))
	if err != nil {
		r.Errorf(field, "%v", err)
	}
	for _, p := range problems {
		r.Errorf(field, "%s", p)
	}
}

// within reports whether a path lies in a directory, or is it. Paths that cannot be compared are not the same.
func within(dir, path string) bool {
	if dir == "" {
		return false
	}
	relative, err := filepath.Rel(dir, path)
	return err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator))
}

// OrganizationConfig is how policies of organizations are compiled. There must be some.
func (c *Config) OrganizationConfig() policy.Config {
	o := c.Policy.Organizations
	return policy.Config{
		Path: o.Path, RegoV0: c.Policy.RegoVersion == RegoV0, EvalTimeout: o.Timeout.Duration, Workers: o.Workers,
	}
}

// CheckOrganizations compiles the policy of each organization and returns what is wrong, a line for each finding. Starting does not:
// there a policy is compiled when it is needed, and a broken one concerns nobody else.
func (c *Config) CheckOrganizations() (problems []string) {
	o := c.Policy.Organizations
	if o == nil {
		return nil
	}
	ids, _, err := orgpolicy.Scan(string(o.Dir))
	if err != nil {
		return []string{err.Error()}
	}
	for _, id := range ids {
		dir := filepath.Join(string(o.Dir), id)
		for _, err := range c.checkOrganization(dir) {
			problems = append(problems, "policy.organizations: "+err)
		}
	}
	return problems
}

func (c *Config) checkOrganization(dir string) []string {
	sources, err := policy.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	if n, most := orgpolicy.Estimate(sources), int64(c.Policy.Organizations.Bytes); n > most {
		return []string{fmt.Sprintf("%s: would take up to %d MiB of memory, and bytes is %d MiB", dir, n>>20+1, most>>20)}
	}
	compiled, err := decide.Compile(context.Background(), sources, c.OrganizationConfig())
	var broken *policy.CompileError
	switch {
	case errors.As(err, &broken):
		lines := make([]string, len(broken.Problems))
		for i, p := range broken.Problems {
			if p.File != "" {
				p.File = filepath.Join(dir, p.File)
				lines[i] = p.String()
			} else {
				lines[i] = dir + ": " + p.String()
			}
		}
		return lines
	case err != nil:
		return []string{dir + ": " + err.Error()}
	}
	compiled.Close()
	return nil
}

func (c *Config) describeOrganizations(w io.Writer) {
	o := c.Policy.Organizations
	if o == nil {
		return
	}
	ids, _, err := orgpolicy.Scan(string(o.Dir))
	if err != nil { // it was good a moment ago
		fmt.Fprintf(w, "organizations: %v\n", err)
		return
	}
	fmt.Fprintf(w, "organizations: %s of %s: %d with a policy of their own, %d compiled at a time\n", o.Path, o.Dir, len(ids), o.Max)
}

// OrganizationPath is the rule that decides in policies of organizations, "" without any.
func (p *Policy) OrganizationPath() string {
	if p.Organizations == nil {
		return ""
	}
	return p.Organizations.Path
}

// OrganizationHeaders are the headers of requests that policies of organizations may change.
func (p *Policy) OrganizationHeaders() []string {
	if p.Organizations == nil {
		return nil
	}
	return p.Organizations.Headers
}
