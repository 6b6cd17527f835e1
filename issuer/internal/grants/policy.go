package grants

import (
	"slices"

	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// allowed is the scope and resource policy of every grant: an agent gets what its record lists, or an error; never silently less.
func allowed(r *Request, grant Grant) (tokens.Authorization, error) {
	if r.RelyingParty != nil {
		return allowedRelyingParty(r)
	}
	targets := r.Form.All("resource")
	if grant.Targets != nil {
		targets = grant.Targets(r.Form)
	}
	agent := r.Agent.Agent
	audience, err := allowedAudience(agent, targets)
	if err != nil {
		return tokens.Authorization{}, err
	}
	scopes, err := allowedScopes(agent, r.Form.Get("scope"))
	if err != nil {
		return tokens.Authorization{}, err
	}
	details, err := oauth.ParseAuthorizationDetails(r.Form.Get("authorization_details"))
	if err != nil {
		return tokens.Authorization{}, err
	}
	return tokens.Authorization{
		Issuer: r.Issuer, Agent: agent, Credential: r.Agent.Credential, Audience: audience, Scopes: scopes, Details: details, Confirmation: r.Confirmation,
	}, nil
}

// allowedAudience is RFC 8707 s2: of the agent's audiences, compared as strings, those asked for, each once; the first when none is.
func allowedAudience(agent agents.Agent, targets []string) ([]string, error) {
	refused := &oauth.Error{Code: oauth.InvalidTarget, Description: "The agent may not ask for tokens for this resource."}
	if len(targets) == 0 {
		if len(agent.Audiences) == 0 {
			return nil, refused
		}
		return agent.Audiences[:1:1], nil
	}
	var audience []string
	for _, target := range targets {
		switch {
		case !slices.Contains(agent.Audiences, target):
			return nil, refused
		case !slices.Contains(audience, target):
			audience = append(audience, target)
		}
	}
	return audience, nil
}

// allowedScopes is RFC 6749 s3.3: all of the agent's scopes when none is asked for (the documented default), else exactly what is asked for.
func allowedScopes(agent agents.Agent, scope string) ([]string, error) {
	if scope == "" {
		return agent.Scopes, nil
	}
	asked, ok := oauth.ParseScope(scope)
	if !ok {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "The scope is malformed."}
	}
	for _, s := range asked {
		if !slices.Contains(agent.Scopes, s) {
			return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "The agent may not ask for one of these scopes."}
		}
	}
	return asked, nil
}
