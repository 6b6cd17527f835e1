package signin

import (
	"slices"

	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// grantedScopes are those asked for that both the client's record and the agent's allow, and those of OpenID Connect. Others are left out, as OpenID Connect
// Core s3.1.2.1 wants it; the token response says what was granted. Without OpenID Connect, and asked for nothing, it is all that both records allow.
func grantedScopes(asked []string, client clients.Client, agent agents.Agent) ([]string, error) {
	both := func(s string) bool { return slices.Contains(client.Scopes, s) && slices.Contains(agent.Scopes, s) }
	if asked == nil {
		return slices.DeleteFunc(slices.Clone(agent.Scopes), func(s string) bool { return !both(s) }), nil
	}
	granted := []string{}
	for _, s := range asked {
		switch s {
		case OpenID, Profile, AgentScope:
			granted = append(granted, s)
		case OfflineAccess:
			if client.RefreshTokens {
				granted = append(granted, s)
			}
		default:
			if both(s) {
				granted = append(granted, s)
			}
		}
	}
	if len(granted) == 0 {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "Nothing of what is asked for can be granted."}
	}
	return granted, nil
}

// grantedAudience is RFC 8707 s2: what was asked for, which must be the agent's too; without a resource it is the issuer, for /agent-info.
func grantedAudience(issuer issuers.Issuer, resources []string, agent agents.Agent) ([]string, error) {
	if len(resources) == 0 {
		return []string{issuer.ID}, nil
	}
	var audience []string
	for _, r := range resources {
		switch {
		case !slices.Contains(agent.Audiences, r):
			return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "The agent may not be asked for tokens for this resource."}
		case !slices.Contains(audience, r):
			audience = append(audience, r)
		}
	}
	return audience, nil
}

// narrowScopes is what the records still allow of what was granted; a refresh may ask for less (RFC 6749 s6).
func narrowScopes(s SignIn, form oauth.Form, client clients.Client, agent agents.Agent) ([]string, error) {
	scopes := slices.DeleteFunc(slices.Clone(s.Scopes), func(scope string) bool {
		return !slices.Contains(Scopes(), scope) && (!slices.Contains(client.Scopes, scope) || !slices.Contains(agent.Scopes, scope))
	})
	if !form.Has("scope") || s.RedeemedAt.IsZero() { // with a code the parameter means nothing
		return scopes, nil
	}
	asked, ok := oauth.ParseScope(form.Get("scope"))
	if !ok || slices.ContainsFunc(asked, func(scope string) bool { return !slices.Contains(scopes, scope) }) {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "The scope is malformed, or more than was granted."}
	}
	return asked, nil
}

// assertionScopes are for another server, so those of OpenID Connect mean nothing in them: what is asked for, of what both records allow; else that part of what the sign-in granted.
func assertionScopes(s SignIn, form oauth.Form, client clients.Client, agent agents.Agent) ([]string, error) {
	more := func(scope string) bool {
		return !slices.Contains(client.Scopes, scope) || !slices.Contains(agent.Scopes, scope)
	}
	if !form.Has("scope") {
		return slices.DeleteFunc(slices.Clone(s.Scopes), more), nil
	}
	asked, ok := oauth.ParseScope(form.Get("scope"))
	if !ok || slices.ContainsFunc(asked, more) {
		return nil, &oauth.Error{Code: oauth.InvalidScope, Description: "The scope is malformed, or more than the records of client and agent allow."}
	}
	return asked, nil
}

// narrowAudience is what the records still allow of what was granted, and of that what the request asks for (RFC 8707 s2.2).
func narrowAudience(s SignIn, form oauth.Form, client clients.Client, agent agents.Agent) ([]string, error) {
	asked := form.All("resource")
	var audience []string
	for _, a := range s.Audience {
		allowed := a == s.Issuer || slices.Contains(client.Audiences, a) && slices.Contains(agent.Audiences, a)
		if allowed && (len(asked) == 0 || slices.Contains(asked, a)) {
			audience = append(audience, a)
		}
	}
	if len(audience) == 0 || slices.ContainsFunc(asked, func(a string) bool { return !slices.Contains(audience, a) }) {
		return nil, &oauth.Error{Code: oauth.InvalidTarget, Description: "The sign-in grants no token for this resource."}
	}
	return audience, nil
}
