package clientauth

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
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
	Agents
	err   error
	tried int
}

func (o *oneClient) Authenticate(context.Context, string, agents.Check) (agents.Agent, agentid.Credential, error) {
	o.tried++
	return agents.Agent{Name: "one"}, agentid.New[agentid.Credential](), o.err
}

func (o *oneClient) AuthenticateSecret(ctx context.Context, id, _ string) (agents.Agent, agentid.Credential, error) {
	return o.Authenticate(ctx, id, nil)
}

type oneParty struct {
	RelyingParties
	*oneClient
}

func (o oneParty) AuthenticateSecret(context.Context, string, string, clients.Authentication) (clients.Client, agentid.Credential, error) {
	return o.Authenticate(context.Background(), "", nil)
}

func (o oneParty) Authenticate(context.Context, string, agents.Check) (clients.Client, agentid.Credential, error) {
	o.tried++
	return clients.Client{Name: "one"}, agentid.New[agentid.Credential](), o.err
}

// Every way to authenticate passes the gate, before and after, and nothing of a client comes out that the gate has refused.
func TestGate(t *testing.T) {
	t.Parallel()
	limited, broken := &oauth.Error{Code: oauth.TemporarilyUnavailable}, errors.New("broken")
	ways := map[string]func(*oneClient, Gate) (name string, err error){
		"secret": func(o *oneClient, g Gate) (string, error) {
			a, _, err := Gated(o, g).AuthenticateSecret(t.Context(), "c", "s")
			return a.Name, err
		},
		"other methods": func(o *oneClient, g Gate) (string, error) {
			a, _, err := Gated(o, g).Authenticate(t.Context(), "c", nil)
			return a.Name, err
		},
		"relying party": func(o *oneClient, g Gate) (string, error) {
			c, _, err := GatedParties(oneParty{oneClient: o}, g).AuthenticateSecret(t.Context(), "c", "s", clients.ClientSecretBasic)
			return c.Name, err
		},
		"relying party, other methods": func(o *oneClient, g Gate) (string, error) {
			c, _, err := GatedParties(oneParty{oneClient: o}, g).Authenticate(t.Context(), "c", nil)
			return c.Name, err
		},
	}
	for way, authenticate := range ways {
		for name, tt := range map[string]struct {
			gate  scriptedGate
			inner error
			want  error
			tried int
			asked []string
		}{
			"authenticated":    {scriptedGate{}, nil, nil, 1, []string{"admit c", "authenticated c"}},
			"not admitted":     {scriptedGate{admit: limited}, nil, limited, 0, []string{"admit c"}},
			"beyond its limit": {scriptedGate{authenticated: limited}, nil, limited, 1, []string{"admit c", "authenticated c"}},
			"failed":           {scriptedGate{}, agents.ErrAuthentication, agents.ErrAuthentication, 1, []string{"admit c", "failed c"}},
			"our own failure":  {scriptedGate{}, broken, broken, 1, []string{"admit c"}},
		} {
			o := &oneClient{err: tt.inner}
			got, err := authenticate(o, &tt.gate)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (got == "one") != (tt.want == nil) || o.tried != tt.tried {
				t.Errorf("%s, %s: %q, %v after %d tries", way, name, got, err, o.tried)
			}
			if diff := cmp.Diff(tt.asked, tt.gate.asked); diff != "" {
				t.Errorf("%s, %s: %s", way, name, diff)
			}
		}
	}
}
