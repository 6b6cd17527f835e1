package issuer_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

// The database goes away and comes back. Without it nothing is issued and nothing pretends: 503 everywhere but for what is in memory.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	var operator string
	i := start(t, func(c *issuer.Config) {
		c.Metrics.Listen = fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
		operator = c.Metrics.Listen
	})
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	grant := url.Values{"grant_type": {"client_credentials"}}
	i.must(i.tokenRequest(agent, secret, grant), 200)
	if ready, text := probe(t, operator, "/readyz"); ready != 200 {
		t.Errorf("ready: %d %s", ready, text)
	}

	comeBack := i.cutDatabase()
	for range 6 { // as many as there are connections that have not noticed, and more
		a := i.tokenRequest(agent, secret, grant)
		if a.StatusCode != 503 || a.field("error") != "temporarily_unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("token: %s %s", a.Status, a.body)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if a := i.do(i.request("GET", "/revocations", "", "")); a.StatusCode == 503 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the revocation list is still %s", a.Status)
		}
	}
	if a := i.admin("GET", "/agents/"+agent, nil); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("admin: %s %s", a.Status, a.body)
	}
	i.must(i.do(i.request("GET", "/.well-known/jwks.json", "", "")), 200)
	if ready, text := probe(t, operator, "/readyz"); ready != 503 || strings.Contains(text, "password") {
		t.Errorf("ready: %d %s", ready, text)
	}
	if alive, _ := probe(t, operator, "/healthz"); alive != 200 {
		t.Error("an outage of the database is no reason to restart")
	}

	comeBack()
	for tries := 1; ; tries++ { // each connection that died while it was idle is noticed by one request
		if a := i.tokenRequest(agent, secret, grant); a.StatusCode == 200 {
			break
		} else if a.StatusCode != 503 || tries > 2*i.cfg.Database.ConnectionsMax {
			t.Fatalf("%d times after the database came back: %s %s", tries, a.Status, a.body)
		}
	}
	if ready, text := probe(t, operator, "/readyz"); ready != 200 {
		t.Errorf("ready: %d %s", ready, text)
	}
}

// cutDatabase ends every connection to the test's database and lets nobody in until the returned function is called.
func (i *instance) cutDatabase() (comeBack func()) {
	i.t.Helper()
	conn, err := pgx.Connect(context.Background(), testkit.Postgres(i.t))
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { conn.Close(context.Background()) })
	run := func(sql string) {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			i.t.Fatal(err)
		}
	}
	run("alter database " + i.db.Name + " allow_connections false")
	run("select pg_terminate_backend(pid) from pg_stat_activity where datname = '" + i.db.Name + "'")
	return func() { run("alter database " + i.db.Name + " allow_connections true") }
}

func probe(t *testing.T, address, path string) (int, string) {
	t.Helper()
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// A second instance on the same database has the same keys, tokens and secrets; one with another KEK does not start.
func TestInstancesShareTheDatabase(t *testing.T) {
	t.Parallel()
	first := start(t)
	agent := first.agent(first.organization("acme"), "a")
	_, secret := first.credential(agent)
	keys := first.must(first.do(first.request("GET", "/.well-known/jwks.json", "", "")), 200)

	cfg := first.cfg
	cfg.Listen = fmt.Sprintf("localhost:%d", testkit.FreePort(t))
	second := &instance{t: t, now: first.now, url: "https://" + cfg.Listen, client: first.client, registry: obs.NewRegistry("issuer"), db: first.db, cfg: cfg}
	second.run(cfg, slog.New(slog.DiscardHandler))
	if again := second.must(second.do(second.request("GET", "/.well-known/jwks.json", "", "")), 200); string(again.body) != string(keys.body) {
		t.Errorf("another key set:\n%s\n%s", keys.body, again.body)
	}
	_, claims := first.verified(second.token(agent, secret))
	if claims["iss"] != cfg.Issuer {
		t.Errorf("iss %v", claims["iss"])
	}

	other := start(t)
	cfg.KEK = other.cfg.KEK
	if _, err := issuer.New(t.Context(), cfg, issuer.Environment{Log: slog.New(slog.DiscardHandler), Registry: obs.NewRegistry("issuer"), Now: time.Now}); err == nil {
		t.Error("started with a key-encryption key that opens nothing")
	}
}

// Start refuses, with an error that names the part, before anything listens.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := start(t).cfg
	for want, change := range map[string]func(*issuer.Config){
		"TLS certificate": func(c *issuer.Config) { c.TLS.Cert = c.TLS.Key },
		"kek":             func(c *issuer.Config) { c.KEK = c.BootstrapToken },
		"database":        func(c *issuer.Config) { c.Database.App = c.Database.Platform },
	} {
		cfg := good
		change(&cfg)
		_, err := issuer.New(t.Context(), cfg, issuer.Environment{Log: slog.New(slog.DiscardHandler), Registry: obs.NewRegistry("issuer"), Now: time.Now})
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), adminToken) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestMigrateNeedsTheOwner(t *testing.T) {
	t.Parallel()
	if err := issuer.Migrate(t.Context(), issuer.Config{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "database.owner") {
		t.Errorf("%v", err)
	}
}

// Every metric of ours is counted once, well named, and without labels that a stranger chooses.
func TestMetrics(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	i.token(agent, secret)
	i.must(i.tokenRequest(agent, secret, url.Values{"grant_type": {"made-up"}}), 400)
	i.must(i.do(i.request("GET", "/made-up", "", "")), 404)
	gathered, err := i.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range gathered {
		if name := family.GetName(); strings.HasPrefix(name, "agentidp_issuer_") {
			names = append(names, name)
			if strings.Contains(family.String(), "made-up") {
				t.Errorf("%s has a label of a stranger: %s", name, family)
			}
		}
	}
	slices.Sort(names)
	want := []string{
		"agentidp_issuer_http_overload_total", "agentidp_issuer_http_panics_total", "agentidp_issuer_http_request_duration_seconds",
		"agentidp_issuer_http_requests_in_flight", "agentidp_issuer_http_requests_total",
		"agentidp_issuer_limit_alone", "agentidp_issuer_limit_fallback_total",
		"agentidp_issuer_tls_certificate_not_after_timestamp_seconds", "agentidp_issuer_tls_failing", "agentidp_issuer_tls_reloads_total",
		"agentidp_issuer_token_requests_refused_total", "agentidp_issuer_tokens_issued_total",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("metrics (-want +got):\n%s", d)
	}
	if problems, err := testutil.GatherAndLint(i.registry, want...); err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// How long an unknown client and a wrong secret take, side by side through the whole server. Logged and not asserted; what is asserted is the work, in package clientauth.
func TestAuthenticationTimes(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, _ = i.credential(agent)
	grant := url.Values{"grant_type": {"client_credentials"}}
	times := map[string][]time.Duration{}
	for range 100 {
		for name, id := range map[string]string{"wrong secret": agent, "unknown client": "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"} {
			began := time.Now()
			i.must(i.tokenRequest(id, "aidp_wrong", grant), 401)
			times[name] = append(times[name], time.Since(began))
		}
	}
	for name, took := range times {
		slices.Sort(took)
		t.Logf("%-14s median %s", name, took[len(took)/2])
	}
}
