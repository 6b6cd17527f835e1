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
  app: {file: app}
  platform: {file: platform}
bootstrapToken: {file: secret}
credentialHashKey: {file: secret}
kek: {file: kek}
`

const (
	awsKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	gcpKey = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k"
)

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
		"app": "postgres://agentidp_app:hunter2@db.example/agentidp\n", "platform": "postgres://agentidp_platform:hunter2@db.example/agentidp\n", "port": "postgres://a:hunter2@db:p/d", "bare": "hunter2", "redis": "redis://:hunter2@cache.example",
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
	if cfg.Tokens.Lifetime.Minutes() != 5 || cfg.Discovery.MaxAge.Minutes() != 5 || cfg.RequestsMax != 512 || cfg.Database.ConnectionsMax != 10 || cfg.Metrics.Listen != "" {
		t.Errorf("%+v", cfg)
	}
	if string(cfg.TLS.Cert) != filepath.Join(dir, "server.pem") || cfg.BootstrapToken.Reveal() != strings.Repeat("s", 32) {
		t.Errorf("%+v", cfg)
	}
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) string { return strings.Replace(goodConfig, old, with, 1) }
	kms := func(text string) string { return replace("kek: {file: kek}", "kms: "+text) }
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
		{"metrics without port", goodConfig + "metrics: {listen: localhost}\n", `10: metrics.listen: want host:port`},
		{"plaintext", replace("tls: {cert: server.pem, key: server-key.pem}", "tls: {}"), `3: tls.cert: is required`},
		{"no database", replace("  app: {file: app}\n", ""), `4: database.app: is required`},
		{"a database at no port", replace("app: {file: app}", "app: {file: port}"), `5: database.app: cannot parse `},
		{"a password and no database", replace("platform: {file: platform}", "platform: {file: bare}"), `6: database.platform: want a connection string`},
		{"owner nowhere", replace("database:\n", "database:\n  owner: {file: bare}\n"), `5: database.owner: want a connection string`},
		{"unreadable secret", replace("kek: {file: kek}", "kek: {file: missing}"), `9: kek`},
		{"secret in the file", replace("kek: {file: kek}", "kek: hunter2"), `9: kek`},
		{"short token", replace("bootstrapToken: {file: secret}", "bootstrapToken: {file: short}"), `7: bootstrapToken: is required and must have 32 to 512 bytes`},
		{"long token", replace("bootstrapToken: {file: secret}", "bootstrapToken: {file: long}"), `7: bootstrapToken: is required and must have 32 to 512 bytes`},
		{"no such certificate", replace("cert: server.pem", "cert: missing.pem"), `3: tls: open `},
		{"certificate and key of two pairs", replace("cert: server.pem", "cert: ca.pem"), `3: tls: `},
		{"clients' authorities that are not there", replace("tls: {", "tls: {clientCA: missing.pem, "), `3: tls: open `},
		{"clients' authorities that are none", replace("tls: {", "tls: {clientCA: secret, "), `3: tls: `},
		{"authorities of client keys", goodConfig + "clientKeys: {ca: missing.pem}\n", `10: clientKeys.ca: open `},
		{"a trust domain's bundle", goodConfig + "spiffe: [{trustDomain: example.org, bundle: {file: missing}}]\n", `10: spiffe[0].bundle.file: trust domain example.org: open `},
		{"a trust domain's authorities", goodConfig + "spiffe: [{trustDomain: example.org, bundle: {url: 'https://a.example', ca: secret}}]\n", `10: spiffe[0].bundle.ca: `},
		{"kms without a service", kms("{}"), `9: kms: one of vault, aws and gcp is required`},
		{"vault without a token", kms("{vault: {address: 'https://vault:8200', key: k}}"), `9: kms.vault.token: is required`},
		{"vault without a key", kms("{vault: {address: 'https://vault:8200', token: {file: secret}}}"), `9: kms.vault.key: want the name`},
		{"aws without a key", kms("{aws: {}}"), `9: kms.aws.keyArn: want the ARN of a key`},
		{"aws by an alias", kms("{aws: {keyArn: 'arn:aws:kms:eu-central-1:111122223333:alias/a'}}"), `9: kms.aws.keyArn: want the ARN of a key and not of an alias`},
		{"aws over http", kms("{aws: {keyArn: '" + awsKey + "', endpoint: 'http://kms.example'}}"), `9: kms.aws.endpoint: want https://host`},
		{"aws without its authorities", kms("{aws: {keyArn: '" + awsKey + "', ca: missing.pem}}"), `9: kms.aws.ca: open `},
		{"aws with credentials in the file", kms("{aws: {keyArn: '" + awsKey + "', secretAccessKey: hunter2}}"), `9: kms.aws.secretAccessKey: unknown key`},
		{"gcp without a key", kms("{gcp: {}}"), `9: kms.gcp.key: want the name of a key`},
		{"gcp by a version", kms("{gcp: {key: " + gcpKey + "/cryptoKeyVersions/1}}"), `9: kms.gcp.key: want the name of a key without a version`},
		{"gcp with an endpoint of another kind", kms("{gcp: {key: " + gcpKey + ", endpoint: 'kms.example:443'}}"), `9: kms.gcp.endpoint: want https://host`},
		{"gcp over http", kms("{gcp: {key: " + gcpKey + ", endpoint: 'http://127.0.0.1:1'}}"), `9: kms.gcp.endpoint: want https://host`},
		{"gcp without its credentials", kms("{gcp: {key: " + gcpKey + ", credentialsFile: missing}}"), `9: kms.gcp.credentialsFile: open `},
		{"gcp with something else for credentials", kms("{gcp: {key: " + gcpKey + ", credentialsFile: secret}}"), `9: kms.gcp.credentialsFile: want a JSON document`},
		{"two services, none first", kms("{aws: {keyArn: '" + awsKey + "'}, gcp: {key: " + gcpKey + "}}"), `9: kms.primary: is required beside more than one service: one of aws, gcp`},
		{"a service first that is not there", kms("{primary: vault, aws: {keyArn: '" + awsKey + "'}}"), `9: kms.primary: names no place that is given, want one of aws`},
		{"organization issuers", replace("kek: {file: kek}", "kek: {file: kek}\norganizationIssuers: all"), `10: organizationIssuers: must be both, own or instance`},
		{"algorithm of keys", replace("kek: {file: kek}", "kek: {file: kek}\nsigningKeys: {algorithm: RS256}"), `10: signingKeys.algorithm: must be ES256 or EdDSA`},
		{"period of keys", replace("kek: {file: kek}", "kek: {file: kek}\nsigningKeys: {period: 10m}"), `10: signingKeys.period: must be 13m0s`},
		{"not a KEK", replace("kek: {file: kek}", "kek: {file: secret}"), `9: kek: want the JSON document that ` + "`issuer -generate-kek`"},
		{"no KEK", replace("kek: {file: kek}\n", ""), "1: kek: is required: make one with `issuer -generate-kek`, or give kms"},
		{"short key", replace("credentialHashKey: {file: secret}", "credentialHashKey: {file: short}"), `8: credentialHashKey: is required and must have at least 32 bytes`},
		{"long tokens", goodConfig + "tokens: {lifetime: 16m}\n", `10: tokens.lifetime: must be 30s to 15m0s`},
		{"short tokens", goodConfig + "tokens: {lifetime: 1s}\n", `10: tokens.lifetime: must be 30s to 15m0s`},
		{"wrong type", goodConfig + "tokens: {lifetime: 300}\n", `10: tokens.lifetime`},
		{"long cache", goodConfig + "discovery: {maxAge: 48h}\n", `10: discovery.maxAge: must be at most 24h`},
		{"no requests", goodConfig + "requestsMax: 0\n", `10: requestsMax: must be 1 to 100000`},
		{"no connections", replace("database:\n", "database:\n  connectionsMax: 0\n"), `5: database.connectionsMax: must be 1 to 1000`},
		{"documents of nobody", goodConfig + "clientDocuments: {}\n", `10: clientDocuments.hosts: is required`},
		{"documents of a URL", goodConfig + "clientDocuments: {hosts: ['https://apps.example']}\n", `10: clientDocuments.hosts: want host or host:port`},
		{"documents of everybody here", goodConfig + "clientDocuments: {hosts: ['*'], allowPrivate: true}\n", `10: clientDocuments.hosts: "*" stands alone and goes with public addresses only`},
		{"documents with no scope", goodConfig + "clientDocuments: {hosts: ['*'], scopes: ['a b']}\n", `10: clientDocuments.scopes: `},
		{"documents with no audience", goodConfig + "clientDocuments: {hosts: ['*'], audiences: ['']}\n", `10: clientDocuments.audiences: `},
		{"documents without their authorities", goodConfig + "clientDocuments: {hosts: ['*'], ca: missing.pem}\n", `10: clientDocuments.ca: open `},
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

// What may stand together, and that checking it asks nobody: there are no credentials here for any cloud.
func TestConfigKMS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, kms, kek string }{
		{"aws", "{aws: {keyArn: '" + awsKey + "'}}", ""},
		{"aws by a private endpoint", "{aws: {keyArn: '" + awsKey + "', endpoint: 'https://vpce-1.kms.eu-central-1.vpce.amazonaws.com', ca: ca.pem}}", ""},
		{"gcp", "{gcp: {key: " + gcpKey + "}}", ""},
		{"gcp by a private endpoint", "{gcp: {key: " + gcpKey + ", endpoint: 'https://kms.p.googleapis.com', ca: ca.pem}}", ""},
		{"aws and a file that opens", "{aws: {keyArn: '" + awsKey + "'}}", "kek: {file: kek}"},
		{"a file that wraps", "{primary: kek, aws: {keyArn: '" + awsKey + "'}}", "kek: {file: kek}"},
		{"from Vault to gcp", "{primary: gcp, gcp: {key: " + gcpKey + "}, vault: {address: 'https://vault:8200', key: k, token: {file: secret}}}", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := load(t, strings.Replace(goodConfig, "kek: {file: kek}", "kms: "+tt.kms+"\n"+tt.kek, 1)); err != nil {
				t.Error(err)
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

// What -check says: everything that would be listened on, asked and trusted, and nothing that is secret.
func TestDescribe(t *testing.T) {
	t.Parallel()
	const more = `metrics: {listen: "0.0.0.0:9101", pprof: true}
clientKeys: {allowPrivate: true}
spiffe: [{trustDomain: example.org, bundle: {url: "https://spire.example/bundle"}}]
federation: {partners: [{issuer: "https://partner.example", organizationId: org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f, jwks: {url: "https://partner.example/keys"}}]}
clientDocuments: {hosts: [apps.example]}
trustedProxies: [10.0.0.0/8]
tracing: {endpoint: "http://127.0.0.1:4318"}
limits: {redis: {file: redis}}
`
	cfg, dir, err := load(t, strings.Replace(goodConfig+more, "tls: {", "tls: {clientCA: ca.pem, ", 1))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cfg.Describe(&out)
	for _, want := range []string{
		"issuer: https://id.example.com, organizationIssuers: both\n", "listen: 0.0.0.0:8443, TLS until ", "clients by certificates of " + filepath.Join(dir, "ca.pem") + "\n",
		"metrics: on http://0.0.0.0:9101\nmetrics: WARNING: whoever reaches this address reads them\nmetrics: /debug/ is answered over loopback only\n",
		"database: as agentidp_app at db.example:5432/agentidp, within one organization\n", "database: as agentidp_platform at db.example:5432/agentidp, across organizations\n",
		"data keys: wrapped by [key-encryption key ", "signing keys: ES256, each signs for 720h0m0s and is published 6m30s before\n", "tokens: live 5m0s\n",
		"spiffe: example.org, bundle of https://spire.example/bundle\n", "federation: https://partner.example for org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f, keys of https://partner.example/keys, ",
		"client documents: of apps.example\n", "client keys: WARNING: ", "limits: counted in Redis, for all processes, by the address of the connection, or what X-Forwarded-For of 10.0.0.0/8 says\n",
		"tracing: to http://127.0.0.1:4318\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("says a secret:\n%s", out.String())
	}
}
