package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
)

const credentialNoun = "credential"

// CreateCredential implements agents.Store.
func (s *Store) CreateCredential(ctx context.Context, actor audit.Actor, c agents.Credential, secretHash []byte) (agents.Credential, error) {
	var created agents.Credential
	err := s.changeAgent(ctx, actor, c.AgentID, func(q *orgdb.Queries, a agents.Agent) (event, error) {
		if err := refuseRevoked(a); err != nil {
			return event{}, err
		}
		registration, err := registrationJSON(c.Kind, c.Registration)
		if err != nil {
			return event{}, err
		}
		row, err := q.InsertCredential(ctx, orgdb.InsertCredentialParams{
			OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), ID: c.ID.UUID(), Kind: c.Kind, SecretHash: secretHash, Registration: registration,
			CreatedAt: c.CreatedAt, ExpiresAt: orNullTime(c.ExpiresAt),
		})
		if err != nil {
			return event{}, err
		}
		if created, err = credential(orgdb.CredentialsRow(row)); err != nil {
			return event{}, err
		}
		return event{audit.CredentialCreate, c.ID.String(), describe(created)}, refuseThird(ctx, q, a, c.Kind, c.CreatedAt)
	})
	return created, asProblem(err, credentialNoun)
}

// RotateCredential implements agents.Store. The successor lives as long as its predecessor was made for, counted from now.
func (s *Store) RotateCredential(ctx context.Context, actor audit.Actor, agentID agentid.Agent, old agentid.Credential, next agents.Credential, nextHash []byte, overlapUntil time.Time) (agents.Credential, error) {
	var created agents.Credential
	err := s.changeAgent(ctx, actor, agentID, func(q *orgdb.Queries, a agents.Agent) (event, error) {
		if err := refuseRevoked(a); err != nil {
			return event{}, err
		}
		if err := expire(ctx, q, a, old, next.CreatedAt, overlapUntil); err != nil {
			return event{}, err
		}
		registration, err := registrationJSON(next.Kind, next.Registration)
		if err != nil {
			return event{}, err
		}
		row, err := q.InsertSuccessor(ctx, orgdb.InsertSuccessorParams{
			OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), OldID: old.UUID(), Kind: next.Kind, ID: next.ID.UUID(), SecretHash: nextHash, Registration: registration,
			CreatedAt: next.CreatedAt,
		})
		if isNoRows(err) {
			return event{}, errCredentialKind()
		}
		if err != nil {
			return event{}, err
		}
		if created, err = credential(orgdb.CredentialsRow(row)); err != nil {
			return event{}, err
		}
		details := describe(created)
		details["successor"] = next.ID.String()
		details["overlapUntil"] = overlapUntil.UTC().Format(time.RFC3339)
		return event{audit.CredentialRotate, old.String(), details}, refuseThird(ctx, q, a, next.Kind, next.CreatedAt)
	})
	return created, asProblem(err, credentialNoun)
}

// expire ends a credential at the given time, or leaves its own earlier end. One that ended already cannot be rotated: nobody holds a working secret to hand over from.
func expire(ctx context.Context, q *orgdb.Queries, a agents.Agent, id agentid.Credential, now, at time.Time) error {
	key := orgdb.CredentialExistsParams{OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), ID: id.UUID()}
	n, err := q.ExpireCredential(ctx, orgdb.ExpireCredentialParams{OrgID: key.OrgID, AgentID: key.AgentID, ID: key.ID, ExpiresAt: at, At: now})
	if err != nil || n == 1 {
		return err
	}
	exists, err := q.CredentialExists(ctx, key)
	if err != nil {
		return err
	}
	if !exists {
		return notFound(credentialNoun)
	}
	return errCredentialExpired()
}

func errCredentialKind() error {
	return &problem.Error{Kind: problem.Conflict, Code: "credential_kind", Detail: "the credential is of another kind than its successor"}
}

func errCredentialExpired() error {
	return &problem.Error{Kind: problem.Conflict, Code: "credential_expired", Detail: "the credential is expired; create a new one"}
}

// DeleteCredential implements agents.Store. A trigger keeps its id for the revocation list.
func (s *Store) DeleteCredential(ctx context.Context, actor audit.Actor, agentID agentid.Agent, id agentid.Credential) error {
	err := s.changeAgent(ctx, actor, agentID, func(q *orgdb.Queries, a agents.Agent) (event, error) {
		n, err := q.DeleteCredential(ctx, orgdb.DeleteCredentialParams{OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), ID: id.UUID()})
		if err == nil && n == 0 {
			err = notFound(credentialNoun)
		}
		return event{audit.CredentialDelete, id.String(), map[string]any{"agentId": a.ID.String()}}, err
	})
	return asProblem(err, credentialNoun)
}

// Credentials implements agents.Store.
func (s *Store) Credentials(ctx context.Context, agentID agentid.Agent) ([]agents.Credential, error) {
	org, err := s.organizationOf(ctx, agentID)
	if err != nil {
		return nil, err
	}
	q, err := s.orgOnce(org)
	if err != nil {
		return nil, asProblem(err, credentialNoun)
	}
	rows, err := q.Credentials(ctx, orgdb.CredentialsParams{OrgID: org.UUID(), AgentID: agentID.UUID()})
	if err != nil {
		return nil, asProblem(err, credentialNoun)
	}
	list := make([]agents.Credential, 0, len(rows))
	for _, row := range rows {
		c, err := credential(row)
		if err != nil {
			return nil, asProblem(err, credentialNoun)
		}
		list = append(list, c)
	}
	return list, nil
}

func refuseRevoked(a agents.Agent) error {
	if a.Status == agents.Revoked {
		return &problem.Error{Kind: problem.Conflict, Code: "agent_revoked", Detail: "the agent is revoked, which is final"}
	}
	return nil
}

// refuseThird is asked after the change; the lock on the agent's row keeps the count true until the transaction ends.
func refuseThird(ctx context.Context, q *orgdb.Queries, a agents.Agent, kind string, now time.Time) error {
	n, err := q.CountUnexpiredCredentials(ctx, orgdb.CountUnexpiredCredentialsParams{OrgID: a.OrganizationID.UUID(), AgentID: a.ID.UUID(), Kind: kind, At: now})
	if err != nil || n <= credentials.PerKindMax {
		return err
	}
	return errTooManyCredentials()
}

func errTooManyCredentials() error {
	return &problem.Error{
		Kind: problem.Conflict, Code: "too_many_credentials", Detail: fmt.Sprintf("a client has at most %d unexpired credentials of one kind", credentials.PerKindMax),
	}
}

// describe is what the audit log says of a credential. A registration is public, and who could sign in by what is what an auditor asks.
func describe(c agents.Credential) map[string]any {
	return describeAs("agentId", c.AgentID.String(), c.Kind, c.ExpiresAt, c.Registration)
}

func describeAs(whose, id, kind string, expiresAt time.Time, r credentials.Registration) map[string]any {
	d := map[string]any{whose: id, "kind": kind}
	if !expiresAt.IsZero() {
		d["expiresAt"] = expiresAt.Format(time.RFC3339)
	}
	if kind != credentials.KindClientSecret {
		d["registration"] = r.Facts()
	}
	return d
}

// registrationJSON is nil for a client secret, which has none. Keys are written as they were given: with HTML's characters escaped, what is within the limits could
// be too long for its column.
func registrationJSON(kind string, r credentials.Registration) ([]byte, error) {
	if kind == credentials.KindClientSecret {
		return nil, nil
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(r)
	return text.Bytes(), err
}

// registration reads what registrationJSON wrote. Nothing is read as an empty one.
func registration(text []byte) (r credentials.Registration, err error) {
	if len(text) > 0 {
		err = json.Unmarshal(text, &r)
	}
	return r, err
}

func credential(row orgdb.CredentialsRow) (agents.Credential, error) {
	r, err := registration(row.Registration)
	return agents.Credential{
		ID: agentid.FromUUID[agentid.Credential](row.ID), AgentID: agentid.FromUUID[agentid.Agent](row.AgentID), Kind: row.Kind, Registration: r,
		CreatedAt: row.CreatedAt.UTC(), ExpiresAt: orZeroTime(row.ExpiresAt), LastUsedAt: orZeroTime(row.LastUsedAt),
	}, err
}
