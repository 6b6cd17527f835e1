package extauthz

import (
	"errors"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
)

// policyRoute is the context extension by which a route of Envoy names the decision it is about: one of policy.routePaths. Context extensions
// are written in Envoy's configuration; no client can send one.
const policyRoute = "agentidp.policy_path"

// evaluator is the policy that decides about a request whose snapshot has one. A route that names a decision nobody configured gets none: what
// another rule would have said about it is not what its operator asked for.
func (c *call) evaluator() (decide.Evaluator, error) {
	path, named := c.request.Extensions[policyRoute]
	if !named {
		return c.snapshot.Policy, nil
	}
	p, ok := c.snapshot.Policy.Route(path)
	if !ok {
		return nil, errors.New("the context extension " + policyRoute + " of the route names no path of policy.routePaths")
	}
	c.path = path
	return p, nil
}
