package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
)

// transit answers as the transit engine's API is documented to, over real TLS. It is not Vault.
type transit struct {
	mu     sync.Mutex
	keys   []cipher.AEAD // by version
	token  string
	status int // of every answer, when not 0
	asked  int
}

func (f *transit) rotate(t *testing.T) {
	t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = append(f.keys, aead)
}

func (f *transit) set(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

func (f *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	var in struct {
		Plaintext  string `json:"plaintext"`
		Ciphertext string `json:"ciphertext"`
		Associated string `json:"associated_data"`
	}
	data := map[string]any{}
	status := f.status
	switch err := json.NewDecoder(r.Body).Decode(&in); {
	case status != 0:
	case r.Header.Get("X-Vault-Token") != f.token || r.Header.Get("X-Vault-Namespace") != "team":
		status = http.StatusForbidden
	case err != nil || r.Method != http.MethodPost:
		status = http.StatusBadRequest
	case r.URL.Path == "/v1/transit/encrypt/agentidp":
		nonce := make([]byte, 12)
		rand.Read(nonce)
		version := len(f.keys)
		sealed := f.keys[version-1].Seal(nonce, nonce, decoded(in.Plaintext), decoded(in.Associated))
		data = map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", version, base64.StdEncoding.EncodeToString(sealed)), "key_version": version}
	case r.URL.Path == "/v1/transit/decrypt/agentidp":
		var version int
		var text string
		if _, err := fmt.Sscanf(strings.ReplaceAll(in.Ciphertext, ":", " "), "vault v%d %s", &version, &text); err != nil || version < 1 || version > len(f.keys) || len(decoded(text)) < 12 {
			status = http.StatusBadRequest
			break
		}
		b := decoded(text)
		plaintext, err := f.keys[version-1].Open(nil, b[:12], b[12:], decoded(in.Associated))
		if err != nil {
			status = http.StatusBadRequest
			break
		}
		data = map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)}
	default:
		status = http.StatusNotFound
	}
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"errors":["canary: 1 error occurred"]}`))
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "x", "lease_id": "", "renewable": false, "data": data})
}

func decoded(s string) []byte {
	b, _ := base64.StdEncoding.DecodeString(s)
	return b
}

func newVault(t *testing.T) (*Vault, *transit) {
	t.Helper()
	fake := &transit{token: "hvs.canary"}
	fake.rotate(t)
	server := httptest.NewTLSServer(fake)
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := NewVault(VaultConfig{
		Address: server.URL, Mount: "transit", Key: "agentidp", Namespace: "team", Token: func() string { return "hvs.canary" }, CAFile: ca,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v, fake
}

// keysets is seal.Keysets in a map.
type keysets map[string]seal.WrappedKeyset

func (k keysets) Keyset(_ context.Context, scope string) (seal.WrappedKeyset, error) {
	if w, ok := k[scope]; ok {
		return w, nil
	}
	return seal.WrappedKeyset{}, seal.ErrNoKeyset
}

func (k keysets) CreateKeyset(_ context.Context, scope string, w seal.WrappedKeyset) error {
	k[scope] = w
	return nil
}

func (k keysets) ReplaceKeyset(_ context.Context, scope string, _, next seal.WrappedKeyset) error {
	k[scope] = next
	return nil
}

// A secret is sealed and opened under a key that never leaves Vault, which is asked once and not for each secret; the key is rotated there, and data keys move to the new version.
func TestVaultKeepsTheKey(t *testing.T) {
	t.Parallel()
	v, fake := newVault(t)
	store, place := keysets{}, seal.Place{Table: "t", Column: "c", Organization: "org_1", Row: "1"}
	sealer := seal.New(seal.NewKEK(v), store)
	sealed, err := sealer.Seal(t.Context(), place, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if got, err := sealer.Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if fake.asked > 2 {
		t.Errorf("Vault was asked %d times", fake.asked)
	}
	if id := store["org_1"].KEKID; id != "vault:transit/agentidp:v1" || !v.Owns(id) || v.Owns("vault:transit/other:v1") || v.Owns("17") {
		t.Errorf("key id %q", id)
	}
	fake.rotate(t)
	again := seal.New(seal.NewKEK(v), store)
	for i, want := range []bool{true, false} {
		if changed, err := again.Rewrap(t.Context(), "org_1"); err != nil || changed != want {
			t.Errorf("rewrapping, time %d: %v, %v", i+1, changed, err)
		}
	}
	if id := store["org_1"].KEKID; id != "vault:transit/agentidp:v2" {
		t.Errorf("after the rotation: %q", id)
	}
	if got, err := seal.New(seal.NewKEK(v), store).Open(t.Context(), place, sealed); err != nil || string(got) != "secret" {
		t.Errorf("after the rewrapping: %q, %v", got, err)
	}
	// A data key copied to another organization's row: the scope is associated data.
	store["org_2"] = store["org_1"]
	if _, err := seal.New(seal.NewKEK(v), store).Open(t.Context(), seal.Place{Organization: "org_2"}, sealed); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a copied data key: %v", err)
	}
}

// What passes by itself is Unavailable; what an operator must mend is not; nothing Vault says, and no token, is in an error.
func TestVaultTrouble(t *testing.T) {
	t.Parallel()
	v, fake := newVault(t)
	wrapped, _, err := v.Wrap(t.Context(), []byte("data key"), []byte("ad"))
	if err != nil {
		t.Fatal(err)
	}
	for status, unavailable := range map[int]bool{503: true, 500: true, 429: true, 473: true, 403: false, 404: false, 307: false} {
		fake.set(status)
		_, err := v.Unwrap(t.Context(), wrapped, []byte("ad"))
		if got := problem.KindOf(err) == problem.Unavailable; err == nil || got != unavailable || errors.Is(err, seal.ErrOpen) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%d: %v", status, err)
		}
		if _, _, err := v.Wrap(t.Context(), []byte("x"), nil); err == nil {
			t.Errorf("%d: wrapped", status)
		}
	}
	fake.set(0)
	for name, bad := range map[string][]byte{"changed": append(wrapped[:len(wrapped)-4:len(wrapped)-4], "AAA="...), "no ciphertext": []byte("x"), "a version to come": []byte("vault:v9:AAAA")} {
		if _, err := v.Unwrap(t.Context(), bad, []byte("ad")); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Unwrap(t.Context(), wrapped, []byte("other")); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("other associated data: %v", err)
	}
	// The sealer passes an outage on as one.
	store := keysets{}
	if _, err := seal.New(seal.NewKEK(v), store).Seal(t.Context(), seal.Place{}, nil); err != nil {
		t.Fatal(err)
	}
	fake.set(503)
	for name, store := range map[string]keysets{"a data key that is there": store, "a first data key": {}} {
		if _, err := seal.New(seal.NewKEK(v), store).Seal(t.Context(), seal.Place{}, nil); problem.KindOf(err) != problem.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVaultConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := VaultConfig{Address: "https://vault.example:8200", Mount: "transit", Key: "k", Token: func() string { return "" }}
	if _, err := NewVault(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*VaultConfig){
		"no address": func(c *VaultConfig) { c.Address = "" }, "a path": func(c *VaultConfig) { c.Address += "/v1" }, "user": func(c *VaultConfig) { c.Address = "https://u:p@vault" },
		"mount": func(c *VaultConfig) { c.Mount = "a/b" }, "no mount": func(c *VaultConfig) { c.Mount = "" }, "key": func(c *VaultConfig) { c.Key = "../x" },
		"ca": func(c *VaultConfig) { c.CAFile = "/does/not/exist" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewVault(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
