package spiffe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

func TestParseID(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"spiffe://example.org/a", "spiffe://td_1.example-2/ns/a.b/sa/C-d_9"} {
		if id, err := spiffe.ParseID(text); err != nil || id.String() != text {
			t.Errorf("%s: %v, %v", text, id, err)
		}
	}
	for _, text := range []string{
		"", "spiffe://", "spiffe://example.org", "spiffe://example.org/", "spiffe:///a", "https://example.org/a", "SPIFFE://example.org/a", "spiffe://Example.org/a",
		"spiffe://example.org:8443/a", "spiffe://user@example.org/a", "spiffe://example.org/a/", "spiffe://example.org//a", "spiffe://example.org/./a", "spiffe://example.org/a/..",
		"spiffe://example.org/a?b", "spiffe://example.org/a#b", "spiffe://example.org/%61", "spiffe://example.org/ä", "spiffe://example.org/" + strings.Repeat("a", 2048),
		"spiffe://" + strings.Repeat("a", 256) + "/a",
	} {
		if id, err := spiffe.ParseID(text); err == nil {
			t.Errorf("%q is read as %v", text, id)
		}
	}
}

func bundle(t *testing.T) []byte {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(key.PublicJWK(), &jwk); err != nil {
		t.Fatal(err)
	}
	jwk["use"] = "jwt-svid"
	text, err := json.Marshal(map[string]any{"keys": []any{jwk}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A file is followed: a new bundle is used without a restart, and what is no bundle leaves the last good one.
func TestFileIsFollowed(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "bundle.json")
	write := func(text []byte) {
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	write(bundle(t))
	var log bytes.Buffer
	b, err := spiffe.Open([]spiffe.Source{{TrustDomain: "example.org", File: name}}, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.Keys("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if !b.Serves("example.org") || b.Serves("example.com") {
		t.Error("it serves what it should not, or not what it should")
	}
	if _, err := b.Keys("example.com"); err == nil || errors.Is(err, spiffe.ErrNoBundle) {
		t.Errorf("a domain nobody trusts: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	write(bundle(t))
	go func() { done <- b.Run(ctx) }()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if now, err := b.Keys("example.org"); err == nil && now != first {
			break
		}
		if time.Since(begun) > 30*time.Second {
			t.Fatal("the new bundle is not used")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A named pipe where the bundle was is refused, not waited for: the last good one stays, and the next file counts.
func TestPipeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "bundle.json")
	put := func(make func() error) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(name), make()); err != nil {
			t.Fatal(err)
		}
	}
	file := func() error { return os.WriteFile(name, bundle(t), 0o600) }
	put(file)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b, err := spiffe.Open([]spiffe.Source{{TrustDomain: "example.org", File: name}}, time.Now, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		first, _ := b.Keys("example.org")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		put(func() error { return syscall.Mkfifo(name, 0o600) })
		go func() { done <- b.Run(ctx) }()
		time.Sleep(time.Minute)
		if now, err := b.Keys("example.org"); err != nil || now != first {
			t.Errorf("the last good one does not stay: %v", err)
		}
		put(file)
		time.Sleep(time.Minute)
		if now, err := b.Keys("example.org"); err != nil || now == first {
			t.Errorf("the new bundle is not used: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if said := log.String(); strings.Count(said, "is not a regular file") != 1 {
			t.Errorf("said: %s", said)
		}
	})
}

func TestOpenRefusesWhatIsNoBundle(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "no keys": `{"keys":[]}`, "keys of no use": `{"keys":[{"kty":"EC","use":"sig"}]}`, "not a certificate": `{"keys":[{"kty":"EC","use":"x509-svid","x5c":["AAAA"]}]}`,
	} {
		file := filepath.Join(t.TempDir(), "bundle.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := spiffe.Open([]spiffe.Source{{TrustDomain: "example.org", File: file}}, time.Now, slog.Default()); err == nil || !strings.Contains(err.Error(), "example.org") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := spiffe.Open([]spiffe.Source{{TrustDomain: "example.org", File: "no such file"}}, time.Now, slog.Default()); err == nil {
		t.Error("no file")
	}
}

// Until the first answer of a URL nobody of the domain can be judged, which is neither yes nor no.
func TestBundleThatIsNotThereYet(t *testing.T) {
	t.Parallel()
	b, err := spiffe.Open([]spiffe.Source{{TrustDomain: "example.org", URL: "https://localhost:1/"}}, time.Now, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Keys("example.org"); !errors.Is(err, spiffe.ErrNoBundle) {
		t.Errorf("%v", err)
	}
	if err := b.Verify(spiffe.ID{TrustDomain: "example.org", Path: "/a"}, nil); !errors.Is(err, spiffe.ErrNoBundle) {
		t.Errorf("%v", err)
	}
	if (*spiffe.Bundles)(nil).Serves("example.org") {
		t.Error("without trust domains one is served")
	}
}
