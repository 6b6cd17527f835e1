package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/smallfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer = "https://issuer.example/org/a"
	testURL    = "https://issuer.example/keys"
)

// bundle is what a test of a feed needs: a store with one issuer, a source it can turn any way, a disk, and the log.
type bundle struct {
	*Env
	source *source
	disk   *LastGood
	log    *logBuffer
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	disk, err := OpenLastGood(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{source: &source{}, disk: disk, log: &logBuffer{}}
	b.Env = b.env()
	return b
}

// env is a sidecar that has just started: an empty store.
func (b *bundle) env() *Env {
	return &Env{
		Store:   state.NewStore(&state.Snapshot{Issuers: map[string]*state.Issuer{testIssuer: {}, "other": {OrganizationID: "untouched"}}}),
		Log:     slog.New(slog.NewJSONHandler(b.log, nil)),
		Now:     time.Now, // the bubble's in synctest
		Metrics: NewMetrics(prometheus.NewRegistry()),
	}
}

func (b *bundle) issuer() *state.Issuer { return b.Store.Load().Issuers[testIssuer] }

// run starts a feed in a synctest bubble, and ends it with the test.
func run(t *testing.T, f Feed) {
	t.Helper()
	if err := f.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	synctest.Wait()
}

// wait lets d pass in the bubble and everything settle.
func wait(d time.Duration) {
	time.Sleep(d) // in the bubble: no real time passes
	synctest.Wait()
}

// source is a Getter that answers what the test says, and counts.
type source struct {
	sync.Mutex
	doc   *fetch.Document
	err   error
	reads []time.Time
	etags []string
}

func (s *source) set(body, etag string) {
	s.Lock()
	defer s.Unlock()
	s.doc, s.err = &fetch.Document{Body: []byte(body), ETag: etag}, nil
}

func (s *source) fail(err error) {
	s.Lock()
	defer s.Unlock()
	s.err = err
}

func (s *source) maxAge(d time.Duration) {
	s.Lock()
	defer s.Unlock()
	s.doc.MaxAge = d
}

// etag is what the last read asked with.
func (s *source) etag() string {
	s.Lock()
	defer s.Unlock()
	return s.etags[len(s.etags)-1]
}

func (s *source) count() int {
	s.Lock()
	defer s.Unlock()
	return len(s.reads)
}

// Get answers 304 to the ETag of the document, as a server does.
func (s *source) Get(_ context.Context, _, etag string) (*fetch.Document, error) {
	s.Lock()
	defer s.Unlock()
	s.reads = append(s.reads, time.Now())
	s.etags = append(s.etags, etag)
	switch {
	case s.err != nil:
		return nil, s.err
	case s.doc == nil:
		return nil, errors.New("answered 404, want 200")
	case etag != "" && etag == s.doc.ETag:
		return &fetch.Document{NotModified: true, ETag: etag, MaxAge: s.doc.MaxAge}, nil
	}
	doc := *s.doc
	return &doc, nil
}

type logBuffer struct {
	sync.Mutex
	lines []string
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// count of the lines that hold all of the words.
func (l *logBuffer) count(words ...string) int {
	l.Lock()
	defer l.Unlock()
	n := 0
	for _, line := range l.lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// keySet makes a JWKS with n fresh keys and returns their ids.
func keySet(t *testing.T, n int) (doc string, ids []string) {
	t.Helper()
	var jwks []json.RawMessage
	for range n {
		k, err := jose.GenerateSigningKey(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		jwks, ids = append(jwks, k.PublicJWK()), append(ids, k.ID())
	}
	return string(jose.MarshalKeySet(jwks)), ids
}

func hasKey(i *state.Issuer, id string) bool {
	if i.Keys == nil {
		return false
	}
	_, ok := i.Keys.Lookup(id)
	return ok
}

func failing(e *Env, feed, issuer string) float64 {
	return testutil.ToFloat64(e.Metrics.failing.WithLabelValues(feed, issuer))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeyFileFollowsTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	first, firstIDs := keySet(t, 1)
	second, secondIDs := keySet(t, 2)
	writeFile(t, path, first)
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		run(t, NewKeyFile(b.Env, testIssuer, path))
		if !hasKey(b.issuer(), firstIDs[0]) || !b.issuer().KeysUntil.IsZero() {
			t.Fatal("the file's key is not in force for good")
		}
		epoch := b.Store.Load().Epoch
		wait(10 * keyFilePoll)
		if got := b.Store.Load().Epoch; got != epoch {
			t.Errorf("epoch moved from %d to %d though nothing changed", epoch, got)
		}
		writeFile(t, path, second)
		wait(2 * keyFilePoll)
		if !hasKey(b.issuer(), secondIDs[1]) || hasKey(b.issuer(), firstIDs[0]) {
			t.Error("the edit is not in force")
		}
		if b.Store.Load().Issuers["other"].OrganizationID != "untouched" {
			t.Error("another issuer was touched")
		}
	})
}

func TestKeyFileKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	good, ids := keySet(t, 1)
	for name, broken := range map[string]string{
		"not JSON":      "{",
		"empty file":    "",
		"empty set":     `{"keys":[]}`,
		"only bad keys": `{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}`,
		"too large":     strings.Repeat(" ", keyFileBytesMax+1),
		"deleted":       "-",
		"a pipe":        "|",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			writeFile(t, path, good)
			synctest.Test(t, func(t *testing.T) {
				b := newBundle(t)
				run(t, NewKeyFile(b.Env, testIssuer, path))
				switch name {
				case "deleted", "a pipe":
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if name == "deleted" {
						break
					}
					if err := syscall.Mkfifo(path, 0o600); err != nil {
						t.Fatal(err)
					}
				default:
					writeFile(t, path, broken)
				}
				wait(time.Minute)
				if !hasKey(b.issuer(), ids[0]) {
					t.Error("the good keys are gone")
				}
				if n := b.log.count(`"level":"ERROR"`, path); n != 1 {
					t.Errorf("the problem is logged %d times in a minute, want once, naming the file\n%s", n, b.log.lines)
				}
				if failing(b.Env, "keys", testIssuer) != 1 {
					t.Error("the metric does not say that the source fails")
				}
				if err := os.Remove(path); err != nil && name != "deleted" {
					t.Fatal(err)
				}
				writeFile(t, path, good)
				wait(2 * keyFilePoll)
				if failing(b.Env, "keys", testIssuer) != 0 || b.log.count("well again") != 1 {
					t.Error("the recovery goes unnoticed")
				}
			})
		})
	}
}

// hanging is a file system that sometimes does not answer.
type hanging struct {
	mu   sync.RWMutex
	back chan struct{}
}

func (h *hanging) answer() {
	h.mu.RLock()
	back := h.back
	h.mu.RUnlock()
	if back != nil {
		<-back
	}
}

// hang lets nothing be answered until comeBack is called, once or more.
func (h *hanging) hang() (comeBack func()) {
	back := make(chan struct{})
	h.set(back)
	return sync.OnceFunc(func() { h.set(nil); close(back) })
}

func (h *hanging) set(back chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.back = back
}

// TestKeyFileOnAFileSystemThatHangs: keys that cannot be read any more stay, somebody is told, and what came meanwhile counts as soon as it can be read.
func TestKeyFileOnAFileSystemThatHangs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	first, firstIDs := keySet(t, 1)
	second, secondIDs := keySet(t, 1)
	writeFile(t, path, first)
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		f := NewKeyFile(b.Env, testIssuer, path)
		var system hanging
		f.file = smallfile.Follow(path, func() ([]byte, error) {
			doc, err := ReadKeyFile(path)
			system.answer()
			return doc, err
		})
		run(t, f)
		comeBack := system.hang()
		defer comeBack()
		wait(time.Minute)
		if !hasKey(b.issuer(), firstIDs[0]) || failing(b.Env, "keys", testIssuer) != 1 {
			t.Errorf("failing %v", failing(b.Env, "keys", testIssuer))
		}
		if n := b.log.count(`"level":"ERROR"`, path+": the file system does not answer"); n != 1 {
			t.Errorf("logged %d times in a minute: %s", n, b.log.lines)
		}
		writeFile(t, path, second)
		comeBack()
		wait(2 * keyFilePoll)
		if !hasKey(b.issuer(), secondIDs[0]) || hasKey(b.issuer(), firstIDs[0]) || failing(b.Env, "keys", testIssuer) != 0 {
			t.Error("what the file holds now is not in force")
		}
	})
}

func TestKeyFileMustBeGoodAtFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "bad.json"), `{"keys":[]}`)
	for _, name := range []string{"bad.json", "none.json"} {
		b := newBundle(t)
		err := NewKeyFile(b.Env, testIssuer, filepath.Join(dir, name)).Load(t.Context())
		if err == nil || !strings.Contains(err.Error(), name) || b.issuer().Keys != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeyFileNamesKeysLeftOut(t *testing.T) {
	t.Parallel()
	good, ids := keySet(t, 1)
	path := filepath.Join(t.TempDir(), "keys.json")
	writeFile(t, path, strings.Replace(good, `[`, `[{"kty":"oct","kid":"sym-1","k":"c2VjcmV0"},`, 1))
	b := newBundle(t)
	if err := NewKeyFile(b.Env, testIssuer, path).Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !hasKey(b.issuer(), ids[0]) || b.log.count("key left out", "sym-1", fmt.Sprintf("%q:%q", "issuer", testIssuer)) != 1 {
		t.Errorf("log: %s", b.log.lines)
	}
}

// TestHealthSaysWhatIsInForce: an operator must see whether requests are served by old contents or by none, and how old they are.
func TestHealthSaysWhatIsInForce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const none, kept = "source cannot be used, and nothing of it is in force yet", "source cannot be used, the last good contents stay in force"
		b := newBundle(t)
		started := time.Now()
		b.source.fail(errors.New("unreachable"))
		f := newKeyURL(b)
		f.refresh(t.Context())
		if b.log.count(none) != 1 || b.log.count(kept) != 0 || b.log.count("last_success") != 0 || testutil.CollectAndCount(b.Metrics.lastSuccess) != 0 {
			t.Errorf("never loaded: %v", b.log.lines)
		}
		doc, _ := keySet(t, 1)
		b.source.set(doc, `"1"`)
		wait(time.Hour)
		f.refresh(t.Context())
		good := time.Now()
		b.source.fail(errors.New("gone"))
		wait(time.Hour)
		f.refresh(t.Context())
		if b.log.count(kept, "gone", `"last_success":"`+good.UTC().Format(time.RFC3339)) != 1 || good.Equal(started) {
			t.Errorf("loaded, then gone: %v", b.log.lines)
		}

		b.Env = b.env()
		b.log.lines = nil
		again := newKeyURL(b)
		if err := again.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		again.refresh(t.Context())
		if b.log.count(kept, `"last_success":"`+good.UTC().Format(time.RFC3339)) != 1 {
			t.Errorf("from disk: %v", b.log.lines)
		}
	})
}
