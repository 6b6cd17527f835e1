package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// requestQueries are about what clients push and use up. That of clients of an organization is asked by the app role inside it, that of clients of none by the
// platform role: rows of the instance.
type requestQueries interface {
	UseOnce(ctx context.Context, arg orgdb.UseOnceParams) (int64, error)
	ForgetUses(ctx context.Context, arg orgdb.ForgetUsesParams) error
	InsertPushedRequest(ctx context.Context, arg orgdb.InsertPushedRequestParams) error
	PushedRequest(ctx context.Context, arg orgdb.PushedRequestParams) (string, error)
	UsePushedRequest(ctx context.Context, arg orgdb.UsePushedRequestParams) (int64, error)
	ForgetPushedRequests(ctx context.Context, arg orgdb.ForgetPushedRequestsParams) error
}

// instanceRequests are the same queries as the platform role. sqlc makes one set of types for each role.
type instanceRequests struct{ *platformdb.Queries }

func (q instanceRequests) UseOnce(ctx context.Context, arg orgdb.UseOnceParams) (int64, error) {
	return q.Queries.UseOnce(ctx, platformdb.UseOnceParams(arg))
}

func (q instanceRequests) ForgetUses(ctx context.Context, arg orgdb.ForgetUsesParams) error {
	return q.Queries.ForgetUses(ctx, platformdb.ForgetUsesParams(arg))
}

func (q instanceRequests) InsertPushedRequest(ctx context.Context, arg orgdb.InsertPushedRequestParams) error {
	return q.Queries.InsertPushedRequest(ctx, platformdb.InsertPushedRequestParams(arg))
}

func (q instanceRequests) PushedRequest(ctx context.Context, arg orgdb.PushedRequestParams) (string, error) {
	return q.Queries.PushedRequest(ctx, platformdb.PushedRequestParams(arg))
}

func (q instanceRequests) UsePushedRequest(ctx context.Context, arg orgdb.UsePushedRequestParams) (int64, error) {
	return q.Queries.UsePushedRequest(ctx, platformdb.UsePushedRequestParams(arg))
}

func (q instanceRequests) ForgetPushedRequests(ctx context.Context, arg orgdb.ForgetPushedRequestsParams) error {
	return q.Queries.ForgetPushedRequests(ctx, platformdb.ForgetPushedRequestsParams(arg))
}

// requests gives the queries, each in its own transaction. org is zero for the instance.
func (s *Store) requests(org agentid.Organization) (requestQueries, error) {
	if org.IsZero() {
		return instanceRequests{s.across()}, nil
	}
	return s.orgOnce(org)
}

// requestsIn runs fn with the queries in one transaction.
func (s *Store) requestsIn(ctx context.Context, org agentid.Organization, fn func(requestQueries) error) error {
	if org.IsZero() {
		return s.platform.inTx(ctx, func(tx pgx.Tx) error { return fn(instanceRequests{platformdb.New(tx)}) })
	}
	return s.inOrg(ctx, org, func(q *orgdb.Queries) error { return fn(q) })
}

// relyingParty is how a row names a relying party: a registered one by its id, any other by the document behind its client_id.
func relyingParty(clientID string) (id *uuid.UUID, document *string) {
	registered, err := agentid.Parse[agentid.Client](clientID)
	if err != nil {
		return nil, &clientID
	}
	u := registered.UUID()
	return &u, nil
}

// clientID is the other way round.
func clientID(id *uuid.UUID, document *string) string {
	if id != nil {
		return agentid.FromUUID[agentid.Client](*id).String()
	}
	if document != nil {
		return *document
	}
	return ""
}
