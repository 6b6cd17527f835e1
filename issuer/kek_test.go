package issuer_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/issuer"
)

// Vault's token is renewed by somebody else: the next data key is wrapped with the token that is in the file then.
func TestVaultTokenIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var token atomic.Value
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renew := func(text string) {
		token.Store(text)
		write("vault.token", text+"\n")
	}
	vault := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // wraps by writing "vault:v1:" in front
		w.Header().Set("Content-Type", "application/json")
		var in struct{ Plaintext, Ciphertext string }
		if r.Header.Get("X-Vault-Token") != token.Load() || json.NewDecoder(r.Body).Decode(&in) != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
			"ciphertext": "vault:v1:" + in.Plaintext, "plaintext": strings.TrimPrefix(in.Ciphertext, "vault:v1:"), "key_version": 1,
		}})
	}))
	t.Cleanup(vault.Close)
	renew("hvs.canary-first")
	write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vault.Certificate().Raw})))
	write("vault.yaml", "address: "+vault.URL+"\nkey: agentidp\ntoken: {file: vault.token}\nca: ca.pem\n")
	var file vaultFile
	if err := config.Load(filepath.Join(dir, "vault.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	i := start(t, func(c *issuer.Config) { c.KEK, c.KMS = config.Secret{}, &issuer.KMS{Vault: &file.Vault} })
	i.secret("hvs.canary-first")
	i.organization("acme")
	renew(i.secret("hvs.canary-second"))
	i.must(i.do(i.request("GET", "/o/acme/.well-known/jwks.json", "", "")), 200)
}

// vaultFile is the part of issuer.yaml.
type vaultFile struct {
	issuer.Vault `yaml:",inline"`
}

func (v *vaultFile) Validate(*config.Report) {}
