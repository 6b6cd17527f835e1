package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/selfregistration"
)

const (
	initialTokenNoun = "initial access token"
	registrationNoun = "registration"
)

// initialTokenKept is how long an expired token stays to be looked at.
const initialTokenKept = 30 * 24 * time.Hour

var _ selfregistration.Store = (*Store)(nil)

// CreateInitialToken implements selfregistration.Store.
func (s *Store) CreateInitialToken(ctx context.Context, actor audit.Actor, t selfregistration.InitialToken) error {
	org := t.OrganizationID.UUID()
	err := s.changeInOrg(ctx, actor, t.OrganizationID, func(q *orgdb.Queries) (event, error) {
		if err := organizationHeld(q.LockOrganization(ctx, org)); err != nil { // and the count below stays true
			return event{}, err
		}
		if err := q.ForgetInitialAccessTokens(ctx, orgdb.ForgetInitialAccessTokensParams{OrgID: org, Before: t.CreatedAt.Add(-initialTokenKept)}); err != nil {
			return event{}, err
		}
		if err := q.InsertInitialAccessToken(ctx, orgdb.InsertInitialAccessTokenParams{
			OrgID: org, ID: t.ID.UUID(), Name: t.Name, Hash: t.Hash, Kinds: list(t.Kinds), Scopes: list(t.Scopes), Audiences: list(t.Audiences), UsesMax: int32(t.UsesMax), SecretLifetime: seconds(t.SecretLifetime),
			CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
		}); err != nil {
			return event{}, err
		}
		all, err := q.InitialAccessTokens(ctx, org)
		if err == nil && len(all) > selfregistration.TokensMax {
			err = &problem.Error{
				Kind: problem.Conflict, Code: "too_many_initial_access_tokens",
				Detail: fmt.Sprintf("an organization has at most %d; delete those it does not need", selfregistration.TokensMax),
			}
		}
		return event{audit.InitialTokenCreate, t.ID.String(), map[string]any{
			"name": t.Name, "kinds": t.Kinds, "scopes": t.Scopes, "audiences": t.Audiences, "uses": t.UsesMax, "expiresAt": t.ExpiresAt.Format(time.RFC3339),
			"secretLifetimeSeconds": seconds(t.SecretLifetime),
		}}, err
	})
	return asProblem(err, initialTokenNoun)
}

// organizationHeld is NotFound where a query found no organization to hold on to.
func organizationHeld(n int64, err error) error {
	if err == nil && n == 0 {
		err = notFound(organizationNoun)
	}
	return err
}

// InitialTokens implements selfregistration.Store. An organization that does not exist has none.
func (s *Store) InitialTokens(ctx context.Context, org agentid.Organization) ([]selfregistration.InitialToken, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return nil, asProblem(err, initialTokenNoun)
	}
	rows, err := q.InitialAccessTokens(ctx, org.UUID())
	if err != nil {
		return nil, asProblem(err, initialTokenNoun)
	}
	all := make([]selfregistration.InitialToken, 0, len(rows))
	for _, row := range rows {
		all = append(all, initialToken(row))
	}
	return all, nil
}

// InitialToken implements selfregistration.Store.
func (s *Store) InitialToken(ctx context.Context, org agentid.Organization, id agentid.InitialToken) (selfregistration.InitialToken, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return selfregistration.InitialToken{}, asProblem(err, initialTokenNoun)
	}
	row, err := q.InitialAccessToken(ctx, orgdb.InitialAccessTokenParams{OrgID: org.UUID(), ID: id.UUID()})
	return initialToken(row), asProblem(err, initialTokenNoun)
}

// DeleteInitialToken implements selfregistration.Store.
func (s *Store) DeleteInitialToken(ctx context.Context, actor audit.Actor, org agentid.Organization, id agentid.InitialToken) error {
	err := s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) {
		n, err := q.DeleteInitialAccessToken(ctx, orgdb.DeleteInitialAccessTokenParams{OrgID: org.UUID(), ID: id.UUID()})
		if err == nil && n == 0 {
			err = notFound(initialTokenNoun)
		}
		return event{audit.InitialTokenDelete, id.String(), nil}, err
	})
	return asProblem(err, initialTokenNoun)
}

// RegisterAgent implements selfregistration.Store.
func (s *Store) RegisterAgent(ctx context.Context, actor audit.Actor, r selfregistration.Registered) error {
	a, c := r.Agent, r.Credential
	org := a.OrganizationID.UUID()
	stored, err := registrationJSON(c.Kind, c.Registration)
	if err != nil {
		return asProblem(err, credentialNoun)
	}
	err = s.changeInOrg(ctx, actor, a.OrganizationID, func(q *orgdb.Queries) (event, error) {
		if err := s.useInitialToken(ctx, q, r.Token); err != nil {
			return event{}, err
		}
		if err := q.InsertAgent(ctx, agentRow(a)); err != nil {
			return event{}, err
		}
		if _, err := q.InsertCredential(ctx, orgdb.InsertCredentialParams{
			OrgID: org, AgentID: a.ID.UUID(), ID: c.ID.UUID(), Kind: c.Kind, SecretHash: r.SecretHash, Registration: stored,
			CreatedAt: c.CreatedAt, ExpiresAt: orNullTime(c.ExpiresAt),
		}); err != nil {
			return event{}, err
		}
		details := a.Changes(agents.Agent{})
		details["initialAccessTokenId"], details["credential"] = r.Token.ID.String(), describe(c)
		return event{audit.AgentRegister, a.ID.String(), details}, q.InsertAgentRegistration(ctx, orgdb.InsertAgentRegistrationParams{
			OrgID: org, AgentID: a.ID.UUID(), Authentication: r.Authentication, SecretLifetime: seconds(r.Token.SecretLifetime), Hash: r.Hash, Scopes: list(r.Token.Scopes), CreatedAt: a.CreatedAt,
		})
	})
	return asProblem(err, agentNoun)
}

// useInitialToken uses a token once, or answers NotFound. The organization before the token, as when it is deleted.
func (s *Store) useInitialToken(ctx context.Context, q *orgdb.Queries, t selfregistration.InitialToken) error {
	if err := organizationHeld(q.KeepOrganization(ctx, t.OrganizationID.UUID())); err != nil {
		return err
	}
	n, err := q.UseInitialAccessToken(ctx, orgdb.UseInitialAccessTokenParams{OrgID: t.OrganizationID.UUID(), ID: t.ID.UUID(), At: s.clock()})
	if err == nil && n == 0 {
		err = notFound(initialTokenNoun)
	}
	return err
}

// RegisterClient implements selfregistration.Store.
func (s *Store) RegisterClient(ctx context.Context, actor audit.Actor, r selfregistration.RegisteredClient) error {
	c := r.Client
	err := s.changeInOrg(ctx, actor, c.OrganizationID, func(q *orgdb.Queries) (event, error) {
		if err := s.useInitialToken(ctx, q, r.Token); err != nil {
			return event{}, err
		}
		details, err := insertClient(ctx, q, c, r.Credential, r.SecretHash)
		if err != nil {
			return event{}, err
		}
		details["initialAccessTokenId"] = r.Token.ID.String()
		return event{audit.ClientRegister, c.ID.String(), details}, q.InsertClientRegistration(ctx, orgdb.InsertClientRegistrationParams{
			OrgID: c.OrganizationID.UUID(), ClientID: c.ID.UUID(), SecretLifetime: seconds(r.Token.SecretLifetime), Hash: r.Hash, Scopes: list(r.Token.Scopes), CreatedAt: c.CreatedAt,
		})
	})
	return asProblem(err, clientNoun)
}

// ClientRegistration implements selfregistration.Store.
func (s *Store) ClientRegistration(ctx context.Context, org agentid.Organization, id agentid.Client) (selfregistration.ClientRegistration, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return selfregistration.ClientRegistration{}, asProblem(err, registrationNoun)
	}
	row, err := q.ClientRegistration(ctx, orgdb.ClientRegistrationParams{OrgID: org.UUID(), ClientID: id.UUID()})
	return selfregistration.ClientRegistration{
		Client: agentid.FromUUID[agentid.Client](row.ClientID), SecretLifetime: fromSeconds(row.SecretLifetime), Scopes: row.Scopes, Hash: row.Hash, CreatedAt: row.CreatedAt.UTC(),
	}, asProblem(err, registrationNoun)
}

// Registration implements selfregistration.Store.
func (s *Store) Registration(ctx context.Context, org agentid.Organization, agent agentid.Agent) (selfregistration.Registration, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return selfregistration.Registration{}, asProblem(err, registrationNoun)
	}
	row, err := q.AgentRegistration(ctx, orgdb.AgentRegistrationParams{OrgID: org.UUID(), AgentID: agent.UUID()})
	return selfregistration.Registration{
		Agent: agentid.FromUUID[agentid.Agent](row.AgentID), Authentication: row.Authentication, SecretLifetime: fromSeconds(row.SecretLifetime), Scopes: row.Scopes, Hash: row.Hash, CreatedAt: row.CreatedAt.UTC(),
	}, asProblem(err, registrationNoun)
}

// UpdateRegistration implements selfregistration.Store.
func (s *Store) UpdateRegistration(ctx context.Context, actor audit.Actor, before selfregistration.Registration, authentication string) error {
	err := s.changeAgent(ctx, actor, before.Agent, func(q *orgdb.Queries, a agents.Agent) (event, error) {
		if err := refuseRevoked(a); err != nil {
			return event{}, err
		}
		n, err := q.UpdateAgentRegistration(ctx, orgdb.UpdateAgentRegistrationParams{OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), Authentication: authentication})
		if err == nil && n == 0 {
			err = notFound(registrationNoun)
		}
		return event{audit.AgentUpdate, a.ID.String(), map[string]any{"authentication": map[string]any{"from": before.Authentication, "to": authentication}}}, err
	})
	return asProblem(err, registrationNoun)
}

func initialToken(row orgdb.InitialAccessToken) selfregistration.InitialToken {
	return selfregistration.InitialToken{
		ID: agentid.FromUUID[agentid.InitialToken](row.ID), OrganizationID: agentid.FromUUID[agentid.Organization](row.OrgID), Name: row.Name,
		Kinds: row.Kinds, Scopes: row.Scopes, Audiences: row.Audiences, Uses: int(row.Uses), UsesMax: int(row.UsesMax), SecretLifetime: fromSeconds(row.SecretLifetime),
		CreatedAt: row.CreatedAt.UTC(), ExpiresAt: row.ExpiresAt.UTC(), Hash: row.Hash,
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func fromSeconds(n int64) time.Duration { return time.Duration(n) * time.Second }
