package settings

import (
	"fmt"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/smallfile"
)

// View is what of a request the policy is shown, beyond what it always is. It is the same for all requests of a process.
type View struct {
	ShowToken   bool                // the Authorization header as the client sent it
	SkipBody    bool                // parsed_body and truncated_body are absent
	Descriptors *decide.Descriptors // of gRPC bodies; nil shows none
}

// DecisionPath is the rule that decides, whichever way the file names it. A query that Validate refuses has none.
func (p *Policy) DecisionPath() string {
	switch {
	case p.Query != "":
		path, err := policy.PathOf(p.Query)
		if err != nil {
			return ""
		}
		return path
	case p.Path != "":
		return p.Path
	default:
		return policyPathDefault
	}
}

func (p *Policy) validateDecision(r *config.Report) bool {
	if p.Path != "" && p.Query != "" {
		r.Errorf("policy.query", "want one of path and query: they are two names of one thing")
		return false
	}
	if p.Query != "" {
		if _, err := policy.PathOf(p.Query); err != nil {
			r.Errorf("policy.query", "%v", err)
			return false
		}
	}
	return true
}

func (p *Policy) validateView(r *config.Report) {
	if p.RegoVersion != RegoV1 && p.RegoVersion != RegoV0 {
		r.Errorf("policy.regoVersion", "want v1 or v0")
	}
	if p.ProtoDescriptor != "" && p.SkipBodyParse {
		r.Errorf("policy.protoDescriptor", "is of no use with skipBodyParse")
	}
	if _, err := p.View(); err != nil {
		r.Errorf("policy.protoDescriptor", "%v", err)
	}
}

// View reads what is configured; the descriptor set is read once, at the start.
func (p *Policy) View() (View, error) {
	v := View{ShowToken: p.ShowToken, SkipBody: p.SkipBodyParse}
	if p.ProtoDescriptor == "" {
		return v, nil
	}
	encoded, err := smallfile.Read(string(p.ProtoDescriptor), decide.DescriptorsBytesMax)
	if err != nil {
		return v, err
	}
	if v.Descriptors, err = decide.ParseDescriptors(encoded); err != nil {
		return v, fmt.Errorf("%s: %w", p.ProtoDescriptor, err)
	}
	return v, nil
}

// routePathsMax bounds the decisions of one installation: each has workers of its own.
const routePathsMax = 16

func (p *Policy) validateRoutes(r *config.Report) {
	if len(p.RoutePaths) > routePathsMax {
		r.Errorf("policy.routePaths", "has %d entries, at most %d are accepted", len(p.RoutePaths), routePathsMax)
	}
	seen := map[string]bool{p.DecisionPath(): true}
	for i, path := range p.RoutePaths {
		if seen[path] {
			r.Errorf(fmt.Sprintf("policy.routePaths[%d]", i), "the same path twice, or that of policy.path")
		}
		seen[path] = true
	}
}
