package issuer

import (
	"github.com/agentidp/agentidp/issuer/internal/caller"
	"github.com/agentidp/agentidp/issuer/internal/introspection"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// questions are the endpoints that answer about tokens.
type questions struct {
	*revocation.Revoker
	*introspection.Introspector
}

func newQuestions(callers *caller.Identifier, judge *tokenstate.Judge, store revocation.Store) questions {
	return questions{revocation.NewRevoker(callers, judge, store, nil), introspection.New(callers, judge, nil)}
}
