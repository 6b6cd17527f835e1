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

	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

// at is the same issuer for a client at a loopback address.
func (i *instance) at(address string) *instance {
	i.t.Helper()
	transport := i.client.Transport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	i.t.Cleanup(transport.CloseIdleConnections)
	return &instance{t: i.t, url: i.url, client: &http.Client{Transport: transport, CheckRedirect: i.client.CheckRedirect}}
}

// from sends a token request from a loopback address.
func (i *instance) from(address, id, secret string) answer {
	i.t.Helper()
	there := i.at(address)
	defer there.client.CloseIdleConnections()
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

// Who has seen an assertion and sends it again uses up nothing of its client's, and is barred as one who guesses. Nor does a secret at an issuer that is not its client's.
func TestReplayedAssertionsAreFailures(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.Client, c.Limits.FailuresOfClient = slow(5), slow(4) })
	agent := i.agent(i.organization("acme"), "a")
	i.organization("other")
	h := newHolder(t, jose4.ES256)
	i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, h)})
	seen, thief := h.assertion(t, agent, i.url), i.at(there)
	i.must(i.assert(seen), 200)
	got := map[int]int{}
	for range 12 {
		got[thief.assert(seen).StatusCode]++
	}
	if fmt.Sprint(got) != "map[401:4 429:8]" {
		t.Errorf("replays: %v", got)
	}
	for n := range 4 {
		if a := i.assert(h.assertion(t, agent, i.url)); a.StatusCode != 200 {
			t.Errorf("the owner, assertion %d: %s %s", n+2, a.Status, a.Header.Get("RateLimit"))
		}
	}
	if a := i.assert(h.assertion(t, agent, i.url)); a.StatusCode != 429 {
		t.Errorf("beyond the client's limit: %s", a.Status)
	}
	second := i.agent(i.must(i.admin("POST", "/organizations", map[string]any{"slug": "third", "displayName": "Third"}), 201).field("id"), "b")
	_, secret := i.credential(second)
	stranger := i.at("127.0.0.3")
	got = map[int]int{}
	for range 8 {
		r := i.request("POST", "/o/other/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials")
		r.SetBasicAuth(second, secret)
		got[stranger.do(r).StatusCode]++
	}
	if fmt.Sprint(got) != "map[401:4 429:4]" {
		t.Errorf("at another's issuer: %v", got)
	}
	if got := i.statuses(5, here, second, secret); got != "map[200:5]" {
		t.Errorf("at its own: %s", got)
	}
}

// A relying party beyond a limit is told so.
func TestRelyingPartiesAreLimited(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.Client = slow(3) })
	p := i.relyingParty(i.organization("acme"), nil)
	got := map[int]int{}
	for range 5 {
		got[i.from(here, p.oauth.ClientID, p.oauth.ClientSecret).StatusCode]++
		r := i.request("POST", "/oauth2/introspect", "application/x-www-form-urlencoded", "token=x")
		r.SetBasicAuth(p.oauth.ClientID, p.oauth.ClientSecret)
		got[i.do(r).StatusCode]++
	}
	if got[429] < 2 || got[500] != 0 || got[200] > 3 {
		t.Errorf("%v", got)
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

// Every operation of the contract is limited, and says so: the second request of a source whose burst is 1 is refused, whatever became of the first. That is before
// an administrator is known, and before it is looked up whose issuer the path names. Health is asked elsewhere, and free.
func TestEveryOperationIsLimited(t *testing.T) {
	t.Parallel()
	operator := fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	i := start(t, func(c *issuer.Config) {
		c.Limits.Source, c.Limits.Documents = slow(1), slow(1)
		c.Metrics.Listen = operator
	})
	for n, o := range operations(t) {
		if o.Responses.Value("429") == nil {
			t.Errorf("%s %s has no 429", o.method, o.path)
		}
		there := i.at(fmt.Sprintf("127.0.2.%d", n+1))
		if a := there.do(i.request(o.method, withIDs(o.path), "", "")); a.StatusCode == 429 {
			t.Errorf("%s: the first request: %s", o.id, a.Status)
		}
		a := there.do(i.request(o.method, withIDs(o.path), "", ""))
		policy, code := `"source";r=0;t=`, a.field("code")
		if o.Tags[0] == "discovery" {
			policy = `"documents";r=0;t=`
		}
		if strings.Contains(o.path, "/oauth2/") || o.Tags[0] == "sign-in" {
			code = map[string]string{"temporarily_unavailable": "rate_limited"}[a.field("error")]
		}
		if a.StatusCode != 429 || code != "rate_limited" || a.Header.Get("Retry-After") == "" || !strings.HasPrefix(a.Header.Get("RateLimit"), policy) {
			t.Errorf("%s: the second request: %s %v %s", o.id, a.Status, a.Header, a.body)
		}
	}
	for range 5 {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			r, err := http.Get("http://" + operator + path)
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if r.StatusCode != 200 {
				t.Errorf("%s: %s", path, r.Status)
			}
		}
	}
}

// Whatever opens something, guessing at it bars the source: for everything where something is tried out, and for nobody else. Documents are not held back.
func TestGuessingAtTokens(t *testing.T) {
	t.Parallel()
	for name, guess := range map[string]struct{ method, path string }{
		"admin token":               {"GET", "/organizations"},
		"admin token, for a change": {"POST", "/organizations"},
		"access token":              {"GET", "/userinfo"},
		"access token at a sign-in": {"GET", "/oauth2/authorize"},
		"initial access token":      {"POST", "/oauth2/register"},
		"registration access token": {"GET", "/oauth2/register/agt_0199f6c3d5e67f108a2b3c4d5e6f7081"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t, func(c *issuer.Config) { c.Limits.FailuresOfSource = slow(3) })
			if guess.path == "/oauth2/authorize" {
				p := i.relyingParty(i.organization("acme"), nil)
				guess.path = strings.TrimPrefix(p.oauth.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())), i.url)
			}
			guesser := i.at(there)
			try := func(authorization string) answer {
				r := i.request(guess.method, guess.path, "", "")
				if authorization != "" {
					r.Header.Set("Authorization", authorization)
				}
				return guesser.do(r)
			}
			for range 10 {
				if a := try(""); a.StatusCode == 429 {
					t.Fatalf("who tries nothing: %s", a.Status)
				}
			}
			got := map[int]int{}
			for range 10 {
				got[try("Bearer aidp_wrong").StatusCode]++
			}
			if fmt.Sprint(got) != "map[401:3 429:7]" {
				t.Errorf("guesses: %v", got)
			}
			r := i.request("GET", "/organizations", "", "")
			r.Header.Set("Authorization", "Bearer "+adminToken)
			if a := guesser.do(r); a.StatusCode != 429 {
				t.Errorf("the right admin token from there: %s", a.Status)
			}
			if a := guesser.do(i.request("GET", "/revocations", "", "")); a.StatusCode != 200 {
				t.Errorf("a sidecar there: %s", a.Status)
			}
			i.must(i.admin("GET", "/organizations", nil), 200)
		})
	}
}

// Names of organizations that do not exist are looked up for a source only as often as it may ask.
func TestUnknownIssuersAreLimited(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.Source, c.Limits.Documents = slow(5), slow(5) })
	for _, path := range []string{"/oauth2/token", "/.well-known/jwks.json"} {
		got := map[int]int{}
		for n := range 50 {
			r := i.request("GET", fmt.Sprintf("/o/nobody-%d%s", n, path), "", "")
			if strings.Contains(path, "oauth2") {
				r = i.request("POST", r.URL.Path, "application/x-www-form-urlencoded", "grant_type=client_credentials")
			}
			got[i.do(r).StatusCode]++
		}
		if fmt.Sprint(got) != "map[404:5 429:45]" {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// The documents of the limit are those of the contract: what a caller can try something out at is none.
func TestDocumentsAreTheContracts(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.Documents = slow(1) })
	for n, o := range operations(t) {
		there, document := i.at(fmt.Sprintf("127.0.3.%d", n+1)), o.Tags[0] == "discovery"
		there.do(i.request(o.method, withIDs(o.path), "", ""))
		if a := there.do(i.request(o.method, withIDs(o.path), "", "")); (a.StatusCode == 429) != document {
			t.Errorf("%s: %s, a document: %v", o.id, a.Status, document)
		}
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
		"limits.documents":          func(c *issuer.Config) { c.Limits.Documents.Burst = 0 },
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
