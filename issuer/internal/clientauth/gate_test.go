package clientauth

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// scriptedGate says no where it is told to, and keeps what it was asked.
type scriptedGate struct {
	admit, authenticated error
	asked                []string
}

func (g *scriptedGate) Admit(_ context.Context, id string) error {
	g.asked = append(g.asked, "admit "+id)
	return g.admit
}

func (g *scriptedGate) Failed(_ context.Context, id string) { g.asked = append(g.asked, "failed "+id) }

func (g *scriptedGate) Authenticated(_ context.Context, id string, _ agentid.Organization) error {
	g.asked = append(g.asked, "authenticated "+id)
	return g.authenticated
}

// oneClient is a client of both kinds whose authentication ends as it is told.
type oneClient struct {
	org   agentid.Organization
	err   error
	used  error
	tried int
}

func (o *oneClient) AuthenticateSecret(context.Context, string, string) (agents.Agent, agentid.Credential, error) {
	o.tried++
	return agents.Agent{Name: "one", OrganizationID: o.org}, agentid.New[agentid.Credential](), o.err
}

func (o *oneClient) Authenticate(ctx context.Context, id string, check credentials.Check) (agents.Agent, agentid.Credential, error) {
	if _, err := check(ctx, nil); err != nil {
		return agents.Agent{}, agentid.Credential{}, err
	}
	return o.AuthenticateSecret(ctx, id, "")
}

func (o *oneClient) UseUp(context.Context, agentid.Organization, issuance.SingleUse) error {
	return o.used
}

type oneParty struct {
	RelyingParties
	*oneClient
}

func (o oneParty) AuthenticateSecret(context.Context, string, string, credentials.Method) (clients.Client, agentid.Credential, error) {
	o.tried++
	return clients.Client{Name: "one", OrganizationID: o.org}, agentid.New[agentid.Credential](), o.err
}

func (o oneParty) Authenticate(ctx context.Context, id string, check credentials.Check) (clients.Client, agentid.Credential, error) {
	if _, err := check(ctx, nil); err != nil {
		return clients.Client{}, agentid.Credential{}, err
	}
	return o.AuthenticateSecret(ctx, id, "", "")
}

// once is a good proof that may be used once.
type once struct{}

func (once) client() string { return "c" }

func (once) check(context.Context, *Trust, []credentials.Registered) (proven, error) {
	return proven{use: &issuance.SingleUse{}}, nil
}

// Every way to authenticate passes the gate, before and after, and nothing of a client comes out that the gate has refused. A request is the client's when nothing is
// wrong with it any more; a client of another issuer, and a proof that was used before, are failures.
func TestGate(t *testing.T) {
	t.Parallel()
	limited, broken := &oauth.Error{Code: oauth.TemporarilyUnavailable}, errors.New("broken")
	org := agentid.New[agentid.Organization]()
	here := issuers.With(t.Context(), issuers.Issuer{ID: "https://id.example.com"})
	elsewhere := issuers.With(t.Context(), issuers.Issuer{ID: "https://id.example.com/o/x", Organization: agentid.New[agentid.Organization]()})
	ways := map[string]func(context.Context, *oneClient, Gate, proof) (name string, err error){
		"agent": func(ctx context.Context, o *oneClient, g Gate, p proof) (string, error) {
			c, err := NewAgentAuthenticator(o, Trust{}, g).authenticate(ctx, p)
			return c.Agent.Name, err
		},
		"relying party": func(ctx context.Context, o *oneClient, g Gate, p proof) (string, error) {
			c, _, err := NewRelyingPartyAuthenticator(oneParty{oneClient: o}, o, Trust{}, g, nil).authenticate(ctx, p)
			return c.Name, err
		},
	}
	for way, authenticate := range ways {
		for name, tt := range map[string]struct {
			ctx    context.Context
			proof  proof
			gate   scriptedGate
			client oneClient
			want   oauth.Code
			tried  int
			asked  []string
		}{
			"secret":               {here, secret{id: "c"}, scriptedGate{}, oneClient{}, "", 1, []string{"admit c", "authenticated c"}},
			"another proof":        {here, once{}, scriptedGate{}, oneClient{}, "", 1, []string{"admit c", "authenticated c"}},
			"not admitted":         {here, once{}, scriptedGate{admit: limited}, oneClient{}, oauth.TemporarilyUnavailable, 0, []string{"admit c"}},
			"beyond its limit":     {here, secret{id: "c"}, scriptedGate{authenticated: limited}, oneClient{}, oauth.TemporarilyUnavailable, 1, []string{"admit c", "authenticated c"}},
			"failed":               {here, secret{id: "c"}, scriptedGate{}, oneClient{err: credentials.ErrAuthentication}, oauth.InvalidClient, 1, []string{"admit c", "failed c"}},
			"our own failure":      {here, secret{id: "c"}, scriptedGate{}, oneClient{err: broken}, oauth.ServerError, 1, []string{"admit c"}},
			"at another's issuer":  {elsewhere, secret{id: "c"}, scriptedGate{}, oneClient{}, oauth.InvalidClient, 1, []string{"admit c", "failed c"}},
			"used before":          {here, once{}, scriptedGate{}, oneClient{used: &issuance.UsedError{}}, oauth.InvalidClient, 1, []string{"admit c", "failed c"}},
			"uses cannot be asked": {here, once{}, scriptedGate{}, oneClient{used: broken}, oauth.ServerError, 1, []string{"admit c"}},
		} {
			o := tt.client
			o.org = org
			got, err := authenticate(tt.ctx, &o, &tt.gate, tt.proof)
			var code oauth.Code
			if e, ok := errors.AsType[*oauth.Error](err); ok {
				code = e.Code
			}
			if code != tt.want || (err == nil) != (tt.want == "") || (got == "one") != (tt.want == "") || o.tried != tt.tried {
				t.Errorf("%s, %s: %q, %v after %d tries", way, name, got, err, o.tried)
			}
			if diff := cmp.Diff(tt.asked, tt.gate.asked); diff != "" {
				t.Errorf("%s, %s: %s", way, name, diff)
			}
		}
	}
}
