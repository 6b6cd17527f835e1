package grants

import (
	"context"

	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// ClientCredentials is RFC 6749 s4.4: the agent acts for itself, and what its record allows is all there is to check.
func ClientCredentials() Grant {
	return Grant{
		Type:      "client_credentials",
		Authorize: func(context.Context, *Request, *tokens.Authorization) error { return nil },
	}
}
