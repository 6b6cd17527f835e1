package agents

import (
	"context"
	"errors"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

// ErrAuthentication is every failed client authentication. It says nothing about why: a stranger must not learn whether a client exists.
var ErrAuthentication error = &problem.Error{
	Kind: problem.Unauthenticated, Code: "client_authentication_failed", Detail: "client authentication failed",
}

// Check finds the credential that the client has proven to hold among those registered, or fails: with ErrAuthentication (wrapped or not) when there is
// none, with anything else when it could not be found out. It does the same work when nothing is registered.
type Check func(ctx context.Context, registered []Registered) (agentid.Credential, error)

// Authenticate returns the active agent and the credential that check found. Every failed authentication is ErrAuthentication after the same work, whether the
// client exists or not: for one that does not exist, or is not active, check is called with nothing registered. A store failure is a different error (Unavailable).
func (s *Service) Authenticate(ctx context.Context, clientID string, check Check) (Agent, agentid.Credential, error) {
	id, parseErr := agentid.Parse[agentid.Agent](clientID)
	agent, registered, err := s.store.ClientForAuthentication(ctx, id, s.clock()) // an id that cannot exist is looked up like any other
	matched, err := Prove(ctx, err, parseErr == nil && agent.Status == Active, registered, check)
	if err != nil {
		return Agent{}, agentid.Credential{}, err
	}
	return agent, matched, nil
}

// Prove ends the authentication of a client that was looked up, by the contract of Service.Authenticate: lookedUp is how that ended, active that the client may
// authenticate if there is one.
func Prove(ctx context.Context, lookedUp error, active bool, registered []Registered, check Check) (agentid.Credential, error) {
	if lookedUp != nil && !isNotFound(lookedUp) {
		return agentid.Credential{}, unavailable(lookedUp)
	}
	known := lookedUp == nil && active
	if !known {
		registered = nil
	}
	matched, err := check(ctx, registered)
	if err != nil {
		return agentid.Credential{}, err
	}
	if !known || matched.IsZero() {
		return agentid.Credential{}, ErrAuthentication
	}
	return matched, nil
}

// AuthenticateSecret is Authenticate with a client secret. The work of a failure is always: one query, and twice one keyed hash and PerKindMax comparisons in
// constant time. A success may be remembered (UseCache).
func (s *Service) AuthenticateSecret(ctx context.Context, clientID, secret string) (Agent, agentid.Credential, error) {
	if agent, credential, ok := s.authenticateCached(clientID, secret); ok {
		return agent, credential, nil
	}
	return s.Authenticate(ctx, clientID, s.secrets.Check(secret))
}

// UseUp is Store.UseUp.
func (s *Service) UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error {
	if err := s.store.UseUp(ctx, org, use); err != nil {
		if _, used := issuance.AsUsed(err); used {
			return err
		}
		return unavailable(err)
	}
	return nil
}

// RecordTokenIssued is Store.RecordTokenIssued. The token's iat must be read from the clock before the call: then a suspension, which waits for
// this record, is always later than the token it has to kill.
func (s *Service) RecordTokenIssued(ctx context.Context, actor audit.Actor, i issuance.Record) error {
	return s.store.RecordTokenIssued(ctx, actor, i)
}

func isNotFound(err error) bool {
	var p *problem.Error
	return errors.As(err, &p) && p.Kind == problem.NotFound
}

func unavailable(err error) error {
	var p *problem.Error
	if errors.As(err, &p) && p.Kind == problem.Unavailable {
		return err
	}
	return &problem.Error{Kind: problem.Unavailable, Code: "store_unavailable", Detail: "try again later", RetryAfter: time.Second, Err: err}
}
