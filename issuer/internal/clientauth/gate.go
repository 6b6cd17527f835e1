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

// GatedSecrets is Gated for relying parties.
func GatedSecrets(s Secrets, g Gate) Secrets { return gatedSecrets{s, g} }

type gatedAgents struct {
	Agents
	gate Gate
}

// AuthenticateSecret implements Agents.
func (g gatedAgents) AuthenticateSecret(ctx context.Context, clientID, secret string) (agents.Agent, agentid.Credential, error) {
	return g.pass(ctx, clientID, func() (agents.Agent, agentid.Credential, error) {
		return g.Agents.AuthenticateSecret(ctx, clientID, secret)
	})
}

// Authenticate implements Agents.
func (g gatedAgents) Authenticate(ctx context.Context, clientID string, check agents.Check) (agents.Agent, agentid.Credential, error) {
	return g.pass(ctx, clientID, func() (agents.Agent, agentid.Credential, error) { return g.Agents.Authenticate(ctx, clientID, check) })
}

func (g gatedAgents) pass(ctx context.Context, clientID string, authenticate func() (agents.Agent, agentid.Credential, error)) (agents.Agent, agentid.Credential, error) {
	if err := g.gate.Admit(ctx, clientID); err != nil {
		return agents.Agent{}, agentid.Credential{}, err
	}
	agent, credential, err := authenticate()
	if err == nil {
		err = g.gate.Authenticated(ctx, clientID, agent.OrganizationID)
	} else if errors.Is(err, agents.ErrAuthentication) {
		g.gate.Failed(ctx, clientID)
	}
	if err != nil {
		return agents.Agent{}, agentid.Credential{}, err
	}
	return agent, credential, nil
}

type gatedSecrets struct {
	Secrets
	gate Gate
}

// AuthenticateSecret implements Secrets.
func (g gatedSecrets) AuthenticateSecret(ctx context.Context, clientID, secret string, method clients.Authentication) (clients.Client, error) {
	if err := g.gate.Admit(ctx, clientID); err != nil {
		return clients.Client{}, err
	}
	c, err := g.Secrets.AuthenticateSecret(ctx, clientID, secret, method)
	if err == nil {
		err = g.gate.Authenticated(ctx, clientID, c.OrganizationID)
	} else if errors.Is(err, agents.ErrAuthentication) {
		g.gate.Failed(ctx, clientID)
	}
	if err != nil {
		return clients.Client{}, err
	}
	return c, nil
}
