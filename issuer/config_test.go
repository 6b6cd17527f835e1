package issuer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

const goodConfig = `issuer: https://id.example.com
listen: 0.0.0.0:8443
tls: {cert: server.pem, key: server-key.pem}
database:
  app: {file: secret}
  platform: {file: secret}
bootstrapToken: {file: secret}
credentialHashKey: {file: secret}
kek: {file: kek}
`

// load writes a config beside a secret file and loads it.
func load(t *testing.T, text string) (issuer.Config, string, error) {
	t.Helper()
	kek, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(testkit.Certificates(t).CertificateFile())
	path := filepath.Join(dir, "issuer.yaml")
	for name, contents := range map[string]string{
		"issuer.yaml": text, "secret": strings.Repeat("s", 32) + "\n", "short": "short\n", "long": strings.Repeat("s", 513), "kek": string(kek) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var cfg issuer.Config
	err = config.Load(path, &cfg)
	return cfg, dir, err
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	cfg, dir, err := load(t, goodConfig)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Tokens.Lifetime.Minutes() != 5 || cfg.Discovery.MaxAge.Minutes() != 5 || cfg.RequestsMax != 512 || cfg.Database.ConnectionsMax != 10 || cfg.Debug.Listen != "" {
		t.Errorf("%+v", cfg)
	}
	if string(cfg.TLS.Cert) != filepath.Join(dir, "server.pem") || cfg.BootstrapToken.Reveal() != strings.Repeat("s", 32) {
		t.Errorf("%+v", cfg)
	}
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) string { return strings.Replace(goodConfig, old, with, 1) }
	tests := []struct{ name, text, want string }{
		{"http", replace("https://", "http://"), `1: issuer: want https://host`},
		{"trailing slash", replace("example.com", "example.com/"), `1: issuer: want https://host`},
		{"path", replace("example.com", "example.com/org"), `1: issuer: want https://host`},
		{"query", replace("example.com", "example.com?a"), `1: issuer: want https://host`},
		{"user", replace("id.", "user@id."), `1: issuer: want https://host`},
		{"upper case", replace("example", "Example"), `1: issuer: want https://host`},
		{"default port", replace("example.com", "example.com:443"), `1: issuer: want https://host`},
		{"IPv6", replace("https://id.example.com", `"https://[::1]:8443"`), `1: issuer: did:web does not allow IPv6`},
		{"no port", replace("0.0.0.0:8443", "0.0.0.0"), `2: listen: want host:port`},
		{"debug without port", goodConfig + "debug: {listen: localhost}\n", `10: debug.listen: want host:port`},
		{"plaintext", replace("tls: {cert: server.pem, key: server-key.pem}", "tls: {}"), `3: tls.cert: is required`},
		{"no database", replace("  app: {file: secret}\n", ""), `4: database.app: is required`},
		{"unreadable secret", replace("kek: {file: kek}", "kek: {file: missing}"), `9: kek`},
		{"secret in the file", replace("kek: {file: kek}", "kek: hunter2"), `9: kek`},
		{"short token", replace("bootstrapToken: {file: secret}", "bootstrapToken: {file: short}"), `7: bootstrapToken: is required and must have 32 to 512 bytes`},
		{"long token", replace("bootstrapToken: {file: secret}", "bootstrapToken: {file: long}"), `7: bootstrapToken: is required and must have 32 to 512 bytes`},
		{"no such certificate", replace("cert: server.pem", "cert: missing.pem"), `3: tls: open `},
		{"certificate and key of two pairs", replace("cert: server.pem", "cert: ca.pem"), `3: tls: tls: private key does not match`},
		{"kms without a service", replace("kek: {file: kek}", "kms: {}"), `9: kms: vault is required`},
		{"vault without a token", replace("kek: {file: kek}", "kms: {vault: {address: 'https://vault:8200', key: k}}"), `9: kms: vault.token is required`},
		{"vault without a key", replace("kek: {file: kek}", "kms: {vault: {address: 'https://vault:8200', token: {file: secret}}}"), `9: kms: vault.key`},
		{"organization issuers", replace("kek: {file: kek}", "kek: {file: kek}\norganizationIssuers: all"), `10: organizationIssuers: must be both, own or instance`},
		{"algorithm of keys", replace("kek: {file: kek}", "kek: {file: kek}\nsigningKeys: {algorithm: RS256}"), `10: signingKeys.algorithm: must be ES256 or EdDSA`},
		{"period of keys", replace("kek: {file: kek}", "kek: {file: kek}\nsigningKeys: {period: 10m}"), `10: signingKeys.period: must be 13m0s`},
		{"not a KEK", replace("kek: {file: kek}", "kek: {file: secret}"), `9: kek: is required`},
		{"short key", replace("credentialHashKey: {file: secret}", "credentialHashKey: {file: short}"), `8: credentialHashKey: is required and must have at least 32 bytes`},
		{"long tokens", goodConfig + "tokens: {lifetime: 16m}\n", `10: tokens.lifetime: must be 30s to 15m0s`},
		{"short tokens", goodConfig + "tokens: {lifetime: 1s}\n", `10: tokens.lifetime: must be 30s to 15m0s`},
		{"wrong type", goodConfig + "tokens: {lifetime: 300}\n", `10: tokens.lifetime`},
		{"long cache", goodConfig + "discovery: {maxAge: 48h}\n", `10: discovery.maxAge: must be at most 24h`},
		{"no requests", goodConfig + "requestsMax: 0\n", `10: requestsMax: must be 1 to 100000`},
		{"no connections", replace("database:\n", "database:\n  connectionsMax: 0\n"), `5: database.connectionsMax: must be 1 to 1000`},
		{"unknown key", goodConfig + "bootstraptoken: {file: secret}\n", `10: bootstraptoken`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, tt.text)
			if err == nil || !strings.Contains(err.Error(), "issuer.yaml:"+tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v\nwant …issuer.yaml:%s…", err, tt.want)
			}
		})
	}
}

// One run names every problem.
func TestEmptyConfigNamesEverything(t *testing.T) {
	t.Parallel()
	_, _, err := load(t, "{}\n")
	if err == nil {
		t.Fatal("accepted")
	}
	var fields []string
	for line := range strings.Lines(err.Error()) {
		fields = append(fields, strings.Split(line, ": ")[1])
	}
	want := []string{"issuer", "listen", "tls.cert", "tls.key", "database.app", "database.platform", "kek", "bootstrapToken", "credentialHashKey"}
	if d := cmp.Diff(want, fields); d != "" {
		t.Errorf("(-want +got):\n%s\n%v", d, err)
	}
}
