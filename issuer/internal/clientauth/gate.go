package clientauth

import (
	"context"
	"errors"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clients"
)

// Gate limits how often clients authenticate, and fail to. ratelimit.Gate is one. Its errors are answers, *oauth.Error.
type Gate interface {
	// Admit is asked before anything of a client is looked at.
	Admit(ctx context.Context, clientID string) error
	// Failed is told of each failed authentication.
	Failed(ctx context.Context, clientID string)
	// Authenticated is asked after a successful one.
	Authenticated(ctx context.Context, clientID string, org agentid.Organization) error
}

// Gated asks the gate whenever one of the clients authenticates, by whichever method.
func Gated(a Agents, g Gate) Agents { return gatedAgents{a, g} }

// GatedParties is Gated for relying parties.
func GatedParties(p RelyingParties, g Gate) RelyingParties { return gatedParties{p, g} }

type gatedAgents struct {
	Agents
	gate Gate
}

// AuthenticateSecret implements Agents.
func (g gatedAgents) AuthenticateSecret(ctx context.Context, clientID, secret string) (agents.Agent, agentid.Credential, error) {
	return pass(ctx, g.gate, clientID, func() (agents.Agent, agentid.Credential, error) {
		return g.Agents.AuthenticateSecret(ctx, clientID, secret)
	})
}

// Authenticate implements Agents.
func (g gatedAgents) Authenticate(ctx context.Context, clientID string, check agents.Check) (agents.Agent, agentid.Credential, error) {
	return pass(ctx, g.gate, clientID, func() (agents.Agent, agentid.Credential, error) { return g.Agents.Authenticate(ctx, clientID, check) })
}

type gatedParties struct {
	RelyingParties
	gate Gate
}

// AuthenticateSecret implements RelyingParties.
func (g gatedParties) AuthenticateSecret(ctx context.Context, clientID, secret string, method clients.Authentication) (clients.Client, agentid.Credential, error) {
	return pass(ctx, g.gate, clientID, func() (clients.Client, agentid.Credential, error) {
		return g.RelyingParties.AuthenticateSecret(ctx, clientID, secret, method)
	})
}

// Authenticate implements RelyingParties.
func (g gatedParties) Authenticate(ctx context.Context, clientID string, check agents.Check) (clients.Client, agentid.Credential, error) {
	return pass(ctx, g.gate, clientID, func() (clients.Client, agentid.Credential, error) {
		return g.RelyingParties.Authenticate(ctx, clientID, check)
	})
}

func pass[C registrant](ctx context.Context, gate Gate, clientID string, authenticate func() (C, agentid.Credential, error)) (C, agentid.Credential, error) {
	var none C
	if err := gate.Admit(ctx, clientID); err != nil {
		return none, agentid.Credential{}, err
	}
	client, credential, err := authenticate()
	if err == nil {
		err = gate.Authenticated(ctx, clientID, client.Organization())
	} else if errors.Is(err, agents.ErrAuthentication) {
		gate.Failed(ctx, clientID)
	}
	if err != nil {
		return none, agentid.Credential{}, err
	}
	return client, credential, nil
}
