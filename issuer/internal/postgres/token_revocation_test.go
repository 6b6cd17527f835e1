package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/orgdb"
	"github.com/agentidp/agentidp/issuer/internal/revocation"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// revokeSomething puts a row into each table of this file.
func (w *world) revokeSomething(t *testing.T) {
	t.Helper()
	if err := w.RevokeToken(t.Context(), operator, revocation.Token{Organization: w.org.ID, Agent: w.agent.ID, ID: "jti", ExpiresAt: start.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RevokeOrganizationTokens(t.Context(), operator, w.org.ID); err != nil {
		t.Fatal(err)
	}
}

// tokenProbes are the probes of revoked tokens and watermarks.
var tokenProbes = map[string]probe{
	"ForgetRevokedTokens": func(ctx context.Context, c *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		err := q.ForgetRevokedTokens(ctx, orgdb.ForgetRevokedTokensParams{OrgID: mine.org.ID.UUID(), Agents: []uuid.UUID{theirs.agent.ID.UUID()}, Before: start.Add(time.Hour)})
		return c.affected > 0, err
	},
	"RaiseAgentWatermarks": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		raised, err := q.RaiseAgentWatermarks(ctx, orgdb.RaiseAgentWatermarksParams{OrgID: mine.org.ID.UUID(), Agents: []uuid.UUID{theirs.agent.ID.UUID()}, TokensMax: 0, TokensNotBefore: start, At: start})
		return len(raised) > 0, err
	},
	"TokensNotBefore": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		at, err := q.TokensNotBefore(ctx, orgdb.TokensNotBeforeParams{OrgID: mine.org.ID.UUID(), ID: theirs.agent.ID.UUID(), CredentialID: theirs.credential.ID.UUID(), At: start})
		return !at.IsZero(), err
	},
	"TokenLives": func(ctx context.Context, _ *connection, q *orgdb.Queries, mine, theirs *world) (bool, error) {
		return q.TokenLives(ctx, orgdb.TokenLivesParams{
			OrgID: mine.org.ID.UUID(), Agents: []uuid.UUID{theirs.agent.ID.UUID()}, Credentials: []uuid.UUID{theirs.credential.ID.UUID()},
			IssuedAt: start.Add(time.Hour), TokenID: "another",
		})
	},
}

// tokenInserts are the inserts of revoked tokens and watermarks.
var tokenInserts = map[string]func(ctx context.Context, q *orgdb.Queries, theirs *world) error{
	"InsertRevokedTokens": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		_, err := q.InsertRevokedTokens(ctx, orgdb.InsertRevokedTokensParams{
			OrgID: theirs.org.ID.UUID(), Agents: []uuid.UUID{theirs.agent.ID.UUID()}, Ids: []string{"planted"}, Expiries: []time.Time{start}, SignIns: []bool{false}, RevokedAt: start,
		})
		return err
	},
	"RaiseOrganizationWatermark": func(ctx context.Context, q *orgdb.Queries, theirs *world) error {
		_, err := q.RaiseOrganizationWatermark(ctx, orgdb.RaiseOrganizationWatermarkParams{OrgID: theirs.org.ID.UUID(), TokensNotBefore: start})
		return err
	},
}

func (b *bundle) revoke(t *testing.T, a agents.Agent, id string) {
	t.Helper()
	if err := b.RevokeToken(t.Context(), operator, revocation.Token{Organization: a.OrganizationID, Agent: a.ID, ID: id, ExpiresAt: b.clock.Now().Add(5 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) lives(t *testing.T, a agents.Agent, id string, issued time.Time) bool {
	t.Helper()
	lives, err := b.TokenLives(t.Context(), a.OrganizationID, tokenstate.Facts{TokenID: id, IssuedAt: issued.Truncate(time.Second), Holders: []tokenstate.Holder{{Agent: a.ID}}})
	if err != nil {
		t.Fatal(err)
	}
	return lives
}

// One token is dead, no other, until it has expired for everybody; a second revocation changes nothing and is not recorded.
func TestRevokedTokenIsListedUntilItExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	before := b.revocations(t)
	b.revoke(t, a, "one")
	l := b.revocations(t)
	want := trust.Token{ID: "one", ExpiresAt: start.Add(5*time.Minute).Unix() + 1}
	if !slices.Equal(l.Tokens, []trust.Token{want}) || len(l.Agents)+len(l.Organizations) != 0 || l.Sequence <= before.Sequence {
		t.Errorf("%+v after %d", l, before.Sequence)
	}
	if b.lives(t, a, "one", start) || !b.lives(t, a, "other", start) {
		t.Error("the wrong token is dead")
	}
	b.revoke(t, a, "one")
	if again := b.revocations(t); again.Sequence != l.Sequence || len(again.Tokens) != 1 {
		t.Errorf("revoked again: %+v", again)
	}
	records, err := b.AuditRecords(t.Context(), a.OrganizationID, audit.Filter{Action: audit.TokenRevoke}, agentid.Event{}, 10)
	if err != nil || len(records) != 1 || records[0].Target != "one" || records[0].Details["agentId"] != a.ID.String() {
		t.Errorf("%+v, %v", records, err)
	}
	b.clock.Advance(9 * time.Minute)
	if l := b.revocations(t); len(l.Tokens) != 1 {
		t.Error("gone while a verifier with a slow clock accepts it")
	}
	b.clock.Advance(2 * time.Minute)
	if l := b.revocations(t); len(l.Tokens) != 0 {
		t.Errorf("long expired: %+v", l.Tokens)
	}
	b.revoke(t, a, "two")
	if n := query[int64](t, b.db.Superuser(t), "select count(*) from revoked_tokens")[0]; n != 1 {
		t.Errorf("%d rows: what has expired is kept", n)
	}
}

// Very many revoked tokens of an agent become its watermark: every one of them stays dead, the list stays short, and what is issued later lives.
func TestManyRevokedTokensBecomeAWatermark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	org := b.newOrganization(t, "acme").ID
	a, bystander := b.newAgent(t, org, "payer"), b.newAgent(t, org, "bystander")
	const most = 64
	for i := range most {
		b.revoke(t, a, fmt.Sprint("token-", i))
	}
	if l := b.revocations(t); len(l.Tokens) != most || len(l.Agents) != 0 || !b.lives(t, a, "other", start) {
		t.Fatalf("%d tokens, %+v", len(l.Tokens), l.Agents)
	}
	b.revoke(t, a, "one too many")
	l := b.revocations(t)
	wantDead(t, "too many", l, a.ID, true, start.Unix()+1)
	wantDead(t, "too many", l, bystander.ID, false, 0)
	if len(l.Tokens) != 0 || b.lives(t, a, "token-0", start) || b.lives(t, a, "one too many", start) || !b.lives(t, bystander, "any", start) {
		t.Errorf("%+v", l)
	}
	if !b.lives(t, a, "later", start.Add(time.Second)) {
		t.Error("what is issued from then on is dead")
	}
	got, err := b.agents.Get(t.Context(), a.ID)
	if err != nil || got.TokensNotBefore.Unix() != start.Unix()+1 || got.Version != a.Version+1 || got.Status != agents.Active {
		t.Errorf("%+v, %v", got, err)
	}
	b.revoke(t, a, "next")
	if l := b.revocations(t); len(l.Tokens) != 1 {
		t.Errorf("after the watermark: %+v", l.Tokens)
	}
}

// Revocations of one agent at the same time: none is lost and nobody is refused.
func TestTokensAreRevokedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	var all sync.WaitGroup
	for i := range 80 {
		all.Go(func() {
			err := b.RevokeToken(t.Context(), operator, revocation.Token{Organization: a.OrganizationID, Agent: a.ID, ID: fmt.Sprint(i), ExpiresAt: start.Add(time.Minute)})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range 80 {
		if b.lives(t, a, fmt.Sprint(i), start) {
			t.Errorf("token %d lives", i)
		}
	}
}

func TestOrganizationWatermark(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme, other := b.newOrganization(t, "acme").ID, b.newOrganization(t, "other").ID
	a, stranger := b.newAgent(t, acme, "payer"), b.newAgent(t, other, "payer")
	before := b.revocations(t)
	watermark, err := b.RevokeOrganizationTokens(t.Context(), operator, acme)
	if err != nil || !watermark.Equal(start.Truncate(time.Second).Add(time.Second)) {
		t.Fatal(watermark, err)
	}
	l := b.revocations(t)
	if !slices.Equal(l.Organizations, []trust.Organization{{ID: acme.String(), IssuedBefore: watermark.Unix()}}) || l.Sequence <= before.Sequence {
		t.Errorf("%+v", l)
	}
	if b.lives(t, a, "t", start) || !b.lives(t, a, "t", watermark) || !b.lives(t, stranger, "t", start) {
		t.Error("the wrong tokens are dead")
	}
	b.clock.Advance(-time.Hour) // a clock that is set back does not bring anything back to life
	if again, err := b.RevokeOrganizationTokens(t.Context(), operator, acme); err != nil || !again.Equal(watermark) {
		t.Errorf("%v, %v", again, err)
	}
	b.clock.Advance(26 * time.Hour)
	if l := b.revocations(t); len(l.Organizations) != 0 {
		t.Errorf("a day later %+v", l.Organizations)
	}
	_, err = b.RevokeOrganizationTokens(t.Context(), operator, agentid.New[agentid.Organization]())
	wantProblem(t, "nobody's", err, problem.NotFound, "organization_not_found")
	err = b.RevokeToken(t.Context(), operator, revocation.Token{Organization: other, Agent: a.ID, ID: "t", ExpiresAt: start})
	wantProblem(t, "another organization's agent", err, problem.NotFound, "agent_not_found")
}

// A token dies with each of its holders, and a holder of another organization is none.
func TestTokenLivesWithItsHolders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme, other := b.newOrganization(t, "acme").ID, b.newOrganization(t, "other").ID
	a, actor, stranger := b.newAgent(t, acme, "a"), b.newAgent(t, acme, "actor"), b.newAgent(t, other, "a")
	credential, others := b.newCredential(t, a.ID), b.newCredential(t, actor.ID)
	lives := func(holders ...tokenstate.Holder) bool {
		t.Helper()
		ok, err := b.TokenLives(t.Context(), acme, tokenstate.Facts{TokenID: "t", IssuedAt: start.Truncate(time.Second), Holders: holders})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	self, by := tokenstate.Holder{Agent: a.ID, Credential: credential.ID}, tokenstate.Holder{Agent: actor.ID}
	if !lives(self, by) || !lives(self) || !lives() {
		t.Fatal("dead from the start")
	}
	if lives(self, tokenstate.Holder{Agent: stranger.ID}) || lives(tokenstate.Holder{Agent: a.ID, Credential: others.ID}) || lives(tokenstate.Holder{Agent: agentid.New[agentid.Agent]()}) {
		t.Error("a holder that is not there")
	}
	if _, err := b.agents.Suspend(t.Context(), operator, actor.ID); err != nil || lives(self, by) || !lives(self) {
		t.Errorf("with a suspended actor (%v)", err)
	}
	if _, err := b.agents.Reactivate(t.Context(), operator, actor.ID); err != nil || lives(self, by) {
		t.Errorf("issued before the actor's suspension (%v)", err)
	}
	if err := b.agents.DeleteCredential(t.Context(), operator, a.ID, credential.ID); err != nil || lives(self) {
		t.Errorf("without its credential (%v)", err)
	}
	if err := b.agents.Delete(t.Context(), operator, a.ID, 0); err != nil || lives(tokenstate.Holder{Agent: a.ID}) {
		t.Errorf("of a deleted agent (%v)", err)
	}
	if _, err := b.TokenLives(t.Context(), agentid.Organization{}, tokenstate.Facts{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("of no organization: %v", err)
	}
}

// A sign-in that is revoked takes the access tokens that came of it along.
func TestRevokedSignInTakesItsTokensAlong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := newWorld(t, b)
	given := w.issuance()
	given.Token.ID = "alive"
	given.SignIn = &issuance.SignInStep{ID: w.party.signIn.ID, ExpiresAt: start.Add(time.Hour), Tokens: []issuance.SignInToken{{ID: "expired", ExpiresAt: start.Add(-time.Second)}}}
	if err := b.RecordTokenIssued(t.Context(), operator, given); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.RevokeSignIn(t.Context(), operator, w.org.ID, w.party.signIn.ID, "tested"); err != nil {
			t.Fatal(err)
		}
	}
	if l := b.revocations(t); len(l.Tokens) != 1 || l.Tokens[0].ID != "alive" || len(l.Agents) != 0 {
		t.Errorf("%+v", l)
	}
}
