package feed

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
)

// Advisories about where keys and lists come from. The name of a subtest is the id; docs/security-edge.md has the whole list.

// keysFrom is a feed of keys from a real server, by the client that is used for it.
func keysFrom(t *testing.T, b *bundle, h http.Handler) *KeyURL {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := fetch.New(fetch.Config{CAFile: ca, AllowPrivate: true, ContentTypes: []string{"application/json", "application/jwk-set+json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return NewKeyURL(b.Env, testIssuer, s.URL+"/keys", c, b.disk, testStale)
}

// once runs a feed until its first read was judged: the metrics and the log say so.
func once(t *testing.T, b *bundle, f *KeyURL) {
	t.Helper()
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for b.issuer().Keys == nil && b.log.count(`"feed":"keys"`) == 0 && ctx.Err() == nil {
		<-tick.C
	}
	if ctx.Err() != nil {
		t.Error("nothing was read")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAdvisoriesOfKeySources(t *testing.T) {
	t.Parallel()
	// Fulcio: who follows a redirect takes the keys of whoever can cause one.
	t.Run("CVE-2026-49478", func(t *testing.T) {
		t.Parallel()
		foreign, ids := keySet(t, 1)
		for _, status := range []int{0, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			b := newBundle(t)
			f := keysFrom(t, b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/keys" && status != 0 {
					http.Redirect(w, r, "/elsewhere", status)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(foreign))
			}))
			once(t, b, f)
			if got, want := hasKey(b.issuer(), ids[0]), status == 0; got != want || !want && b.issuer().Keys != nil {
				t.Errorf("%d brought keys: %v, want %v", status, got, want)
			}
		}
	})
	// Istio, PR 61230: what an inner address answered could be read in the error.
	t.Run("CVE-2026-41413", func(t *testing.T) {
		t.Parallel()
		const canary = "canary-3f9a"
		for _, contentType := range []string{"application/json", "text/html", "text/plain", ""} {
			for _, body := range []string{canary, `{"secret":"` + canary + `"}`, `{"keys":"` + canary + `"}`, `{"keys":[{"kty":"` + canary + `"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"` + canary + `","y":"b"}],"` + canary + `":1}`} {
				b := newBundle(t)
				f := keysFrom(t, b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", contentType)
					_, _ = w.Write([]byte(body))
				}))
				once(t, b, f)
				if b.log.count(canary) > 0 {
					t.Errorf("%s: the log repeats it", body)
				}
				if b.Store.Ready() == nil {
					t.Errorf("%s: ready without keys", body)
				}
			}
		}
	})
	// Istio, PR 59369: a key that everybody knows stood in for those that could not be fetched.
	t.Run("istio PR 59369", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			run(t, newKeyURL(b)) // nothing answers
			wait(time.Hour)
			if b.issuer().Keys != nil || b.Store.Ready() == nil {
				t.Errorf("without a source there are keys: %+v", b.issuer())
			}
		})
	})
}

// Failures of sources that Istio's users met: what it did wrong is in the issues of these numbers.
func TestIssuesOfKeySources(t *testing.T) {
	t.Parallel()
	good, ids := keySet(t, 1)
	t.Run("istio issue 17541", func(t *testing.T) { // a first failure was forever
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			run(t, newKeyURL(b))
			b.source.set(good, `"1"`)
			wait(2 * time.Minute)
			if !hasKey(b.issuer(), ids[0]) {
				t.Error("the source is well for two minutes, and its keys are not there")
			}
		})
	})
	t.Run("istio issue 58101", func(t *testing.T) { // good keys were dropped for an error
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			b.source.set(good, `"1"`)
			run(t, newKeyURL(b))
			b.source.fail(os.ErrDeadlineExceeded)
			wait(12 * time.Hour)
			if !hasKey(b.issuer(), ids[0]) {
				t.Error("the keys went with the connection")
			}
		})
	})
	t.Run("istio issue 51636", func(t *testing.T) { // one bad address kept the others from being read
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			bad := &source{}
			run(t, NewKeyURL(b.Env, "other", testURL, bad, b.disk, testStale))
			b.source.set(good, `"1"`)
			run(t, newKeyURL(b))
			if !hasKey(b.issuer(), ids[0]) {
				t.Error("a bad source keeps a good one from being read")
			}
		})
	})
	t.Run("istio issue 51489", func(t *testing.T) { // one bad key ended the process
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			b.source.set(strings.Replace(good, `{"keys":[`, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"short","x":"AA"},{"kty":"EC","crv":"P-256","kid":"long","x":"`+strings.Repeat("A", 90)+`","y":"AA"},`, 1), `"1"`)
			run(t, newKeyURL(b))
			if !hasKey(b.issuer(), ids[0]) || hasKey(b.issuer(), "short") || hasKey(b.issuer(), "long") {
				t.Errorf("keys beside a bad one: %+v", b.issuer().Keys)
			}
		})
	})
	t.Run("istio issue 61086", func(t *testing.T) { // an empty set replaced good keys
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBundle(t)
			b.source.set(good, `"1"`)
			run(t, newKeyURL(b))
			b.source.set("", "")
			wait(6 * time.Hour)
			if !hasKey(b.issuer(), ids[0]) {
				t.Error("nothing replaced the keys")
			}
		})
	})
}
