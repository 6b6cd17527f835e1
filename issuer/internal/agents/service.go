package agents

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Service validates and delegates.
type Service struct {
	store   Store
	secrets credentials.Secrets
	now     func() time.Time
	cache   *changecache.Cache[agentid.Agent, CachedClient] // nil: nobody is remembered
}

// NewService takes the key for the keyed hashes of client secrets (at least 32 bytes).
func NewService(store Store, secretHashKey []byte, now func() time.Time) (*Service, error) {
	secrets, err := credentials.NewSecrets(secretHashKey, "agentidp client secret v1")
	if err != nil {
		return nil, err
	}
	return &Service{store: store, secrets: secrets, now: now}, nil
}

// clock is the injected time at the resolution of PostgreSQL: what is answered now is what is read later.
func (s *Service) clock() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Create registers an active agent with a fresh id.
func (s *Service) Create(ctx context.Context, actor audit.Actor, in Create) (Agent, error) {
	a, err := s.newAgent(in)
	if err != nil {
		return Agent{}, err
	}
	return s.store.CreateAgent(ctx, actor, a)
}

func (s *Service) newAgent(in Create) (Agent, error) {
	now := s.clock()
	a := Agent{
		ID: agentid.New[agentid.Agent](), OrganizationID: in.OrganizationID, Name: in.Name, Type: in.Type, Description: in.Description,
		Capabilities: list(in.Capabilities), Scopes: list(in.Scopes), Audiences: list(in.Audiences),
		Serves: list(in.Serves), DPoPBound: in.DPoPBound, CertificateBound: in.CertificateBound,
		Status: Active, CreatedAt: now, UpdatedAt: now, Version: 1,
	}
	if err := check(&a); err != nil {
		return Agent{}, err
	}
	return a, nil
}

// Get returns one agent.
func (s *Service) Get(ctx context.Context, id agentid.Agent) (Agent, error) {
	return s.store.Agent(ctx, id)
}

// List returns up to limit agents of an organization in order of creation, those after the given id.
func (s *Service) List(ctx context.Context, org agentid.Organization, after agentid.Agent, limit int) ([]Agent, error) {
	return s.store.Agents(ctx, org, after, limit)
}

// Update changes the fields given. A revoked agent does not change any more.
func (s *Service) Update(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, in Update) (Agent, error) {
	return s.store.UpdateAgent(ctx, actor, id, version, audit.AgentUpdate, func(a *Agent) error {
		if a.Status == Revoked {
			return errRevoked()
		}
		apply(a, in)
		a.UpdatedAt = s.clock()
		return check(a)
	})
}

func apply(a *Agent, in Update) {
	set(&a.Name, in.Name)
	set(&a.Type, in.Type)
	set(&a.Description, in.Description)
	setList(&a.Capabilities, in.Capabilities)
	setList(&a.Scopes, in.Scopes)
	setList(&a.Audiences, in.Audiences)
	setList(&a.Serves, in.Serves)
	set(&a.DPoPBound, in.DPoPBound)
	set(&a.CertificateBound, in.CertificateBound)
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func setList(field, value *[]string) {
	if value != nil {
		*field = list(*value)
	}
}

// list copies; an absent list is an empty one, as it is read back.
func list(of []string) []string { return append([]string{}, of...) }

// Delete removes an agent and its credentials. Its tokens die as if it had been revoked.
func (s *Service) Delete(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error {
	return s.store.DeleteAgent(ctx, actor, id, version)
}

// Suspend stops an agent: no new tokens, and every token issued so far is dead for ever. Suspending twice is no error.
func (s *Service) Suspend(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	return s.transition(ctx, actor, id, audit.AgentSuspend, func(a *Agent) {
		a.Status = Suspended
		a.TokensNotBefore = s.watermark(a.TokensNotBefore)
	})
}

// Reactivate lets a suspended agent have tokens again. The watermark stays: what it held before the suspension stays dead.
func (s *Service) Reactivate(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	return s.transition(ctx, actor, id, audit.AgentReactivate, func(a *Agent) { a.Status = Active })
}

// RevokeTokens kills every token an agent was issued up to now, and leaves the agent as it is.
func (s *Service) RevokeTokens(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	return s.transition(ctx, actor, id, audit.AgentRevokeTokens, func(a *Agent) { a.TokensNotBefore = s.watermark(a.TokensNotBefore) })
}

// Revoke stops an agent for good. Revoking twice is no error.
func (s *Service) Revoke(ctx context.Context, actor audit.Actor, id agentid.Agent) (Agent, error) {
	return s.transition(ctx, actor, id, audit.AgentRevoke, func(a *Agent) {
		a.Status = Revoked
		a.TokensNotBefore = s.watermark(a.TokensNotBefore)
	})
}

// watermark is the next whole second. iat has whole seconds (rounded down), so a token from earlier in this second carries the second itself;
// one second more puts it safely on the dead side, at the price of at most one second without tokens after a reactivation.
// It is computed while the agent's row is locked, after every issuance that held the row has committed. Tokens are dated to a watermark that is the next second
// (package tokens), so a second one within the same second is a second later; none is ever lowered.
func (s *Service) watermark(before time.Time) time.Time {
	next := s.clock().Truncate(time.Second).Add(time.Second)
	switch {
	case before.Equal(next):
		return next.Add(time.Second)
	case before.After(next):
		return before
	}
	return next
}

func (s *Service) transition(ctx context.Context, actor audit.Actor, id agentid.Agent, action audit.Action, to func(*Agent)) (Agent, error) {
	return s.store.UpdateAgent(ctx, actor, id, 0, action, func(a *Agent) error {
		if a.Status == Revoked && action != audit.AgentRevoke {
			return errRevoked()
		}
		to(a)
		a.UpdatedAt = s.clock()
		return nil
	})
}

func errRevoked() error {
	return &problem.Error{Kind: problem.Conflict, Code: "agent_revoked", Detail: "the agent is revoked, which is final"}
}
