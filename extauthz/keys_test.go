package extauthz

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
)

// rsaKeys writes key sets of one RSA key to a folder of configDir, and returns a token it signed with PS256. unnamed.json does not say what
// the key is for.
func rsaKeys(t *testing.T, dir string) (token string) {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.PS256)
	if err != nil {
		t.Fatal(err)
	}
	named := string(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()}))
	unnamed := strings.Replace(named, `"alg":"PS256",`, "", 1)
	if unnamed == named {
		t.Fatal(named)
	}
	for name, text := range map[string]string{"named.json": named, "unnamed.json": unnamed, "mixed.json": strings.Replace(named, `"keys":[`, `"keys":[{"kty":"oct","kid":"secret"},`, 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().Unix()
	token, err = key.Sign("at+jwt", fmt.Appendf(nil, `{"iss":"https://issuer.example/org/a","sub":"s","aud":"svc://payments","jti":"j","iat":%d,"exp":%d}`, now, now+60))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestKeysForPS256: by default a key that says so verifies it, and one that does not say where nothing else is accepted of RSA keys. What can
// verify nothing is named by -check.
func TestKeysForPS256(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file, algorithms string
		verifies         bool
		warning          string
	}{
		"named, by default":       {"named.json", "", true, ""},
		"named, and listed":       {"named.json", "[PS256]", true, ""},
		"unnamed, by default":     {"unnamed.json", "", false, ""},
		"unnamed, listed alone":   {"unnamed.json", "[ES256, PS256]", true, ""},
		"unnamed, listed as well": {"unnamed.json", "[PS256, RS256]", false, ""},
		"named, not listed":       {"named.json", "[RS256]", false, "is for PS256, which is not among the algorithms accepted of this issuer"},
		"unnamed, none listed":    {"unnamed.json", "[ES256]", false, "is for RS256, which is not among"},
		"beside one left out":     {"mixed.json", "", true, `key 0 (kid "secret") is left out: symmetric key in a public set`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := settingstest.Dir(t)
			token, err := jose.ParseToken(rsaKeys(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(settingstest.Minimal, "file: keys.json", "file: "+tc.file, 1)
			if tc.algorithms != "" {
				text = strings.Replace(text, "    audiences", "    algorithms: "+tc.algorithms+"\n    audiences", 1)
			}
			cfg, err := loadConfig(t, dir, text)
			if err != nil {
				t.Fatal(err)
			}
			snapshot := loaded(t, cfg)
			issuer := snapshot.Issuers["https://issuer.example/org/a"]
			key, ok := issuer.Keys.Lookup(token.KeyID())
			if !ok {
				t.Fatal("no key")
			}
			if _, err := token.Verify(key, &issuer.Rules, time.Now()); (err == nil) != tc.verifies {
				t.Errorf("Verify = %v", err)
			}
			if warned := warnings(cfg); tc.warning == "" && warned != "" || !strings.Contains(warned, tc.warning) {
				t.Errorf("warned: %q", warned)
			}
		})
	}
}

// loaded is the snapshot of a process that has loaded its files.
func loaded(t *testing.T, cfg *Config) *state.Snapshot {
	t.Helper()
	snapshot := newFeeder(t, cfg).env.Store.Load()
	if snapshot.Policy != nil {
		t.Cleanup(snapshot.Policy.Close)
	}
	return snapshot
}
