package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// The organization of one use of a connection must not be seen by the next, however the use ended.
func TestOrganizationDoesNotStayOnTheConnection(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *postgres.Config) { cfg.ConnectionsMax = 1 })
	w := newWorld(t, b)
	ctx := t.Context()
	uses := map[string]func() error{
		"one round trip": func() error { _, err := w.Agent(ctx, w.agent.ID); return err },
		"list":           func() error { _, err := w.Agents(ctx, w.org.ID, agentid.Agent{}, 10); return err },
		"transaction":    func() error { _, err := w.agents.Suspend(ctx, operator, w.agent.ID); return err },
		"rolled back":    func() error { return w.DeleteCredential(ctx, operator, w.agent.ID, agentid.New[agentid.Credential]()) },
		"statement that failed": func() error {
			a := w.agent
			a.ID = agentid.New[agentid.Agent]()
			_, err := w.CreateAgent(ctx, operator, a)
			return err
		},
		"write in a round trip": func() error { return w.RecordTokenIssued(ctx, operator, w.issuance()) },
	}
	for name, use := range uses {
		_ = use() // some fail on purpose
		setting, agents, err := w.AppSetting(ctx)
		if err != nil || setting != "" || agents != 0 {
			t.Errorf("after %s: app.org_id is %q and shows %d agents, %v", name, setting, agents, err)
		}
	}
}

func TestNoOrganizationNoTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.InOrg(t.Context(), agentid.Organization{}); err == nil {
		t.Error("a transaction inside no organization")
	}
	if _, err := b.Agents(t.Context(), agentid.Organization{}, agentid.Agent{}, 1); err == nil {
		t.Error("a query inside no organization")
	}
}

// Hot paths are one round trip: a batch, without begin and commit around it.
func TestHotPathsAreOneRoundTrip(t *testing.T) {
	t.Parallel()
	f := &faults{}
	w := newWorld(t, setup(t, withTracer(f)))
	ctx := t.Context()
	for name, c := range map[string]struct {
		call func() error
		trip int
	}{
		"client look-up":  {func() error { _, _, err := w.ClientForAuthentication(ctx, w.agent.ID, start); return err }, 1},
		"token record":    {func() error { return w.RecordTokenIssued(ctx, operator, w.issuance()) }, 1},
		"revocation list": {func() error { _, err := w.RevocationList(ctx, issuer, agentid.Organization{}); return err }, 1},
		"organization":    {func() error { _, err := w.Organization(ctx, w.org.ID); return err }, 1},
		"agents":          {func() error { _, err := w.Agents(ctx, w.org.ID, agentid.Agent{}, 10); return err }, 1},
		"audit records":   {func() error { _, err := w.AuditRecords(ctx, w.org.ID, audit.Filter{}, agentid.Event{}, 10); return err }, 1},
		"agent by id":     {func() error { _, err := w.Agent(ctx, w.agent.ID); return err }, 2}, // finding its organization is one
	} {
		f.arm(0)
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want := strings.Split(strings.Repeat("batch,", c.trip-1)+"batch", ",")
		if diff := cmp.Diff(want, f.statements()); diff != "" {
			t.Errorf("%s sent:\n%s", name, diff)
		}
	}
}

func TestSimpleProtocolIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for _, mode := range []string{"simple_protocol", "exec"} {
		for _, cfg := range []postgres.Config{
			{AppDSN: db.AppDSN + "&default_query_exec_mode=" + mode, PlatformDSN: db.PlatformDSN},
			{AppDSN: db.AppDSN, PlatformDSN: db.PlatformDSN + "&default_query_exec_mode=" + mode},
		} {
			s, err := postgres.Open(t.Context(), cfg)
			if err == nil {
				s.Close()
				t.Errorf("%s was accepted", mode)
			} else if !strings.Contains(err.Error(), "default_query_exec_mode") {
				t.Errorf("%s: %v does not name the setting", mode, err)
			}
		}
	}
}

func TestOpenSaysWhatIsWrongWithADSN(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for name, cfg := range map[string]postgres.Config{
		"app: nonsense":       {AppDSN: "postgres://%", PlatformDSN: db.PlatformDSN},
		"platform: nonsense":  {AppDSN: db.AppDSN, PlatformDSN: "postgres://%"},
		"app: no such role":   {AppDSN: db.As(t, "nobody_of_that_name"), PlatformDSN: db.PlatformDSN, PoolWaitMax: time.Minute},
		"nothing listens":     {AppDSN: "postgres://127.0.0.1:1/x", PlatformDSN: "postgres://127.0.0.1:1/x"},
		"password in the DSN": {AppDSN: "postgres://u:hunter2@127.0.0.1:1/x?sslmode=nonsense", PlatformDSN: db.PlatformDSN},
	} {
		s, err := postgres.Open(t.Context(), cfg)
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

// Every connection has limits of its own on the server, and temporary tables cannot shadow real ones.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if postgres.SearchPath != "agentidp, pg_temp" {
		t.Errorf("search path %q", postgres.SearchPath)
	}
	for setting, want := range map[string]string{
		"statement_timeout": "5s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s", "search_path": "agentidp, pg_temp", "TimeZone": "UTC",
	} {
		for role, read := range map[string]func(string) (string, error){
			"app":      func(s string) (string, error) { return b.Setting(t.Context(), false, s) },
			"platform": func(s string) (string, error) { return b.Setting(t.Context(), true, s) },
		} {
			if got, err := read(setting); err != nil || got != want {
				t.Errorf("%s: %s = %q, %v; want %q", role, setting, got, err, want)
			}
		}
	}
}
