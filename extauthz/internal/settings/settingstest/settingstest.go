// Package settingstest has what tests write configuration files with.
package settingstest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/testkit"
)

// Dir is a folder with what a good config names: keys.json, ca.pem, policies/.
func Dir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(testkit.Certificates(t).AuthorityFile())
	if err != nil {
		t.Fatal(err)
	}
	Fill(t, dir, map[string]string{
		"keys.json":            string(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()})),
		"empty.json":           `{"keys":[]}`,
		"symmetric.json":       `{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}`,
		"garbage.json":         `nothing`,
		"spaced":               "two words",
		"ca.pem":               string(ca),
		"policies/authz.rego":  "package agentidp.authz\n\ndefault allow := false\n",
		"broken/authz.rego":    "package agentidp.authz\n\nallow := nowhere(1)\n\nallow if {\n\tnowhere(2)\n}\n",
		"elsewhere/other.rego": "package other\n\nallow := true\n",
	})
	return dir
}

// Fill writes files into a folder, by their path in it.
func Fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Minimal is the shortest config that works.
const Minimal = `listen: unix:///run/agentidp/extauthz.sock
issuers:
  - issuer: https://issuer.example/org/a
    jwks: {file: keys.json}
    audiences: ["svc://payments"]
policy: {dir: ./policies}
`

// Write makes a config file of the text in a folder of Dir, and returns its path.
func Write(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, "extauthz.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
