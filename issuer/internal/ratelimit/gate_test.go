package ratelimit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

type given map[agentid.Organization]OrganizationLimits

func (g given) LimitsOf(_ context.Context, id agentid.Organization) OrganizationLimits { return g[id] }

// desk is a token endpoint with nothing behind it: whoever says the right secret is authenticated.
type desk struct {
	*Gate
	*clock
	org     agentid.Organization
	handler http.Handler
	checked int // how many secrets were looked at
}

const rightSecret = "right"

func newDesk(t *testing.T, limits Limits, organizations given) *desk {
	t.Helper()
	l, c := newLimiter(t, "", &bytes.Buffer{})
	d := &desk{clock: c, org: agentid.New[agentid.Organization]()}
	d.Gate = NewGate(l, limits, organizations, prometheus.NewRegistry(), c.now)
	var err error
	d.handler, err = web.NewHandler(web.Config{
		Routes:  []web.Route{{Name: "token", Method: "POST", Path: "/oauth2/token", Handler: d.Protect(AsOAuth, d.serve)}},
		Metrics: prometheus.NewRegistry(), MetricsPrefix: "test", Log: slog.New(slog.DiscardHandler), Now: c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *desk) serve(w http.ResponseWriter, r *http.Request) {
	client, secret, ok := r.BasicAuth()
	if !ok {
		oauth.WriteError(w, &oauth.Error{Code: oauth.InvalidRequest})
		return
	}
	if err := d.Admit(r.Context(), client); err != nil {
		oauth.WriteError(w, err.(*oauth.Error))
		return
	}
	d.checked++
	if secret != rightSecret {
		d.Failed(r.Context(), client)
		oauth.WriteError(w, &oauth.Error{Code: oauth.InvalidClient})
		return
	}
	if err := d.Authenticated(r.Context(), client, d.org); err != nil {
		oauth.WriteError(w, err.(*oauth.Error))
		return
	}
	w.WriteHeader(http.StatusOK)
}

// ask sends a request of a client from an address; no secret is a request without authentication.
func (d *desk) ask(source, client, secret string) *http.Response {
	r := httptest.NewRequest(http.MethodPost, "/oauth2/token", http.NoBody)
	r.RemoteAddr = source
	if secret != "" {
		r.SetBasicAuth(client, secret)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result()
}

// count asks n times and says how often each status came.
func (d *desk) count(n int, source, client, secret string) map[int]int {
	got := map[int]int{}
	for range n {
		got[d.ask(source, client, secret).StatusCode]++
	}
	return got
}

// wide limits nothing that a test does not narrow.
func wide() Limits {
	l := Limit{60, 1000}
	return Limits{l, l, l, l, l, l, l, l, l}
}

const (
	here  = "192.0.2.1:1000"
	there = "198.51.100.7:2000"
)

// want compares the outcome of many requests.
func want(t *testing.T, what string, got map[int]int, wanted string) {
	t.Helper()
	if s := fmt.Sprint(got); s != wanted {
		t.Errorf("%s: %s, want %s", what, s, wanted)
	}
}

func TestEachLimit(t *testing.T) {
	t.Parallel()
	narrow := Limit{60, 3}
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		l := wide()
		l.Client = narrow
		d := newDesk(t, l, nil)
		want(t, "one client", d.count(5, here, "a", rightSecret), "map[200:3 429:2]")
		want(t, "from elsewhere", d.count(2, there, "a", rightSecret), "map[429:2]")
		want(t, "another client", d.count(1, here, "b", rightSecret), "map[200:1]")
		d.advance(time.Second)
		want(t, "a second later", d.count(2, here, "a", rightSecret), "map[200:1 429:1]")
	})
	t.Run("source", func(t *testing.T) {
		t.Parallel()
		l := wide()
		l.Source = narrow
		d := newDesk(t, l, nil)
		want(t, "one source", d.count(5, here, "a", rightSecret), "map[200:3 429:2]")
		want(t, "its other port and client", d.count(1, "192.0.2.1:9", "b", rightSecret), "map[429:1]")
		want(t, "another source", d.count(1, there, "a", rightSecret), "map[200:1]")
		want(t, "an IPv6 source", d.count(5, "[2001:db8:1:2::1]:1", "a", rightSecret), "map[200:3 429:2]")
		want(t, "its /64", d.count(1, "[2001:db8:1:2:ffff::9]:1", "a", rightSecret), "map[429:1]")
		want(t, "the next /64", d.count(1, "[2001:db8:1:3::1]:1", "a", rightSecret), "map[200:1]")
		want(t, "IPv4 in IPv6", d.count(1, "[::ffff:192.0.2.1]:1", "a", rightSecret), "map[429:1]")
	})
	t.Run("source without authentication", func(t *testing.T) {
		t.Parallel()
		l := wide()
		l.Source = narrow
		d := newDesk(t, l, nil)
		want(t, "one source", d.count(5, here, "", ""), "map[400:3 429:2]")
		d.advance(time.Second)
		want(t, "a second later", d.count(2, here, "", ""), "map[400:1 429:1]")
	})
	t.Run("organization", func(t *testing.T) {
		t.Parallel()
		l := wide()
		l.Organization = narrow
		d := newDesk(t, l, nil)
		want(t, "one client", d.count(2, here, "a", rightSecret), "map[200:2]")
		want(t, "and another", d.count(2, there, "b", rightSecret), "map[200:1 429:1]")
		d.org = agentid.New[agentid.Organization]()
		want(t, "another organization", d.count(1, here, "c", rightSecret), "map[200:1]")
	})
	t.Run("organization's own", func(t *testing.T) {
		t.Parallel()
		own := given{}
		d := newDesk(t, wide(), own)
		own[d.org] = OrganizationLimits{Organization: Limit{60, 3}, Client: Limit{60, 2}}
		want(t, "one client", d.count(3, here, "a", rightSecret), "map[200:2 429:1]")
		want(t, "and another", d.count(3, here, "b", rightSecret), "map[200:1 429:2]")
	})
	t.Run("instance", func(t *testing.T) {
		t.Parallel()
		l := wide()
		l.Instance = narrow
		d := newDesk(t, l, nil)
		want(t, "one source", d.count(2, here, "a", rightSecret), "map[200:2]")
		want(t, "and another", d.count(2, there, "b", rightSecret), "map[200:1 429:1]")
	})
}

// What is refused by one limit is not counted against the others: a client that asks too much takes nothing from its organization.
func TestTheRefusedTakeNothingFromOthers(t *testing.T) {
	t.Parallel()
	l := wide()
	l.Client, l.Organization = Limit{60, 2}, Limit{60, 4}
	d := newDesk(t, l, nil)
	want(t, "a greedy client", d.count(50, here, "a", rightSecret), "map[200:2 429:48]")
	want(t, "its neighbour", d.count(2, here, "b", rightSecret), "map[200:2]")
}

func TestFields(t *testing.T) {
	t.Parallel()
	l := wide()
	l.Client = Limit{30, 3}
	d := newDesk(t, l, nil)
	for n, w := range []struct{ limit, retry string }{
		{`"client";r=2;t=2`, ""}, {`"client";r=1;t=4`, ""}, {`"client";r=0;t=6`, ""}, {`"client";r=0;t=2`, "2"},
	} {
		r := d.ask(here, "a", rightSecret)
		if got := r.Header.Get("RateLimit"); got != w.limit || r.Header.Get("RateLimit-Policy") != `"client";q=3;w=6` || r.Header.Get("Retry-After") != w.retry {
			t.Errorf("request %d: RateLimit %s, %v", n, got, r.Header)
		}
	}
	r := d.ask(here, "a", rightSecret)
	var body struct{ Error, Error_description string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.StatusCode != 429 || body.Error != "temporarily_unavailable" || body.Error_description == "" {
		t.Errorf("%d %+v, %v", r.StatusCode, body, err)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", r.Header)
	}
	if n := testutil.ToFloat64(d.refused.WithLabelValues(PolicyClient)); n != 2 {
		t.Errorf("%v counted as refused", n)
	}
}

// Guessing at a client's secret bars the source for that client. The client itself, from anywhere else, never notices; nor does another client from that source.
func TestGuessingLocksNobodyOut(t *testing.T) {
	t.Parallel()
	l := wide()
	l.FailuresOfClient = Limit{6, 10}
	d := newDesk(t, l, nil)
	want(t, "guesses", d.count(1000, here, "victim", "wrong"), "map[401:10 429:990]")
	if d.checked != 10 {
		t.Errorf("%d secrets were looked at", d.checked)
	}
	want(t, "the right one from the same source", d.count(1, here, "victim", rightSecret), "map[429:1]")
	want(t, "the owner", d.count(100, there, "victim", rightSecret), "map[200:100]")
	want(t, "another client of the source", d.count(3, here, "neighbour", rightSecret), "map[200:3]")
	d.advance(10 * time.Second)
	want(t, "later", d.count(2, here, "victim", "wrong"), "map[401:1 429:1]")
	d.advance(10 * time.Second)
	want(t, "the right one, later", d.count(1, here, "victim", rightSecret), "map[200:1]")
	if r := d.ask("203.0.113.5:1", "victim", "wrong"); r.StatusCode != 401 {
		t.Errorf("the first wrong one from elsewhere: %d", r.StatusCode)
	}
}

// Guessing at many clients bars the source for all.
func TestGuessingAtManyClients(t *testing.T) {
	t.Parallel()
	l := wide()
	l.FailuresOfSource = Limit{60, 20}
	d := newDesk(t, l, nil)
	got := map[int]int{}
	for n := range 50 {
		got[d.ask(here, "client-"+strconv.Itoa(n), "wrong").StatusCode]++
	}
	want(t, "guesses", got, "map[401:20 429:30]")
	want(t, "the source", d.count(1, here, "a", rightSecret), "map[429:1]")
	want(t, "another source", d.count(1, there, "a", rightSecret), "map[200:1]")
}

// When many sources guess together, each gets one try. Sources that do not guess are served.
func TestGuessingFromManySources(t *testing.T) {
	t.Parallel()
	l := wide()
	l.FailuresOfInstance = Limit{60, 30}
	d := newDesk(t, l, nil)
	guess := func(n int) int {
		return d.ask("[2001:db8:0:"+strconv.FormatInt(int64(n), 16)+"::1]:1", "victim", "wrong").StatusCode
	}
	got := map[int]int{}
	for n := range 30 {
		got[guess(n)]++
	}
	want(t, "the first guesses", got, "map[401:30]")
	got = map[int]int{}
	for n := range 30 {
		got[guess(n)]++
	}
	want(t, "the same sources again", got, "map[429:30]")
	want(t, "a source that has not guessed", d.count(1, "[2001:db8:0:ffff::1]:1", "victim", "wrong"), "map[401:1]")
	want(t, "the owner", d.count(10, there, "victim", rightSecret), "map[200:10]")
	d.advance(2 * suspectFor)
	want(t, "later", d.count(1, "[2001:db8:0:1::1]:1", "victim", rightSecret), "map[200:1]")
}

// Names of clients are chosen by strangers: their length and form change nothing.
func TestClaimedNamesAreHashed(t *testing.T) {
	t.Parallel()
	q := &request{source: "192.0.2.1"}
	seen := map[string]bool{}
	for _, name := range []string{"", "a", "a@192.0.2.1", strings.Repeat("x", 1<<16), "\x00", "é"} {
		q.client = name
		if k := q.attempt(); len(k) > 40 || seen[k] {
			t.Errorf("%.10q: %q", name, k)
		} else {
			seen[k] = true
		}
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	for in, out := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8:0:0:9::": "2001:db8::/64",
		"fe80::1%eth0": "fe80::/64", "": "unknown", "@": "unknown",
	} {
		if got := sourceOf(in); got != out {
			t.Errorf("%q: %q, want %q", in, got, out)
		}
	}
}

// A route that is not protected is not limited, and nothing fails for it.
func TestOutsideOfProtect(t *testing.T) {
	t.Parallel()
	d := newDesk(t, wide(), nil)
	if err := d.Admit(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	d.Failed(t.Context(), "a")
	if err := d.Authenticated(t.Context(), "a", d.org); err != nil {
		t.Error(err)
	}
}

// A client of no organization has its own limit and nobody else's, and what it is called takes no more room than an id.
func TestClientOfNoOrganization(t *testing.T) {
	t.Parallel()
	d := newDesk(t, Limits{Client: Limit{60, 2}, Source: Limit{600, 100}, Organization: Limit{60, 1}, Instance: Limit{600, 100}, FailuresOfClient: Limit{60, 100}, FailuresOfSource: Limit{60, 100}, FailuresOfInstance: Limit{60, 100}},
		given{{}: {Client: Limit{60, 1}}})
	d.org = agentid.Organization{}
	long := strings.Repeat("a", 400) // no colon: the desk reads Basic
	for n, want := range []int{200, 200, 429} {
		if got := d.ask("10.0.0.1", long, rightSecret).StatusCode; got != want {
			t.Errorf("request %d: %d, want %d", n, got, want)
		}
	}
	if got := d.ask("10.0.0.1", long+"b", rightSecret).StatusCode; got != 200 {
		t.Errorf("another client: %d", got)
	}
	id := agentid.New[agentid.Agent]().String()
	if short(id) != id || len(short(long)) > len(id) || short(long) == short(long+"b") {
		t.Errorf("%q, %q", short(id), short(long))
	}
}
