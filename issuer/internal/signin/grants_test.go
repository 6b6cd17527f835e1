package signin

import (
	"context"
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// ended remembers which sign-in was ended, and why.
type ended struct {
	Store
	id     agentid.SignIn
	reason string
	actor  audit.Actor
}

func (e *ended) RevokeSignIn(_ context.Context, actor audit.Actor, _ agentid.Organization, id agentid.SignIn, reason string) error {
	e.id, e.reason, e.actor = id, reason, actor
	return nil
}

// Of two that redeem at the same moment, the one whom the database refuses ends the sign-in as one that came later would.
func TestRaceEndsTheSignIn(t *testing.T) {
	t.Parallel()
	store := &ended{}
	g := &Grants{Store: store}
	client := clients.Client{ID: agentid.New[agentid.Client](), OrganizationID: agentid.New[agentid.Organization]()}
	for _, tt := range []struct {
		grant grants.Grant
		want  string
	}{{g.AuthorizationCode(), "code_reused"}, {g.RefreshToken(), "refresh_token_reused"}} {
		id := agentid.New[agentid.SignIn]()
		tt.grant.Used(t.Context(), &grants.Request{
			RelyingParty: &grants.RelyingParty{Client: client}, Issuance: issuance.Record{SignIn: &issuance.SignInStep{ID: id}},
		})
		if store.id != id || store.reason != tt.want || store.actor.ID != client.ClientID() {
			t.Errorf("%s: ended %+v", tt.grant.Type, store)
		}
	}
}
