package postgres_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

const heardWait = 30 * time.Second

// follower runs one and gives what it hears as text: "all", "agent agt_…", "organization org_…".
func follower(t *testing.T, b *bundle) (*postgres.Follower, <-chan string, *safeLog) {
	t.Helper()
	heard, log := make(chan string, 1000), &safeLog{}
	f := b.NewFollower(postgres.Changes{
		Agent:        func(id agentid.Agent) { heard <- "agent " + id.String() },
		Organization: func(id agentid.Organization) { heard <- "organization " + id.String() },
		All:          func() { heard <- "all" },
	}, slog.New(slog.NewTextHandler(log, nil)))
	if f.Fresh() {
		t.Error("fresh before it runs")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if f.Fresh() {
			t.Error("fresh after its end")
		}
	})
	hear(t, heard, "all")
	return f, heard, log
}

// hear waits for a change; what comes before it is returned.
func hear(t *testing.T, heard <-chan string, want string) (before []string) {
	t.Helper()
	timeout := time.After(heardWait)
	for {
		select {
		case got := <-heard:
			if got == want {
				return before
			}
			before = append(before, got)
		case <-timeout:
			t.Fatalf("%q was not heard of, but %q", want, before)
		}
	}
}

func awaitFresh(t *testing.T, f *postgres.Follower, want bool) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < heardWait; {
		if f.Fresh() == want {
			return
		}
		<-time.After(time.Millisecond)
	}
	t.Fatalf("fresh is not %v", want)
}

// Every change of what is remembered is heard of, whoever makes it.
func TestFollowerHearsOfEveryChange(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *postgres.Config) { cfg.Now = time.Now })
	w := newWorld(t, b)
	f, heard, _ := follower(t, b)
	awaitFresh(t, f, true)
	ctx := t.Context()
	agent, org := "agent "+w.agent.ID.String(), "organization "+w.org.ID.String()
	var made agents.Credential
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"update", func() error {
			_, err := w.agents.Update(ctx, operator, w.agent.ID, 0, agents.Update{Scopes: &[]string{"payments:write"}})
			return err
		}, agent},
		{"suspend", func() error { _, err := w.agents.Suspend(ctx, operator, w.agent.ID); return err }, agent},
		{"reactivate", func() error { _, err := w.agents.Reactivate(ctx, operator, w.agent.ID); return err }, agent},
		{"credential made", func() (err error) {
			made, _, err = w.agents.CreateCredential(ctx, operator, w.agent.ID, time.Hour)
			return err
		}, agent},
		{"credential deleted", func() error { return w.agents.DeleteCredential(ctx, operator, w.agent.ID, made.ID) }, agent},
		{"credential rotated", func() error {
			_, _, err := w.agents.RotateCredential(ctx, operator, w.agent.ID, w.credential.ID, time.Minute)
			return err
		}, agent},
		{"limits", func() error {
			_, err := w.PutOrganizationLimits(ctx, operator, w.org.ID, 0, orgs.Limits{Client: ratelimit.Limit{PerMinute: 1, Burst: 1}, UpdatedAt: time.Now()})
			return err
		}, org},
		{"organization", func() error {
			name := "Other"
			_, err := w.orgs.Update(ctx, operator, w.org.ID, 0, orgs.Update{DisplayName: &name})
			return err
		}, org},
		{"by hand", func() error {
			exec(t, w.db.Superuser(t), "update credentials set expires_at = now() + interval '1 day' where agent_id = $1", w.agent.ID.UUID())
			return nil
		}, agent},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if before := hear(t, heard, step.want); len(before) != 0 && step.name != "credential rotated" && strings.Join(before, "") != strings.Repeat(step.want, len(before)) {
			t.Errorf("%s: heard of %q before", step.name, before)
		}
	}
	if err := w.agents.Delete(ctx, operator, w.newAgent(t, w.org.ID, "short").ID, 0); err != nil {
		t.Fatal(err)
	}
	for deleted := false; !deleted; {
		select {
		case got := <-heard:
			deleted = got != agent
			// The rotation may be heard of twice: of the old credential and of the new one.
		case <-time.After(heardWait):
			t.Fatal("the deletion of an agent was not heard of")
		}
	}
}

// A token that is issued is heard of by nobody: or every token would make every issuer forget its client.
func TestTokensAreNoChanges(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *postgres.Config) { cfg.Now = time.Now })
	w := newWorld(t, b)
	unending := w.newCredential(t, w.agent.ID)
	_, heard, _ := follower(t, b)
	for range 3 {
		if err := w.RecordTokenIssued(t.Context(), operator, issuanceOf(w.agent, unending.ID)); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, b.db.Superuser(t), "select pg_notify('agentidp_changed', 'something else')")
	if before := hear(t, heard, "all"); len(before) != 0 {
		t.Errorf("heard of %q", before)
	}
}

// A connection that is lost ends the trust in what is remembered at once; with the next one everything is forgotten.
func TestFollowerThatIsCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *postgres.Config) { cfg.Now = time.Now })
	f, heard, log := follower(t, b)
	awaitFresh(t, f, true)
	super := b.db.Superuser(t)
	n := query[int64](t, super, "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and query ilike '%pg_notify%' and pid <> pg_backend_pid()")[0]
	if n == 0 {
		t.Fatal("no connection to cut")
	}
	hear(t, heard, "all")
	awaitFresh(t, f, true)
	if !strings.Contains(log.String(), "changes are not heard of") || !strings.Contains(log.String(), "heard of again") {
		t.Errorf("said: %s", log.String())
	}
}

// safeLog is a buffer that a goroutine writes to.
type safeLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
