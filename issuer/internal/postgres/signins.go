package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
	"github.com/agentidp/agentidp/issuer/internal/signin"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

const (
	pushedNoun = "pushed request"
	signInNoun = "sign-in"
)

var _ signin.Store = (*Store)(nil)

// PushRequest implements signin.Store.
func (s *Store) PushRequest(ctx context.Context, p signin.PushedRequest) error {
	id, document := relyingParty(p.Client)
	err := s.requestsIn(ctx, p.OrganizationID, func(q requestQueries) error {
		// The client before the requests, as when it is deleted: then they wait for each other and never both.
		if err := q.InsertPushedRequest(ctx, orgdb.InsertPushedRequestParams{
			OrgID: p.OrganizationID.UUID(), Key: p.Key[:], ClientID: id, ClientDocument: document, Issuer: p.Issuer, Parameters: p.Parameters,
			ExpiresAt: p.ExpiresAt,
		}); err != nil {
			return err
		}
		return q.ForgetPushedRequests(ctx, orgdb.ForgetPushedRequestsParams{OrgID: p.OrganizationID.UUID(), At: s.clock()})
	})
	if violates(err, "pushed_requests_client_fkey") { // deleted since it authenticated
		return notFound(clientNoun)
	}
	return asProblem(err, pushedNoun)
}

// PushedRequest implements signin.Store.
func (s *Store) PushedRequest(ctx context.Context, p signin.PushedRequest) (string, error) {
	q, err := s.requests(p.OrganizationID)
	if err != nil {
		return "", asProblem(err, pushedNoun)
	}
	id, document := relyingParty(p.Client)
	parameters, err := q.PushedRequest(ctx, orgdb.PushedRequestParams{
		OrgID: p.OrganizationID.UUID(), Key: p.Key[:], ClientID: id, ClientDocument: document, Issuer: p.Issuer, At: s.clock(),
	})
	return parameters, asProblem(err, pushedNoun)
}

// CreateSignIn implements signin.Store.
func (s *Store) CreateSignIn(ctx context.Context, actor audit.Actor, in signin.SignIn, pushed *[32]byte) error {
	org := in.OrganizationID.UUID()
	id, document := relyingParty(in.Client)
	if document != nil { // another role's row, in another transaction: first, so that of two sign-ins one gets no further
		if err := usePushed(ctx, instanceRequests{s.across()}, agentid.Organization{}, pushed); err != nil {
			return asProblem(err, pushedNoun)
		}
	}
	err := s.changeInOrg(ctx, actor, in.OrganizationID, func(q *orgdb.Queries) (event, error) {
		if document == nil { // before everything else, as the deletion of the client does
			if n, err := q.LockClient(ctx, orgdb.LockClientParams{OrgID: org, ID: *id}); err != nil || n == 0 {
				return event{}, cmp.Or(err, notFound(clientNoun))
			}
			if err := usePushed(ctx, q, in.OrganizationID, pushed); err != nil {
				return event{}, err
			}
		}
		holder := issuance.Holder{Agent: in.Agent, Credential: in.Credential, IssuedAt: in.Authentication.At}
		if err := checkHolder(ctx, q, in.OrganizationID, holder); err != nil {
			return event{}, err
		}
		details := map[string]any{
			"agentId": in.Agent.String(), "clientId": in.Client, "credentialId": in.Credential.String(), "issuer": in.Issuer, "scopes": in.Scopes,
			"audience": in.Audience, "pushed": pushed != nil,
		}
		if in.Details != nil {
			details["authorizationDetails"] = in.Details
		}
		err := q.InsertSignIn(ctx, orgdb.InsertSignInParams{
			OrgID: org, ID: in.ID.UUID(), ClientID: id, ClientDocument: document, AgentID: in.Agent.UUID(), CredentialID: in.Credential.UUID(), Issuer: in.Issuer,
			Scopes: list(in.Scopes), Audience: list(in.Audience), AuthenticatedAt: in.Authentication.At, AuthenticationContext: in.Authentication.Context,
			AuthenticationMethods: list(in.Authentication.Methods), AuthorizationDetails: string(in.Details), Nonce: in.Nonce, RedirectUri: in.RedirectURI, CodeChallenge: in.CodeChallenge,
			CodeHash: in.CodeHash, CodeKey: in.CodeKey, CodeExpiresAt: in.CodeExpiresAt, CreatedAt: in.CreatedAt, ExpiresAt: in.ExpiresAt,
		})
		if err != nil {
			return event{}, err
		}
		// At the end, since it holds rows of other sign-ins: nothing is waited for any more.
		return event{audit.SignInCreate, in.ID.String(), details}, q.ForgetSignIns(ctx, orgdb.ForgetSignInsParams{OrgID: org, At: s.clock()})
	})
	return asProblem(err, signInNoun)
}

// usePushed uses up a pushed request, if there is one.
func usePushed(ctx context.Context, q requestQueries, org agentid.Organization, pushed *[32]byte) error {
	if pushed == nil {
		return nil
	}
	n, err := q.UsePushedRequest(ctx, orgdb.UsePushedRequestParams{OrgID: org.UUID(), Key: pushed[:]})
	if err == nil && n == 0 {
		err = &issuance.UsedError{Purpose: issuance.UsePushedRequest}
	}
	return err
}

// OrganizationOfSignIn implements signin.Store.
func (s *Store) OrganizationOfSignIn(ctx context.Context, client string, id agentid.SignIn) (agentid.Organization, error) {
	org, err := s.across().OrganizationOfSignIn(ctx, platformdb.OrganizationOfSignInParams{ID: id.UUID(), ClientDocument: &client})
	if err != nil {
		return agentid.Organization{}, asProblem(err, signInNoun)
	}
	return agentid.FromUUID[agentid.Organization](org), nil
}

// SignIn implements signin.Store.
func (s *Store) SignIn(ctx context.Context, org agentid.Organization, id agentid.SignIn) (signin.SignIn, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return signin.SignIn{}, asProblem(err, signInNoun)
	}
	row, err := q.SignIn(ctx, orgdb.SignInParams{OrgID: org.UUID(), ID: id.UUID()})
	return signIn(row), asProblem(err, signInNoun)
}

// SignInGood implements signin.Store.
func (s *Store) SignInGood(ctx context.Context, in signin.SignIn) (bool, error) {
	q, err := s.orgOnce(in.OrganizationID)
	if err != nil {
		return false, asProblem(err, signInNoun)
	}
	good, err := q.SignInGood(ctx, orgdb.SignInGoodParams{
		OrgID: in.OrganizationID.UUID(), AgentID: in.Agent.UUID(), CredentialID: in.Credential.UUID(), AuthenticatedAt: in.Authentication.At, At: s.clock(),
	})
	return good, asProblem(err, signInNoun)
}

// SignedIn implements signin.Store.
func (s *Store) SignedIn(ctx context.Context, org agentid.Organization, client string, agent agentid.Agent, at time.Time) (bool, error) {
	q, err := s.orgOnce(org)
	if err != nil {
		return false, asProblem(err, signInNoun)
	}
	id, document := relyingParty(client)
	known, err := q.SignedIn(ctx, orgdb.SignedInParams{OrgID: org.UUID(), AgentID: agent.UUID(), At: at, ClientID: id, ClientDocument: document})
	return known, asProblem(err, signInNoun)
}

// RevokeSignIn implements signin.Store.
func (s *Store) RevokeSignIn(ctx context.Context, actor audit.Actor, org agentid.Organization, id agentid.SignIn, reason string) error {
	err := s.changeInOrg(ctx, actor, org, func(q *orgdb.Queries) (event, error) {
		key := orgdb.SignInForUpdateParams{OrgID: org.UUID(), ID: id.UUID()}
		seen, err := q.SignIn(ctx, orgdb.SignInParams(key))
		if err != nil {
			return event{}, err
		}
		// The agent's row before the sign-in's, as when a token is recorded.
		if _, err := q.AgentForUpdate(ctx, orgdb.AgentForUpdateParams{OrgID: org.UUID(), ID: seen.AgentID}); err != nil {
			return event{}, err
		}
		row, err := q.SignInForUpdate(ctx, key)
		if err != nil {
			return event{}, err
		}
		if row.RevokedAt != nil {
			return event{}, errRevokedBefore
		}
		in, dead := signIn(row), s.deadWith(row)
		ids := make([]string, 0, len(dead))
		for _, t := range dead {
			if !t.signIn {
				ids = append(ids, t.id)
			}
		}
		if _, _, err := s.revokeTokens(ctx, q, org, dead...); err != nil {
			return event{}, err
		}
		details := map[string]any{"agentId": in.Agent.String(), "clientId": in.Client, "reason": reason, "tokenIds": ids}
		return event{audit.SignInRevoke, id.String(), details}, q.RevokeSignIn(ctx, orgdb.RevokeSignInParams{OrgID: org.UUID(), ID: id.UUID(), At: s.clock()})
	})
	if errors.Is(err, errRevokedBefore) {
		return nil
	}
	return asProblem(err, signInNoun)
}

// deadWith is what the end of a sign-in puts on the revocation list: its access tokens, and itself when others may have made tokens of them that name it.
func (s *Store) deadWith(row orgdb.SignIn) []deadToken {
	now, in := s.clock(), signIn(row)
	var dead []deadToken
	for _, t := range in.LiveTokens(now) {
		dead = append(dead, deadToken{agent: in.Agent, id: t.ID, expiresAt: t.ExpiresAt})
	}
	if until := orZeroTime(row.ExchangedUntil); until.After(now) {
		dead = append(dead, deadToken{agent: in.Agent, id: in.ID.String(), expiresAt: until, signIn: true})
	}
	return dead
}

// endSignIns is what the end of a client does to its sign-ins, before its row, which the caller has locked, takes them along. Locks are taken as everywhere: client, agents in the
// order of ids, sign-ins.
func (s *Store) endSignIns(ctx context.Context, q *orgdb.Queries, org agentid.Organization, client agentid.Client) (signIns, revoked int, err error) {
	key := orgdb.LockAgentsOfClientParams{OrgID: org.UUID(), ClientID: client.UUID(), At: s.clock()}
	if _, err := q.LockAgentsOfClient(ctx, key); err != nil {
		return 0, 0, err
	}
	rows, err := q.SignInsOfClientForUpdate(ctx, orgdb.SignInsOfClientForUpdateParams(key))
	if err != nil {
		return 0, 0, err
	}
	var dead []deadToken
	for _, row := range rows {
		dead = append(dead, s.deadWith(row)...)
	}
	_, _, err = s.revokeTokens(ctx, q, org, dead...)
	return len(rows), len(dead), err
}

// holdSignIn is the part of RecordTokenIssued that belongs to a token made of a relying party's: the sign-in lives while it is recorded, and knows of it when it ends.
func (s *Store) holdSignIn(ctx context.Context, q *orgdb.Queries, i issuance.Record) error {
	if i.MadeOf.IsZero() {
		return nil
	}
	org, id, now := i.OrganizationID.UUID(), i.MadeOf.UUID(), s.clock()
	n, err := q.ExtendSignIn(ctx, orgdb.ExtendSignInParams{OrgID: org, ID: id, At: now, Until: i.Token.ExpiresAt})
	if err == nil && n == 0 {
		n, err = q.LockLiveSignIn(ctx, orgdb.LockLiveSignInParams{OrgID: org, ID: id, At: now})
	}
	if err == nil && n == 0 {
		err = notFound(signInNoun)
	}
	return err
}

// errRevokedBefore ends a transaction that has nothing to do.
var errRevokedBefore = errors.New("the sign-in was revoked before")

// advanceSignIn is the part of RecordTokenIssued that belongs to a token of a relying party. Of two tokens from the same code or refresh token, one gets here
// first, and the other finds the sign-in changed.
func (s *Store) advanceSignIn(ctx context.Context, q *orgdb.Queries, i issuance.Record) error {
	if i.SignIn == nil {
		return nil
	}
	step := i.SignIn
	alive := append(slices.Clone(step.Tokens), issuance.SignInToken{ID: i.Token.ID, ExpiresAt: i.Token.ExpiresAt})
	ids, expiries := make([]string, 0, len(alive)), make([]time.Time, 0, len(alive))
	for _, t := range alive {
		ids, expiries = append(ids, t.ID), append(expiries, t.ExpiresAt)
	}
	n, err := q.AdvanceSignIn(ctx, orgdb.AdvanceSignInParams{
		OrgID: i.OrganizationID.UUID(), ID: step.ID.UUID(), At: s.clock(), Was: step.Was, RefreshHash: step.Next, RefreshExpiresAt: orNullTime(step.NextExpiresAt),
		ExpiresAt: step.ExpiresAt, KeyThumbprint: step.KeyThumbprint, CertificateSha256: step.CertificateSHA256, TokenIds: ids, TokenExpiries: expiries,
	})
	if err == nil && n == 0 {
		err = &issuance.UsedError{Purpose: issuance.UseSignIn}
	}
	return err
}

func signIn(row orgdb.SignIn) signin.SignIn {
	in := signin.SignIn{
		ID: agentid.FromUUID[agentid.SignIn](row.ID), OrganizationID: agentid.FromUUID[agentid.Organization](row.OrgID),
		Client: clientID(row.ClientID, row.ClientDocument), Agent: agentid.FromUUID[agentid.Agent](row.AgentID),
		Credential: agentid.FromUUID[agentid.Credential](row.CredentialID), Issuer: row.Issuer, Scopes: row.Scopes, Audience: row.Audience,
		Authentication: tokens.Authentication{At: row.AuthenticatedAt.UTC(), Context: row.AuthenticationContext, Methods: row.AuthenticationMethods},
		Nonce:          row.Nonce, RedirectURI: row.RedirectUri, CodeChallenge: row.CodeChallenge,
		CodeHash: row.CodeHash, CodeKey: row.CodeKey, CodeExpiresAt: row.CodeExpiresAt.UTC(), RedeemedAt: orZeroTime(row.RedeemedAt),
		RefreshHash: row.RefreshHash, RefreshExpiresAt: orZeroTime(row.RefreshExpiresAt),
		Confirmation: tokens.Confirmation{KeyThumbprint: row.KeyThumbprint, CertificateSHA256: row.CertificateSha256},
		CreatedAt:    row.CreatedAt.UTC(), ExpiresAt: row.ExpiresAt.UTC(), RevokedAt: orZeroTime(row.RevokedAt),
	}
	if row.AuthorizationDetails != "" {
		in.Details = json.RawMessage(row.AuthorizationDetails)
	}
	for i, id := range row.TokenIds {
		in.Tokens = append(in.Tokens, issuance.SignInToken{ID: id, ExpiresAt: row.TokenExpiries[i].UTC()})
	}
	return in
}
