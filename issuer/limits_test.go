package issuer_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

// from sends a token request from a loopback address.
func (i *instance) from(address, id, secret string) answer {
	i.t.Helper()
	transport := i.client.Transport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	there := &instance{t: i.t, url: i.url, client: &http.Client{Transport: transport}}
	defer transport.CloseIdleConnections()
	r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials")
	r.SetBasicAuth(id, secret)
	return there.do(r)
}

// statuses asks n times and says how often each status came.
func (i *instance) statuses(n int, address, id, secret string) string {
	i.t.Helper()
	got := map[int]int{}
	for range n {
		got[i.from(address, id, secret).StatusCode]++
	}
	return fmt.Sprint(got)
}

// slow is a limit that gives nothing back while a test runs.
func slow(burst int64) issuer.RateLimit { return issuer.RateLimit{PerMinute: 1, Burst: burst} }

const here, there = "127.0.0.1", "127.0.0.2"

// Guessing at a client's secret gets its source barred, and its owner nothing but tokens.
func TestGuessingLocksNobodyOut(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.FailuresOfClient = slow(5) })
	victim := i.agent(i.organization("acme"), "victim")
	_, secret := i.credential(victim)
	if got := i.statuses(20, here, victim, "aidp_wrong"); got != "map[401:5 429:15]" {
		t.Errorf("guesses: %s", got)
	}
	a := i.from(here, victim, secret)
	if a.StatusCode != 429 || a.field("error") != "temporarily_unavailable" || a.Header.Get("Retry-After") == "" || !strings.HasPrefix(a.Header.Get("RateLimit"), `"authentication";r=0;t=`) {
		t.Errorf("the right secret from the source that guessed: %s %v %s", a.Status, a.Header, a.body)
	}
	if got := i.statuses(20, there, victim, secret); got != "map[200:20]" {
		t.Errorf("the owner: %s", got)
	}
}

// The limits of an organization are set by the admin API, hold at once where they were set and within about a second elsewhere, and bind nobody else.
func TestLimitsOfAnOrganization(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.Client = issuer.RateLimit{PerMinute: 1200, Burst: 200} })
	other := i.beside()
	acme, rest := i.organization("acme"), i.organization("rest")
	agent, neighbour := i.agent(acme, "a"), i.agent(rest, "b")
	_, secret := i.credential(agent)
	_, neighbours := i.credential(neighbour)
	path := "/organizations/" + acme + "/limits"
	a := i.must(i.admin("GET", path, nil), 200)
	if string(a.body) == "" || a.field("organization") != "" || a.Header.Get("ETag") != `"1"` {
		t.Errorf("before: %s %s", a.Header.Get("ETag"), a.body)
	}
	good := i.must(other.from(here, agent, secret), 200)
	if !strings.HasPrefix(good.Header.Get("RateLimit"), `"client";r=199;t=`) || good.Header.Get("RateLimit-Policy") != `"client";q=200;w=10` {
		t.Errorf("%v", good.Header)
	}
	a = i.must(i.admin("PUT", path, `{"client": {"perMinute": 1, "burst": 3}, "organization": {"perMinute": 1, "burst": 100}}`, "If-Match", `"1"`), 200)
	if a.Header.Get("ETag") != `"2"` {
		t.Errorf("ETag %s", a.Header.Get("ETag"))
	}
	if got := i.statuses(5, here, agent, secret); got != "map[200:3 429:2]" {
		t.Errorf("where it was set: %s", got)
	}
	for begun := time.Now(); ; {
		if other.from(here, agent, secret).StatusCode == 429 {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("the other instance never heard of the limit")
		}
	}
	if got := i.statuses(5, here, neighbour, neighbours); got != "map[200:5]" {
		t.Errorf("another organization: %s", got)
	}
	for body, code := range map[string]string{
		`{"client": {"perMinute": 0, "burst": 0}}`:          "limit_range",
		`{"organization": {"perMinute": 1, "burst": 2000}}`: "limit_range",
		`{"client": {"perMinute": 1}}`:                      "missing_field",
		`{"clients": {}}`:                                   "unknown_field",
	} {
		if a := i.must(i.admin("PUT", path, body), 400); a.field("code") != code {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	i.must(i.admin("PUT", path, `{}`, "If-Match", `"1"`), 412)
	a = i.must(i.admin("PUT", path, `{}`), 200) // a bucket that is empty fills at the new rate
	for begun := time.Now(); i.from(here, agent, secret).StatusCode != 200; {
		if time.Since(begun) > time.Minute {
			t.Fatalf("the instance's limits do not hold again: %s", a.body)
		}
	}
}

// Instances with one Redis count together.
func TestInstancesShareLimits(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) {
		c.Limits.Redis, c.Limits.Client = config.NewSecret(testkit.Redis(t)), slow(6)
	})
	other := i.beside()
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	got := map[int]int{}
	for n := range 20 {
		at := i
		if n%2 == 1 {
			at = other
		}
		got[at.from(here, agent, secret).StatusCode]++
	}
	if got[200] > 12 || got[200] < 6 || got[429] != 20-got[200] { // on a machine that is busy enough an instance may have counted alone for a while
		t.Errorf("%v", got)
	}
}

// What one instance suspends or deletes gets no token from another one that remembers it: not a second later, but at once.
func TestAChangeElsewhereStopsIssuance(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(i *instance, agent, credential string){
		"suspended": func(i *instance, agent, _ string) { i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200) },
		"revoked":   func(i *instance, agent, _ string) { i.must(i.admin("POST", "/agents/"+agent+"/revoke", nil), 200) },
		"deleted":   func(i *instance, agent, _ string) { i.must(i.admin("DELETE", "/agents/"+agent, nil), 204) },
		"credential deleted": func(i *instance, agent, c string) {
			i.must(i.admin("DELETE", "/agents/"+agent+"/credentials/"+c, nil), 204)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			other := i.beside()
			agent := i.agent(i.organization("acme"), "a")
			credential, secret := i.credential(agent)
			for range 50 { // remembered on the way, when it hears of changes
				i.must(other.from(here, agent, secret), 200)
			}
			change(i, agent, credential)
			if a := other.from(here, agent, secret); a.StatusCode != 401 || a.field("error") != "invalid_client" {
				t.Errorf("%s: %s %s", name, a.Status, a.body)
			}
			if a := i.from(here, agent, secret); a.StatusCode != 401 {
				t.Errorf("%s, where it was done: %s", name, a.Status)
			}
		})
	}
}

// Every token that left has its record, also when many are asked for at once.
func TestEveryTokenOfManyIsRecorded(t *testing.T) {
	t.Parallel()
	i := start(t)
	org := i.organization("acme")
	agent := i.agent(org, "a")
	_, secret := i.credential(agent)
	const callers, each = 8, 10
	ids := make(chan string, callers*each)
	var done sync.WaitGroup
	for range callers {
		done.Go(func() {
			for range each {
				r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials")
				r.SetBasicAuth(agent, secret)
				if a := i.do(r); a.StatusCode == 200 {
					ids <- i.secret(a.field("access_token"))
				}
			}
		})
	}
	done.Wait()
	close(ids)
	left := map[string]bool{}
	for token := range ids {
		left[token] = true
	}
	if len(left) != callers*each {
		t.Errorf("%d different tokens, want %d", len(left), callers*each)
	}
	conn := i.db.Superuser(t)
	var records int
	if err := conn.QueryRow(context.Background(), "select count(*) from audit_logs where action = 'token.issue'").Scan(&records); err != nil || records != len(left) {
		t.Errorf("%d records of %d tokens, %v", records, len(left), err)
	}
}

// Every route that is limited says so in the contract.
func TestLimitedRoutesAreInTheContract(t *testing.T) {
	t.Parallel()
	limited := 0
	for _, o := range operations(t) {
		if !strings.Contains(o.path, "/oauth2/") {
			continue
		}
		limited++
		if o.Responses.Value("429") == nil {
			t.Errorf("%s %s has no 429", o.method, o.path)
		}
	}
	if limited == 0 {
		t.Error("no route is limited")
	}
}

func TestLimitsInTheConfig(t *testing.T) {
	t.Parallel()
	var cfg issuer.Config
	cfg.SetDefaults()
	for field, change := range map[string]func(*issuer.Config){
		"limits.client":             func(c *issuer.Config) { c.Limits.Client.PerMinute = 0 },
		"limits.source":             func(c *issuer.Config) { c.Limits.Source.Burst = -1 },
		"limits.failuresOfInstance": func(c *issuer.Config) { c.Limits.FailuresOfInstance = issuer.RateLimit{} },
		"limits.redis":              func(c *issuer.Config) { c.Limits.Redis = config.NewSecret("http://user:hunter2@host") },
		"trustedProxies[1]":         func(c *issuer.Config) { c.TrustedProxies = []string{"10.0.0.0/8", "proxy"} },
	} {
		c := cfg
		change(&c)
		var r config.Report
		c.Validate(&r)
		text := fmt.Sprint(r.Err())
		if !strings.Contains(text, field) || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", field, text)
		}
	}
}
