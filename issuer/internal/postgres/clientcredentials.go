package postgres

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// CreateClientCredential implements clients.Store.
func (s *Store) CreateClientCredential(ctx context.Context, actor audit.Actor, c clients.Credential, hash []byte) (clients.Credential, error) {
	var created clients.Credential
	err := s.changeClient(ctx, actor, c.ClientID, 0, func(q *orgdb.Queries, of clients.Client) (event, error) {
		if of.Authentication.Kind() != c.Kind {
			return event{}, &problem.Error{
				Kind: problem.Conflict, Code: "authentication_kind", Detail: "the client authenticates by " + string(of.Authentication) + ", which takes no credential of this kind",
			}
		}
		var err error
		if created, err = insertClientCredential(ctx, q, of, c, hash); err != nil {
			return event{}, err
		}
		return event{audit.CredentialCreate, c.ID.String(), describeClients(created)}, refuseThirdOfClient(ctx, q, of, c.CreatedAt)
	})
	return created, asProblem(err, credentialNoun)
}

func insertClientCredential(ctx context.Context, q *orgdb.Queries, of clients.Client, c clients.Credential, hash []byte) (clients.Credential, error) {
	registration, err := registrationJSON(c.Kind, c.Registration)
	if err != nil {
		return clients.Credential{}, err
	}
	row, err := q.InsertClientCredential(ctx, orgdb.InsertClientCredentialParams{
		OrgID: of.OrganizationID.UUID(), ClientID: of.ID.UUID(), ID: c.ID.UUID(), Kind: c.Kind, SecretHash: hash, Registration: registration,
		CreatedAt: c.CreatedAt, ExpiresAt: orNullTime(c.ExpiresAt),
	})
	if err != nil {
		return clients.Credential{}, err
	}
	return clientCredential(orgdb.ClientCredentialsRow(row))
}

// RotateClientCredential implements clients.Store. The successor lives as long as its predecessor was made for, counted from now.
func (s *Store) RotateClientCredential(ctx context.Context, actor audit.Actor, old agentid.Credential, next clients.Credential, nextHash []byte, overlapUntil time.Time) (clients.Credential, error) {
	var created clients.Credential
	err := s.changeClient(ctx, actor, next.ClientID, 0, func(q *orgdb.Queries, of clients.Client) (event, error) {
		if err := expireOfClient(ctx, q, of, old, next.CreatedAt, overlapUntil); err != nil {
			return event{}, err
		}
		registration, err := registrationJSON(next.Kind, next.Registration)
		if err != nil {
			return event{}, err
		}
		row, err := q.InsertClientSuccessor(ctx, orgdb.InsertClientSuccessorParams{
			OrgID: of.OrganizationID.UUID(), ClientID: of.ID.UUID(), OldID: old.UUID(), Kind: next.Kind, ID: next.ID.UUID(), SecretHash: nextHash, Registration: registration,
			CreatedAt: next.CreatedAt,
		})
		if isNoRows(err) {
			return event{}, errCredentialKind()
		}
		if err != nil {
			return event{}, err
		}
		if created, err = clientCredential(orgdb.ClientCredentialsRow(row)); err != nil {
			return event{}, err
		}
		details := describeClients(created)
		details["successor"] = next.ID.String()
		details["overlapUntil"] = overlapUntil.UTC().Format(time.RFC3339)
		return event{audit.CredentialRotate, old.String(), details}, refuseThirdOfClient(ctx, q, of, next.CreatedAt)
	})
	return created, asProblem(err, credentialNoun)
}

// expireOfClient is expire for a relying party's credential.
func expireOfClient(ctx context.Context, q *orgdb.Queries, of clients.Client, id agentid.Credential, now, at time.Time) error {
	key := orgdb.ClientCredentialExistsParams{OrgID: of.OrganizationID.UUID(), ClientID: of.ID.UUID(), ID: id.UUID()}
	n, err := q.ExpireClientCredential(ctx, orgdb.ExpireClientCredentialParams{OrgID: key.OrgID, ClientID: key.ClientID, ID: key.ID, ExpiresAt: at, At: now})
	if err != nil || n == 1 {
		return err
	}
	exists, err := q.ClientCredentialExists(ctx, key)
	if err != nil {
		return err
	}
	if !exists {
		return notFound(credentialNoun)
	}
	return errCredentialExpired()
}

// DeleteClientCredential implements clients.Store.
func (s *Store) DeleteClientCredential(ctx context.Context, actor audit.Actor, client agentid.Client, id agentid.Credential) error {
	err := s.changeClient(ctx, actor, client, 0, func(q *orgdb.Queries, of clients.Client) (event, error) {
		n, err := q.DeleteClientCredential(ctx, orgdb.DeleteClientCredentialParams{OrgID: of.OrganizationID.UUID(), ClientID: of.ID.UUID(), ID: id.UUID()})
		if err == nil && n == 0 {
			err = notFound(credentialNoun)
		}
		return event{audit.CredentialDelete, id.String(), map[string]any{"clientId": of.ClientID()}}, err
	})
	return asProblem(err, credentialNoun)
}

// ClientCredentials implements clients.Store.
func (s *Store) ClientCredentials(ctx context.Context, client agentid.Client) ([]clients.Credential, error) {
	org, err := s.organizationOfClient(ctx, client)
	if err != nil {
		return nil, err
	}
	q, err := s.orgOnce(org)
	if err != nil {
		return nil, asProblem(err, credentialNoun)
	}
	rows, err := q.ClientCredentials(ctx, orgdb.ClientCredentialsParams{OrgID: org.UUID(), ClientID: client.UUID()})
	if err != nil {
		return nil, asProblem(err, credentialNoun)
	}
	list := make([]clients.Credential, 0, len(rows))
	for _, row := range rows {
		c, err := clientCredential(row)
		if err != nil {
			return nil, asProblem(err, credentialNoun)
		}
		list = append(list, c)
	}
	return list, nil
}

// RelyingPartyForAuthentication implements clients.Store.
func (s *Store) RelyingPartyForAuthentication(ctx context.Context, id agentid.Client, now time.Time) (clients.Client, []credentials.Registered, error) {
	row, err := s.across().RelyingPartyForAuthentication(ctx, platformdb.RelyingPartyForAuthenticationParams{ID: id.UUID(), At: now})
	if err != nil {
		return clients.Client{}, nil, asProblem(err, clientNoun)
	}
	var registered []credentials.Registered
	for i, id := range row.CredentialIds {
		if id == uuid.Nil {
			continue
		}
		r, err := registeredAs(id, row.CredentialKinds[i], row.SecretHashes[i], row.Registrations[i])
		if err != nil {
			return clients.Client{}, nil, asProblem(err, clientNoun)
		}
		r.LastUsedAt = row.LastUsedAt[i].UTC()
		registered = append(registered, r)
	}
	if row.ID == uuid.Nil {
		return clients.Client{}, nil, notFound(clientNoun)
	}
	return client(orgdb.Client{
		OrgID: row.OrgID, ID: row.ID, Name: row.Name, Type: row.Type, Authentication: row.Authentication, RedirectUris: row.RedirectUris, Scopes: row.Scopes,
		Audiences: row.Audiences, RefreshTokens: row.RefreshTokens, RequirePushed: row.RequirePushed, RequireDpop: row.RequireDpop,
		RequireCertificate: row.RequireCertificate, PkceOptional: row.PkceOptional, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, Version: row.Version,
	}), registered, nil
}

// ClientCredentialUsed implements clients.Store.
func (s *Store) ClientCredentialUsed(ctx context.Context, c clients.Client, id agentid.Credential, at time.Time) error {
	q, err := s.orgOnce(c.OrganizationID)
	if err != nil {
		return asProblem(err, credentialNoun)
	}
	err = q.ClientCredentialUsed(ctx, orgdb.ClientCredentialUsedParams{OrgID: c.OrganizationID.UUID(), ClientID: c.ID.UUID(), ID: id.UUID(), At: at})
	return asProblem(err, credentialNoun)
}

// refuseThirdOfClient is asked after the change, as refuseThird is: all of a relying party's credentials are of one kind.
func refuseThirdOfClient(ctx context.Context, q *orgdb.Queries, of clients.Client, now time.Time) error {
	n, err := q.CountUnexpiredClientCredentials(ctx, orgdb.CountUnexpiredClientCredentialsParams{OrgID: of.OrganizationID.UUID(), ClientID: of.ID.UUID(), At: now})
	if err != nil || n <= credentials.PerKindMax {
		return err
	}
	return errTooManyCredentials()
}

// refuseOtherKind keeps a relying party's credentials of the kind that its authentication needs.
func refuseOtherKind(ctx context.Context, q *orgdb.Queries, before, after clients.Client) error {
	if before.Authentication.Kind() == after.Authentication.Kind() {
		return nil
	}
	has, err := q.ClientHasCredentials(ctx, orgdb.ClientHasCredentialsParams{OrgID: before.OrganizationID.UUID(), ClientID: before.ID.UUID()})
	if err != nil || !has {
		return err
	}
	return &problem.Error{
		Kind: problem.Conflict, Code: "credentials_of_other_kind", Field: "/authentication", Detail: "the client has credentials of another kind; delete them first",
	}
}

func describeClients(c clients.Credential) map[string]any {
	return describeAs("clientId", c.ClientID.String(), c.Kind, c.ExpiresAt, c.Registration)
}

func clientCredential(row orgdb.ClientCredentialsRow) (clients.Credential, error) {
	r, err := registration(row.Registration)
	return clients.Credential{
		ID: agentid.FromUUID[agentid.Credential](row.ID), ClientID: agentid.FromUUID[agentid.Client](row.ClientID), Kind: row.Kind, Registration: r,
		CreatedAt: row.CreatedAt.UTC(), ExpiresAt: orZeroTime(row.ExpiresAt), LastUsedAt: orZeroTime(row.LastUsedAt),
	}, err
}
