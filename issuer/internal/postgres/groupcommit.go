package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// Group commit: tokens that are issued at the same time share one transaction, one round trip and one flush of the write-ahead log. Whoever asks is answered
// when that transaction is committed, and not before: a group that fails fails all its tokens.
const (
	// groupMax is how many tokens share a transaction. Larger groups save nothing more and make their first token wait.
	groupMax = 256
	// groupCommitters is how many groups are under way at once: one is committed while the next one is written.
	groupCommitters = 2
	// recordsWaitingMax bounds what waits for a transaction, some 2 KiB each; beyond it tokens are refused at once.
	recordsWaitingMax = 4096
	// groupTimeout is the client's side of statementTimeout, for a server that does not answer at all.
	groupTimeout = statementTimeout + time.Second
)

// recordTokensIssued is RecordTokenIssued for many tokens of one organization. It answers with those it recorded. It waits for no row: what is missing in the
// answer is locked by somebody (a suspension, the deletion of a credential), dead, or from before a watermark, and is asked alone, so that nobody's locks hold up the tokens of others.
const recordTokensIssued = `
with asked as (
    select * from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::bytea[], $7::uuid[], $8::uuid[], $12::timestamptz[])
        with ordinality as t (event, ts, actor, target, body, agent_id, credential_id, issued_at, position)
), live as (
    select asked.*
    from asked
    join agents on agents.org_id = $1 and agents.id = asked.agent_id
    join credentials on credentials.org_id = $1 and credentials.agent_id = asked.agent_id and credentials.id = asked.credential_id
    where agents.status = 'active' and (credentials.expires_at is null or credentials.expires_at > asked.ts)
        and asked.issued_at >= coalesce(greatest(agents.tokens_not_before, (select tokens_not_before from token_watermarks where org_id = $1)), '-infinity')
    for share of agents skip locked
    for key share of credentials skip locked
), due as (
    select credentials.agent_id, credentials.id
    from credentials
    where credentials.org_id = $1 and (credentials.agent_id, credentials.id) in (select live.agent_id, live.credential_id from live)
        and (credentials.last_used_at is null or credentials.last_used_at < date_trunc('minute', $9::timestamptz))
    for no key update skip locked
), used as (
    update credentials set last_used_at = date_trunc('minute', $9::timestamptz)
    from due
    where credentials.org_id = $1 and credentials.agent_id = due.agent_id and credentials.id = due.id
)
insert into audit_logs (org_id, event, ts, actor, action, target, enc_version, body)
select $1, live.event, live.ts, live.actor, $10, live.target, $11, live.body
from live order by live.position
returning event`

// tokenRecord is one token that waits for its record.
type tokenRecord struct {
	row        platformdb.InsertAuditRecordParams
	agent      uuid.UUID
	credential uuid.UUID
	issuedAt   time.Time

	// done is closed when the two below say what became of it.
	done     chan struct{}
	recorded bool
	err      error
}

// committer records tokens in groups. Its goroutines end with close.
type committer struct {
	app     pool
	running sync.WaitGroup

	mu      sync.RWMutex // held to send to waiting, and to close it
	closed  bool
	waiting chan *tokenRecord
}

func newCommitter(ctx context.Context, app pool, waitingMax int) *committer {
	c := &committer{app: app, waiting: make(chan *tokenRecord, waitingMax)}
	ctx = context.WithoutCancel(ctx) // a group belongs to many requests: it ends by its own timeout
	for range groupCommitters {
		c.running.Go(func() { c.run(ctx) })
	}
	return c
}

// close commits what waits, and ends the goroutines.
func (c *committer) close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.waiting)
	}
	c.mu.Unlock()
	c.running.Wait()
}

// record reports whether the token was recorded; when it was not, nothing was written for it, and nobody has said yet why. A caller that gives up before
// the end learns nothing: the record may exist, so the token must not leave.
func (c *committer) record(ctx context.Context, r *tokenRecord) (bool, error) {
	r.done = make(chan struct{})
	if err := c.enqueue(r); err != nil {
		return false, err
	}
	select {
	case <-r.done:
		return r.recorded, r.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

var errClosed = errors.New("the store is closed")

func (c *committer) enqueue(r *tokenRecord) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return unavailable(errClosed)
	}
	select {
	case c.waiting <- r:
		return nil
	default:
		return &problem.Error{Kind: problem.Unavailable, Code: "overloaded", Detail: "Too many tokens wait for their audit record. Try again.", RetryAfter: retryAfter}
	}
}

func (c *committer) run(ctx context.Context) {
	for first := range c.waiting {
		c.commit(ctx, c.group(first))
	}
}

// group is the first and all that wait already. It waits for nobody: while one group is committed the next one gathers by itself.
func (c *committer) group(first *tokenRecord) []*tokenRecord {
	group := []*tokenRecord{first}
	for len(group) < groupMax {
		select {
		case r, open := <-c.waiting:
			if !open {
				return group
			}
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// commit answers every member of the group.
func (c *committer) commit(ctx context.Context, group []*tokenRecord) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	recorded, err := c.write(ctx, group)
	for _, r := range group {
		r.recorded, r.err = err == nil && recorded[r.row.Event], err
		close(r.done)
	}
}

// write sends the whole group as one batch, which is one implicit transaction: the setting of each organization holds until the next one's, and row-level security is as forced
// as for a token alone.
// The events recorded are what it returns.
func (c *committer) write(ctx context.Context, group []*tokenRecord) (map[uuid.UUID]bool, error) {
	byOrganization, order := map[uuid.UUID][]*tokenRecord{}, []uuid.UUID{}
	for _, r := range group {
		if byOrganization[r.row.OrgID] == nil {
			order = append(order, r.row.OrgID)
		}
		byOrganization[r.row.OrgID] = append(byOrganization[r.row.OrgID], r)
	}
	var batch pgx.Batch
	recorded := make(map[uuid.UUID]bool, len(group))
	for _, org := range order {
		batch.Queue(setOrganization, org.String())
		queueRecords(&batch, byOrganization[org], recorded)
	}
	conn, err := c.app.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	return recorded, conn.SendBatch(ctx, &batch).Close() // the commit happens here
}

// queueRecords adds the statement for tokens of one organization. The driver's own types are encoded without a detour by text.
func queueRecords(batch *pgx.Batch, records []*tokenRecord, recorded map[uuid.UUID]bool) {
	n := len(records)
	events, agents, credentials := make(pgtype.FlatArray[pgtype.UUID], n), make(pgtype.FlatArray[pgtype.UUID], n), make(pgtype.FlatArray[pgtype.UUID], n)
	times, issued, latest := make(pgtype.FlatArray[pgtype.Timestamptz], n), make(pgtype.FlatArray[pgtype.Timestamptz], n), records[0].row.Ts
	actors, targets, bodies := make(pgtype.FlatArray[string], n), make(pgtype.FlatArray[string], n), make(pgtype.FlatArray[[]byte], n)
	for i, r := range records {
		events[i], agents[i], credentials[i] = ofUUID(r.row.Event), ofUUID(r.agent), ofUUID(r.credential)
		times[i], issued[i] = pgtype.Timestamptz{Time: r.row.Ts, Valid: true}, pgtype.Timestamptz{Time: r.issuedAt, Valid: true}
		actors[i], targets[i], bodies[i] = r.row.Actor, r.row.Target, r.row.Body
		if r.row.Ts.After(latest) {
			latest = r.row.Ts
		}
	}
	batch.Queue(recordTokensIssued, ofUUID(records[0].row.OrgID), events, times, actors, targets, bodies, agents, credentials, latest,
		string(audit.TokenIssue), audit.EncodingVersion, issued).Query(func(rows pgx.Rows) error {
		var event pgtype.UUID
		_, err := pgx.ForEachRow(rows, []any{&event}, func() error { recorded[event.Bytes] = true; return nil })
		return err
	})
}

func ofUUID(u uuid.UUID) pgtype.UUID { return pgtype.UUID{Bytes: u, Valid: true} }
