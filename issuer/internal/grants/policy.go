package grants

import (
	"slices"

	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// allowed is the scope and resource policy of every grant: an agent gets what its record lists, or an error; never silently less.
func allowed(client clientauth.Client, form oauth.Form) (tokens.Authorization, error) {
	agent := client.Agent
	audience, err := allowedAudience(agent, form.Get("resource"))
	if err != nil {
		return tokens.Authorization{}, err
	}
	scopes, err := allowedScopes(agent, form.Get("scope"))
	if err != nil {
		return tokens.Authorization{}, err
	}
	return tokens.Authorization{Agent: agent, Credential: client.Credential, Audience: audience, Scopes: scopes}, nil
}

// allowedAudience is RFC 8707 s2: one of the agent's audiences, compared as strings; the first when none is asked for.
func allowedAudience(agent agents.Agent, resource string) (string, error) {
	switch {
	case resource != "" && slices.Contains(agent.Audiences, resource):
		return resource, nil
	case resource == "" && len(agent.Audiences) > 0:
		return agent.Audiences[0], nil
	}
	return "", &oauth.Error{Code: oauth.InvalidTarget, Description: "The agent may not ask for tokens for this resource."}
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
