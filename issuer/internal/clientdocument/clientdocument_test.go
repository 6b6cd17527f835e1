package clientdocument

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// host serves documents over TLS and counts what reaches it.
type host struct {
	*httptest.Server
	ca      string
	fetches atomic.Int64

	mu     sync.Mutex
	answer http.HandlerFunc
}

func newHost(t *testing.T, answer http.HandlerFunc) *host {
	t.Helper()
	h := &host{answer: answer, ca: filepath.Join(t.TempDir(), "ca.pem")}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		h.mu.Lock()
		answer := h.answer
		h.mu.Unlock()
		answer(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	if err := os.WriteFile(h.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) set(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

func (h *host) name() string { return strings.TrimPrefix(h.URL, "https://") }

// document is a good one about its own URL, with more members and headers when given.
func (h *host) document(more string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		if tag := w.Header().Get("ETag"); tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, `{"client_id":%q,"client_name":"Notes","redirect_uris":["https://notes.example/cb"]%s}`, h.URL+r.URL.Path, more)
	}
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func documents(t *testing.T, h *host, change ...func(*Config)) (*Documents, *clock) {
	t.Helper()
	c := &clock{at: time.Unix(1_800_000_000, 0)}
	cfg := Config{Hosts: []string{h.name()}, CAFile: h.ca, AllowPrivate: true, Log: slog.New(slog.DiscardHandler), Now: c.now}
	for _, f := range change {
		f(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d, c
}

func TestResolve(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.set(h.document(`,"application_type":"native","scope":"openid notes:read root"`))
	d, c := documents(t, h, func(c *Config) {
		c.Scopes, c.Audiences = []string{"notes:read", "notes:write"}, []string{"svc://notes"}
	})
	id := h.URL + "/clients/notes"
	got, err := d.Resolve(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	want := Client{Client: clients.Client{
		Document: id, Name: "Notes", Type: clients.Native, Authentication: credentials.None, RedirectURIs: []string{"https://notes.example/cb"},
		Scopes: []string{"notes:read"}, Audiences: []string{"svc://notes"},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(agentid.Client{}, agentid.Organization{})); diff != "" {
		t.Error(diff)
	}
	c.pass(freshMin)
	h.set(h.document(`,"grant_types":["authorization_code","refresh_token"],"require_pushed_authorization_requests":true,"dpop_bound_access_tokens":true,
		"tls_client_certificate_bound_access_tokens":true`))
	want.Type, want.Scopes, want.RefreshTokens, want.RequirePushed, want.RequireDPoP, want.RequireCertificate = clients.Web, []string{"notes:read", "notes:write"}, true, true, true, true
	if got, err = d.Resolve(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(agentid.Client{}, agentid.Organization{})); diff != "" {
		t.Error(diff)
	}
}

// The keys of a document are what keys in a registration may be, and are fetched from the allowed hosts alone, with all other fetches.
func TestKeys(t *testing.T) {
	t.Parallel()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	set := string(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()}))
	h := newHost(t, nil)
	d, _ := documents(t, h)
	serve := func(more string) {
		good := h.document(`,"token_endpoint_auth_method":"private_key_jwt"` + more)
		h.set(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				w.Header().Set("Content-Type", "application/jwk-set+json")
				_, _ = io.WriteString(w, set)
				return
			}
			good(w, r)
		})
	}
	serve(`,"jwks":` + set)
	got, err := d.Resolve(t.Context(), h.URL+"/inline")
	if err != nil || got.Authentication != credentials.PrivateKeyJWT || string(got.Registration.Keys) == "" || len(got.Registration.Algorithms) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	serve(`,"jwks_uri":"` + h.URL + `/keys"`)
	if got, err = d.Resolve(t.Context(), h.URL+"/by-url"); err != nil || got.Registration.KeysURL != h.URL+"/keys" {
		t.Errorf("%+v, %v", got, err)
	}
	for range fetchesMax {
		d.slots.take()
	}
	if _, err := d.Keys(t.Context(), h.URL+"/keys?other", ""); !errors.Is(err, ErrBusy) {
		t.Errorf("with no slot left: %v", err)
	}
	d.slots.give()
	keys, err := d.Keys(t.Context(), got.Registration.KeysURL, key.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := keys.Lookup(key.ID()); !ok {
		t.Error("the key is gone")
	}
	fetches := h.fetches.Load()
	for _, elsewhere := range []string{"https://localhost" + strings.TrimPrefix(h.URL, "https://127.0.0.1") + "/keys", "http://" + h.name() + "/keys", "%"} {
		if _, err := d.Keys(t.Context(), elsewhere, ""); err == nil {
			t.Errorf("%s was asked", elsewhere)
		}
	}
	for name, more := range map[string]string{
		"elsewhere": `,"jwks_uri":"https://keys.example/keys"`, "no https": `,"jwks_uri":"http://` + h.name() + `/keys"`,
		"an RSA key that is for RS256": `,"jwks":{"keys":[{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("u", 342) + `"}]}`,
	} {
		serve(more)
		if got, err := d.Resolve(t.Context(), h.URL+"/"+url.PathEscape(strings.ReplaceAll(name, " ", "-"))); !errors.Is(err, ErrUnknown) || got.Document != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if n := h.fetches.Load() - fetches; n != 3 {
		t.Errorf("%d fetches, want the three documents", n)
	}
}

// A document counts as long as it says, and afterwards as long as its host says that it is the same.
func TestFreshness(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.set(h.document("", "Cache-Control", "max-age=120", "ETag", `"1"`))
	d, c := documents(t, h)
	id := h.URL + "/a"
	resolve := func(want string, fetches int64) {
		t.Helper()
		got, err := d.Resolve(t.Context(), id)
		if err != nil || got.RedirectURIs[0] != want || h.fetches.Load() != fetches {
			t.Fatalf("%v, %v after %d fetches; want %s after %d", got.RedirectURIs, err, h.fetches.Load(), want, fetches)
		}
	}
	const first = "https://notes.example/cb"
	resolve(first, 1)
	c.pass(119 * time.Second)
	resolve(first, 1)
	c.pass(time.Second)
	resolve(first, 2) // 304
	c.pass(119 * time.Second)
	resolve(first, 2)
	c.pass(time.Second)
	h.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"client_id":%q,"redirect_uris":["https://notes.example/new"]}`, h.URL+r.URL.Path)
	})
	resolve("https://notes.example/new", 3)
	c.pass(freshMin - 1)
	resolve("https://notes.example/new", 3) // without max-age
	c.pass(1)
	h.set(http.NotFound)
	if got, err := d.Resolve(t.Context(), id); !errors.Is(err, ErrUnknown) || got.Document != "" {
		t.Errorf("a client whose document is gone: %+v, %v", got, err)
	}
	c.pass(refusedFor)
	h.set(h.document("", "Cache-Control", "max-age=999999999"))
	resolve(first, 5)
	c.pass(freshMax)
	resolve(first, 6)
}

// Whatever is wrong with a document, its client does not exist, and for a while nobody asks again.
func TestRefusedDocuments(t *testing.T) {
	t.Parallel()
	body := func(text string) func(*host) http.HandlerFunc {
		return func(*host) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, text)
			}
		}
	}
	more := func(text string, header ...string) func(*host) http.HandlerFunc {
		return func(h *host) http.HandlerFunc { return h.document(text, header...) }
	}
	for name, answer := range map[string]func(*host) http.HandlerFunc{
		"client_id twice":           more(`,"client_id":"https://other.example/a"`),
		"no client_id":              body(`{"redirect_uris":["https://notes.example/cb"]}`),
		"client_id but for a slash": body(`{"client_id":"/a","redirect_uris":["https://notes.example/cb"]}`),
		"a secret":                  more(`,"client_secret":"s"`),
		"an expiry of a secret":     more(`,"client_secret_expires_at":0`),
		"authentication by secret":  more(`,"token_endpoint_auth_method":"client_secret_basic"`),
		"private_key_jwt, no keys":  more(`,"token_endpoint_auth_method":"private_key_jwt"`),
		"another grant":             more(`,"grant_types":["client_credentials"],"response_types":[]`),
		"another content type":      more(`,"x":1`, "Content-Type", "text/html"),
		"not an object":             body(`[]`),
		"not JSON":                  body(`client_id`),
		"two documents":             body(`{}{}`),
		"too long":                  more(`,"x":"` + strings.Repeat("x", documentBytesMax) + `"`),
		"no redirect_uris":          body(`{"client_id":"x"}`),
		"gone":                      func(*host) http.HandlerFunc { return http.NotFound },
		"a redirect": func(h *host) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/a" {
					http.Redirect(w, r, "/b", http.StatusFound)
					return
				}
				t.Error("the redirect was followed")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			h.set(answer(h))
			d, c := documents(t, h)
			for range 3 {
				if got, err := d.Resolve(t.Context(), h.URL+"/a"); !errors.Is(err, ErrUnknown) || got.Document != "" {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			if n := h.fetches.Load(); n != 1 {
				t.Errorf("%d fetches for three questions", n)
			}
			c.pass(refusedFor)
			h.set(h.document(""))
			if _, err := d.Resolve(t.Context(), h.URL+"/a"); err != nil {
				t.Errorf("mended: %v", err)
			}
		})
	}
}

// Nothing is fetched for an id that could be read in two ways, or is on a host nobody named.
func TestRefusedIDs(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.set(h.document(""))
	d, _ := documents(t, h)
	for _, id := range []string{
		"", "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", "http://" + h.name() + "/a", h.URL, h.URL + "/", h.URL + "/a#f", h.URL + "/a?b=c", h.URL + "/a?",
		h.URL + "/./a", h.URL + "/a/../b", h.URL + "/%2e%2e/b", h.URL + "/a/%2E", "https://user@" + h.name() + "/a", "https:" + h.name() + "/a", "https:///a",
		"HTTPS://" + h.name() + "/a", h.URL + "/a b", h.URL + `\a`, "https://localhost/a", "https://apps.example/a", h.URL + "./a", h.URL + "/" + strings.Repeat("a", clientIDBytesMax),
	} {
		if got, err := d.Resolve(t.Context(), id); !errors.Is(err, ErrUnknown) || got.Document != "" {
			t.Errorf("%q: %+v, %v", id, got, err)
		}
	}
	if n := h.fetches.Load(); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

// With every host allowed, this machine and its network are still not among them.
func TestPrivateAddressesAreNeverReached(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.set(h.document(""))
	d, _ := documents(t, h, func(c *Config) { c.Hosts, c.AllowPrivate = []string{AnyHost}, false })
	_, port, _ := strings.Cut(h.name(), ":")
	for _, name := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "169.254.169.254", "10.0.0.1", "[fd00:ec2::254]"} {
		if got, err := d.Resolve(t.Context(), "https://"+name+":"+port+"/a"); !errors.Is(err, ErrUnknown) || got.Document != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if n := h.fetches.Load(); n != 0 {
		t.Errorf("this machine was reached %d times", n)
	}
}

// All who ask at once share one fetch, also when the first of them goes away.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	good := h.document("")
	h.set(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		good(w, r)
	})
	d, _ := documents(t, h)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := d.Resolve(ctx, h.URL+"/a")
		gone <- err
	}()
	<-arrived
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := d.Resolve(t.Context(), h.URL+"/a"); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	all.Wait()
	if n := h.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// More fetches than there may be are refused for now and remembered by nobody.
func TestTooManyFetches(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.set(h.document(""))
	d, _ := documents(t, h)
	for range fetchesMax {
		d.slots.take()
	}
	if _, err := d.Resolve(t.Context(), h.URL+"/a"); !errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	d.slots.give()
	if _, err := d.Resolve(t.Context(), h.URL+"/a"); err != nil {
		t.Error(err)
	}
}

// A reader that panics refuses one client and ends nothing.
func TestPanicIsARefusal(t *testing.T) {
	t.Parallel()
	c := newCache(time.Now)
	if _, err := c.get(t.Context(), "a", func(context.Context, string) (outcome, error) { panic("bug") }); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	r := newRecent(2)
	for _, id := range []string{"a", "b", "a", "c"} {
		if r.get(id) == nil {
			r.put(&entry{clientID: id})
		}
	}
	if r.get("a") == nil || r.get("b") != nil || r.get("c") == nil || len(r.byID) != 2 || r.order.Len() != 2 {
		t.Errorf("%v", r.byID)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg Config
		ok  bool
	}{
		"none":                   {Config{}, false},
		"named":                  {Config{Hosts: []string{"apps.example", "apps.example:8443"}}, true},
		"any":                    {Config{Hosts: []string{AnyHost}}, true},
		"any and private":        {Config{Hosts: []string{AnyHost}, AllowPrivate: true}, false},
		"any and another":        {Config{Hosts: []string{AnyHost, "a.example"}}, false},
		"a URL":                  {Config{Hosts: []string{"https://apps.example"}}, false},
		"with a path":            {Config{Hosts: []string{"apps.example/a"}}, false},
		"upper case":             {Config{Hosts: []string{"Apps.example"}}, false},
		"the default port":       {Config{Hosts: []string{"apps.example:443"}}, false},
		"empty":                  {Config{Hosts: []string{""}}, false},
		"with user information":  {Config{Hosts: []string{"u@apps.example"}}, false},
		"a scope with a space":   {Config{Hosts: []string{"apps.example"}, Scopes: []string{"a b"}}, false},
		"an empty audience":      {Config{Hosts: []string{"apps.example"}, Audiences: []string{""}}, false},
		"a CA that is not there": {Config{Hosts: []string{"apps.example"}, CAFile: "/nowhere"}, false},
	} {
		_, err := New(tt.cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
