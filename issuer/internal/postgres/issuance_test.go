package postgres_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

func (w *world) use(purpose string, key byte, until time.Time) issuance.Record {
	i := w.issuance()
	i.Uses = []issuance.SingleUse{{Purpose: purpose, Key: [32]byte{key}, ExpiresAt: until}}
	return i
}

// Of many tokens that use the same thing up, asked for at the same time of two processes, one leaves.
func TestOneOfManyUsesWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	const tokens = 24
	var wg sync.WaitGroup
	errs := make(chan error, tokens)
	for range tokens {
		wg.Go(func() {
			// A pool waits 250 ms for a connection; so busy a test machine may need more tries.
			for {
				err := w.RecordTokenIssued(t.Context(), operator, w.use(issuance.UseProof, 1, start.Add(time.Minute)))
				if problem.KindOf(err) != problem.Unavailable || t.Context().Err() != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
		} else if used, ok := issuance.AsUsed(err); !ok || used.Purpose != issuance.UseProof {
			t.Errorf("%v, want that it was used before", err)
		}
	}
	if n := len(w.issued(t, w.org.ID)); won != 1 || n != 1 {
		t.Errorf("%d tokens and %d records, want one of each", won, n)
	}
}

// A use is one of an organization, a purpose and a key; and a token that is refused uses nothing up.
func TestUsesAreToldApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	until := start.Add(time.Minute)
	other := &world{bundle: w.bundle, org: w.empty}
	other.agent = w.newAgent(t, w.empty.ID, "payer")
	other.credential = w.newCredential(t, other.agent.ID)
	dead := w.use(issuance.UseProof, 1, until)
	dead.Credential = agentid.New[agentid.Credential]()
	wantProblem(t, "a token that is refused", w.RecordTokenIssued(t.Context(), operator, dead), problem.NotFound, "credential_not_found")
	for name, i := range map[string]issuance.Record{
		"first": w.use(issuance.UseProof, 1, until), "another key": w.use(issuance.UseProof, 2, until), "another purpose": w.use(issuance.UseAssertion, 1, until),
		"another organization": other.use(issuance.UseProof, 1, until),
	} {
		if err := w.RecordTokenIssued(t.Context(), operator, i); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, used := issuance.AsUsed(w.RecordTokenIssued(t.Context(), operator, i)); !used {
			t.Errorf("%s: used twice", name)
		}
	}
}

// What is too old to be used again is forgotten on the way, not before another process would refuse it too.
func TestUsesAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	super := w.db.Superuser(t)
	for key := range byte(20) {
		if err := w.RecordTokenIssued(t.Context(), operator, w.use(issuance.UseProof, key, start.Add(time.Second))); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		advance time.Duration
		key     byte
		want    int64
	}{{time.Minute, 100, 21}, {time.Minute, 101, 6}, {0, 102, 3}} {
		w.clock.Advance(step.advance)
		if err := w.RecordTokenIssued(t.Context(), operator, w.use(issuance.UseProof, step.key, start.Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		if n := query[int64](t, super, "select count(*) from single_uses")[0]; n != step.want {
			t.Errorf("%d uses are kept with key %d, want %d", n, step.key, step.want)
		}
	}
}

// No token that speaks of an agent whose own token is dead.
func TestHoldersMustBeAlive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(ctx context.Context, w *world, h *issuance.Holder) error
		code   string
	}{
		"alive": {func(context.Context, *world, *issuance.Holder) error { return nil }, ""},
		"suspended": {func(ctx context.Context, w *world, h *issuance.Holder) error {
			_, err := w.agents.Suspend(ctx, operator, h.Agent)
			return err
		}, "agent_not_found"},
		"suspended since and reactivated": {func(ctx context.Context, w *world, h *issuance.Holder) error {
			if _, err := w.agents.Suspend(ctx, operator, h.Agent); err != nil {
				return err
			}
			_, err := w.agents.Reactivate(ctx, operator, h.Agent)
			return err
		}, "agent_not_found"},
		"reactivated before": {func(ctx context.Context, w *world, h *issuance.Holder) error {
			h.IssuedAt = start.Add(2 * time.Second)
			if _, err := w.agents.Suspend(ctx, operator, h.Agent); err != nil {
				return err
			}
			_, err := w.agents.Reactivate(ctx, operator, h.Agent)
			return err
		}, ""},
		"deleted": {func(ctx context.Context, w *world, h *issuance.Holder) error {
			return w.agents.Delete(ctx, operator, h.Agent, 0)
		}, "agent_not_found"},
		"credential deleted": {func(ctx context.Context, w *world, h *issuance.Holder) error {
			return w.agents.DeleteCredential(ctx, operator, h.Agent, h.Credential)
		}, "credential_not_found"},
		"no credential": {func(_ context.Context, _ *world, h *issuance.Holder) error {
			h.Credential = agentid.Credential{}
			return nil
		}, ""},
		"of another organization": {func(_ context.Context, w *world, h *issuance.Holder) error {
			h.Agent = w.newAgent(t, w.empty.ID, "stranger").ID
			return nil
		}, "agent_not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup(t))
			a := w.newAgent(t, w.org.ID, "subject")
			h := issuance.Holder{Agent: a.ID, Credential: w.newCredential(t, a.ID).ID, IssuedAt: start}
			if err := tt.change(t.Context(), w, &h); err != nil {
				t.Fatal(err)
			}
			i := w.issuance()
			i.Holders = []issuance.Holder{h}
			err := w.RecordTokenIssued(t.Context(), operator, i)
			if n := len(w.issued(t, w.org.ID)); (n == 1) != (tt.code == "") {
				t.Errorf("%d records", n)
			}
			if tt.code != "" {
				wantProblem(t, name, err, problem.NotFound, tt.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}
