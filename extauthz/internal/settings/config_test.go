package settings

import (
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
)

const minimal = settingstest.Minimal

func configDir(t *testing.T) string {
	t.Helper()
	return settingstest.Dir(t)
}

func loadConfig(t *testing.T, dir, text string) (*Config, error) {
	t.Helper()
	cfg := new(Config)
	return cfg, config.Load(settingstest.Write(t, dir, text), cfg)
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	got, err := loadConfig(t, dir, minimal)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		File:       config.Path(filepath.Join(dir, "extauthz.yaml")),
		Listen:     config.OneOrMany{"unix:///run/agentidp/extauthz.sock"},
		SocketMode: 0o660,
		Issuers: []Issuer{{
			Issuer: "https://issuer.example/org/a", Audiences: []string{"svc://payments"},
			JWKS:             JWKS{File: config.Path(filepath.Join(dir, "keys.json")), MaxStale: config.Duration{Duration: 24 * time.Hour}},
			MaxTokenLifetime: config.Duration{Duration: time.Hour}, Types: []string{"at+jwt"},
			Algorithms: []jose.Algorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256},
		}},
		Policy:   Policy{Dir: config.Path(filepath.Join(dir, "policies")), RegoVersion: RegoV1, Timeout: config.Duration{Duration: 25 * time.Millisecond}, Interval: config.Duration{Duration: 10 * time.Second}},
		Identity: IdentityRequired,

		CORS:          CORS{Preflight: PreflightOff},
		TokenCache:    TokenCache{Bytes: 64 << 20},
		DecisionCache: DecisionCache{Bytes: 32 << 20, MaxAge: config.Duration{Duration: time.Minute}},
		DPoP:          DPoP{MaxAge: config.Duration{Duration: time.Minute}, Nonce: NonceOff, ReplayBytes: 64 << 20},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(config.Secret{})); diff != "" {
		t.Error(diff)
	}
}

func TestConfigWithEverything(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	got, err := loadConfig(t, dir, `
listen: [unix:///run/a.sock, tcp://127.0.0.1:9191]
socketMode: "0600"
stateDir: state
issuers:
  - issuer: https://issuer.example/org/a
    jwks: {url: https://issuer.example/keys, ca: ca.pem, maxStale: 1h}
    audiences: [a, b]
    organizationId: org_a
    maxTokenLifetime: 15m
    types: [at+jwt, jwt]
    algorithms: [PS256]
    requireBound: true
    revocations: {url: "https://issuer.example/revoked", ca: ca.pem, interval: 2s, maxStale: 1m}
  - issuer: dev
    jwks: {url: "http://127.0.0.1:8080/keys"}
    audiences: [a]
    revocations: {url: "http://localhost:8080/revoked"}
policy: {dir: policies, path: agentidp/authz/allow, timeout: 10ms}
identity: optional
public: [{method: GET, pathPrefix: /healthz}]
metrics: {listen: "127.0.0.1:9103", pprof: true}
dpop: {maxAge: 30s, nonce: required, replayBytes: 8MiB}
log: {level: debug}
`)
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Issuers[1].Revocations; r.Interval.Duration != time.Second || r.MaxStale.Duration != 15*time.Minute {
		t.Errorf("defaults of revocations: %+v", r)
	}
	want := jose.Rules{
		Issuer: "https://issuer.example/org/a", Audiences: []string{"a", "b"}, Types: []string{"at+jwt", "jwt"},
		Algorithms: []jose.Algorithm{jose.PS256}, LifetimeMax: 15 * time.Minute, Skew: time.Minute,
	}
	if diff := cmp.Diff(want, got.Issuers[0].Rules()); diff != "" {
		t.Error(diff)
	}
	if p := got.DPoP.possession(); p.MaxAge != 30*time.Second || !p.NonceRequired || p.ReplayBytes != 8<<20 || !got.Issuers[0].RequireBound {
		t.Errorf("proofs: %+v", p)
	}
	if got.SocketMode != 0o600 || got.Log.Level != slog.LevelDebug || !got.Metrics.Pprof || got.StateDir != config.Path(filepath.Join(dir, "state")) {
		t.Errorf("got %+v", got)
	}
}

// A named pipe in place of a file is a mistake like another: nobody waits for what somebody may write into it.
func TestConfigWaitsForNoPipe(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(minimal, "keys.json", "pipe", 1)
	text = strings.Replace(text, "./policies", "./policies, protoDescriptor: pipe", 1) + "tracing: {endpoint: \"https://a/\", ca: pipe}\n"
	_, err := loadConfig(t, dir, text)
	if err == nil || strings.Count(err.Error(), "/pipe: is not a regular file") != 3 {
		t.Error(err)
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	issuer := func(lines string) string {
		return strings.Replace(minimal, "    jwks: {file: keys.json}\n    audiences: [\"svc://payments\"]\n", lines, 1)
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {"{}\n", []string{
			"1: listen: is required: unix:///path, tcp://host:port, or a list of them",
			"1: issuers: at least one is required, except with identity: policy",
			"1: policy: want exactly one of dir and bundle",
		}},
		"unknown key":         {minimal + "identiti: required\n", []string{`7: identiti: unknown key; did you mean "identity"?`}},
		"wrong type":          {minimal + "metrics: {listen: 9103}\n", []string{"7: metrics.listen: want a string, got the number 9103 (put it in quotes)"}},
		"identity":            {minimal + "identity: maybe\n", []string{"7: identity: want required, optional or policy"}},
		"identity misspelled": {"listen: tcp://127.0.0.1:0\nidentity: polcy\npolicy: {dir: ./policies}\n", []string{"2: identity: want required, optional or policy"}},
		"identity of nobody":  {"listen: tcp://127.0.0.1:0\nidentity: optional\npolicy: {dir: ./policies}\n", []string{"1: issuers: at least one is required, except with identity: policy"}},
		"dpop": {minimal + "dpop: {maxAge: 6m, nonce: maybe, replayBytes: 1KiB}\n", []string{
			"7: dpop.maxAge: want between 1s and 5m0s", "7: dpop.nonce: want off or required", "7: dpop.replayBytes: want at least 1MiB: about 26,000 proofs",
		}},
		"socket mode":      {minimal + "socketMode: \"9\"\n", []string{`7: socketMode: want permission bits in quotes, such as "0660"`}},
		"socket mode bits": {minimal + "socketMode: \"4660\"\n", []string{`7: socketMode: want permission bits in quotes, such as "0660"`}},
		"listen": {strings.Replace(minimal, "unix:///run/agentidp/extauthz.sock", `["unix://rel.sock", "http://x:1", "tcp://:80", "tcp://a:99999", "unix:///a", "unix:///a", "unix:///a/../b", "unix:///`+strings.Repeat("x", 107)+`"]`, 1), []string{
			"1: listen[0]: want unix:// and an absolute path, as in unix:///run/agentidp/extauthz.sock",
			"1: listen[1]: want unix:///path or tcp://host:port",
			"1: listen[2]: want host:port, as in 127.0.0.1:9191",
			"1: listen[3]: want a port between 0 and 65535",
			"1: listen[5]: the same address twice",
			"1: listen[6]: want unix:// and an absolute path, as in unix:///run/agentidp/extauthz.sock",
			"1: listen[7]: the path has 108 bytes, a unix socket can have 107",
		}},
		"end": {strings.Replace(minimal, "unix:///run/agentidp/extauthz.sock", "tcp://127.0.0.1:0", 1) + "drainDelay: 61s\nsocketTakeover: true\n", []string{
			"7: drainDelay: want between 0s and 1m0s", "8: socketTakeover: is for unix:// addresses, and listen has none",
		}},
		"token cache":    {minimal + "tokenCache: {bytes: 1KiB}\n", []string{"7: tokenCache.bytes: want at least 1MiB"}},
		"tls for nobody": {minimal + "tls: {key: keys.json}\n", []string{"7: tls: is for tcp:// addresses, and listen has none", "7: tls.cert: is required"}},
		"tls broken": {strings.Replace(minimal, "unix:///run/agentidp/extauthz.sock", "tcp://127.0.0.1:0", 1) + "tls: {cert: keys.json, key: keys.json}\n", []string{
			"7: tls: DIR/keys.json and DIR/keys.json: tls: failed to find any PEM data in certificate input",
		}},
		"long folder": {strings.Replace(minimal, "/run/agentidp/", "/"+strings.Repeat("x", 95)+"/", 1), []string{"1: listen[0]: the path has 110 bytes, a unix socket can have 107"}},
		"long folder, short name": {strings.Replace(minimal, "/run/agentidp/extauthz.sock", "/"+strings.Repeat("x", 95)+"/s", 1), []string{
			"1: listen[0]: the folder of the socket has 96 bytes, at most 95 leave room for its name",
		}},
		"no audience": {issuer("    jwks: {file: keys.json}\n"), []string{"3: issuers[0].audiences: at least one is required"}},
		"empty audience": {issuer("    jwks: {file: keys.json}\n    audiences: [\"\", a, a, \"a b\"]\n"), []string{
			"5: issuers[0].audiences[0]: is required", "5: issuers[0].audiences[2]: is listed twice", "5: issuers[0].audiences[3]: want visible ASCII without spaces",
		}},
		"bound tokens of nobody": {issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    organizationId: o\n    requireBoundOf: [a, a, \"b c\"]\n"), []string{
			"7: issuers[0].requireBoundOf: is for an issuer that speaks for several organizations, some of which may use unbound tokens",
			"7: issuers[0].requireBoundOf[1]: is listed twice", "7: issuers[0].requireBoundOf[2]: want visible ASCII without spaces",
		}},
		"no keys":         {issuer("    audiences: [a]\n"), []string{"3: issuers[0].jwks: want exactly one of file and url"}},
		"two sources":     {issuer("    jwks: {file: keys.json, url: \"https://a/\"}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks: want exactly one of file and url"}},
		"keys missing":    {issuer("    jwks: {file: none.json}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.file: open DIR/none.json: no such file or directory"}},
		"keys empty":      {issuer("    jwks: {file: empty.json}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.file: DIR/empty.json holds no key"}},
		"keys unusable":   {issuer("    jwks: {file: symmetric.json}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.file: DIR/symmetric.json holds no usable key; the first was left out because: "}},
		"keys garbage":    {issuer("    jwks: {file: garbage.json}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.file: DIR/garbage.json: "}},
		"ca for a file":   {issuer("    jwks: {file: keys.json, ca: ca.pem}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.ca: is for a url; a file needs none"}},
		"url without TLS": {"stateDir: s\n" + issuer("    jwks: {url: \"http://issuer.example/\"}\n    audiences: [a]\n"), []string{"5: issuers[0].jwks.url: http:// is accepted for loopback hosts only"}},
		"url ca missing":  {"stateDir: s\n" + issuer("    jwks: {url: \"https://a/\", ca: none.pem}\n    audiences: [a]\n"), []string{"5: issuers[0].jwks.ca: open DIR/none.pem: no such file or directory"}},
		"url ca garbage":  {"stateDir: s\n" + issuer("    jwks: {url: \"https://a/\", ca: garbage.json}\n    audiences: [a]\n"), []string{"5: issuers[0].jwks.ca: DIR/garbage.json holds no PEM certificate"}},
		"stale zero":      {issuer("    jwks: {file: keys.json, maxStale: 0s}\n    audiences: [a]\n"), []string{"4: issuers[0].jwks.maxStale: want at least 1m0s: keys are read again before half of it is over"}},
		"revocations": {"stateDir: s\n" + issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    revocations: {interval: 10ms, maxStale: 10.019s}\n"), []string{
			"7: issuers[0].revocations.url: is required", "7: issuers[0].revocations.interval: want between 100ms and 1m0s", "7: issuers[0].revocations.maxStale: want at least 10.02s with this interval: twice the interval and the 5s a read may take",
		}},
		"same issuer twice": {strings.Replace(minimal, "policy:", "  - {issuer: \"https://issuer.example/org/a\", jwks: {file: keys.json}, audiences: [b]}\npolicy:", 1), []string{
			"6: issuers[1].issuer: the same issuer as issuers[0]: keys of two sets are never mixed",
		}},
		"no issuer name": {strings.Replace(minimal, "issuer: https://issuer.example/org/a", "organizationId: \"a b\"", 1), []string{
			"3: issuers[0].issuer: is required", "3: issuers[0].organizationId: want visible ASCII without spaces",
		}},
		"issuer too long": {strings.Replace(minimal, "org/a", strings.Repeat("a", 600), 1), []string{"3: issuers[0].issuer: has 623 bytes, at most 512 are accepted"}},
		"lifetime":        {issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    maxTokenLifetime: 0s\n"), []string{"6: issuers[0].maxTokenLifetime: must be more than 0"}},
		"types": {issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    types: [AT+JWT, application/at+jwt]\n"), []string{
			`6: issuers[0].types[0]: want a token type in lower case and without "application/", such as at+jwt`,
			`6: issuers[0].types[1]: want a token type in lower case and without "application/", such as at+jwt`,
		}},
		"no types": {issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    types: []\n"), []string{"6: issuers[0].types: at least one is required"}},
		"algorithms": {issuer("    jwks: {file: keys.json}\n    audiences: [a]\n    algorithms: [HS256, none]\n"), []string{
			"6: issuers[0].algorithms[0]: want one of [ES256 EdDSA RS256 PS256]", "6: issuers[0].algorithms[1]: want one of [ES256 EdDSA RS256 PS256]",
		}},
		"policy missing":        {strings.Replace(minimal, "./policies", "./none", 1), []string{"6: policy.dir: DIR/none is not a directory"}},
		"policy broken":         {strings.Replace(minimal, "./policies", "./broken", 1), []string{"6: policy.dir: DIR/broken/authz.rego:3: ", "6: policy.dir: DIR/broken/authz.rego:6: "}},
		"policy elsewhere":      {strings.Replace(minimal, "./policies", "./elsewhere", 1), []string{`6: policy.dir: no rule at decision path "agentidp/authz/allow"`}},
		"policy dir and bundle": {strings.Replace(minimal, "./policies", "./policies, bundle: \"https://a/b.tar.gz\"", 1), []string{"6: policy: want exactly one of dir and bundle"}},
		"policy nowhere":        {strings.Replace(minimal, "dir: ./policies", "timeout: 10ms", 1), []string{"6: policy: want exactly one of dir and bundle"}},
		"policy bundle": {strings.Replace(minimal, "dir: ./policies", "bundle: \"http://a/b.tar.gz\", interval: 1ms, token: {file: spaced}", 1), []string{
			"6: policy.bundle: http:// is accepted for loopback hosts only", "6: policy.token: want visible ASCII without spaces", "6: policy.interval: want between 1s and 1h0m0s",
		}},
		"policy bundle, ca":     {strings.Replace(minimal, "dir: ./policies", "bundle: \"https://a/b.tar.gz\", ca: none.pem", 1), []string{"6: policy.ca: open DIR/none.pem: no such file or directory"}},
		"policy bundle, path":   {strings.Replace(minimal, "dir: ./policies", "bundle: \"https://a/b.tar.gz\", path: a//b", 1), []string{"6: policy.path: "}},
		"policy dir, ca":        {strings.Replace(minimal, "./policies", "./policies, ca: ca.pem", 1), []string{"6: policy: ca and token are for a bundle; a directory needs none"}},
		"policy path and query": {strings.Replace(minimal, "./policies", "./policies, path: a/b, query: data.a.b", 1), []string{"6: policy.query: want one of path and query: they are two names of one thing"}},
		"policy query":          {strings.Replace(minimal, "./policies", "./policies, query: \"data.agentidp.authz.allow == true\"", 1), []string{"6: policy.query: want a reference to a rule and nothing else, such as data.envoy.authz.allow"}},
		"policy query, no rule": {strings.Replace(minimal, "./policies", "./policies, query: data.elsewhere.allow", 1), []string{`6: policy.dir: no rule at decision path "elsewhere/allow"`}},
		"policy rego version":   {strings.Replace(minimal, "./policies", "./policies, regoVersion: v2", 1), []string{"6: policy.regoVersion: want v1 or v0"}},
		"policy descriptors":    {strings.Replace(minimal, "./policies", "./policies, protoDescriptor: none.pb", 1), []string{"6: policy.protoDescriptor: open DIR/none.pb: no such file or directory"}},
		"policy descriptors, garbage": {strings.Replace(minimal, "./policies", "./policies, protoDescriptor: garbage.json, skipBodyParse: true", 1), []string{
			"6: policy.protoDescriptor: is of no use with skipBodyParse", "6: policy.protoDescriptor: DIR/garbage.json: not an encoded FileDescriptorSet",
		}},
		"policy timeout": {strings.Replace(minimal, "./policies", "./policies, timeout: 1s", 1), []string{"6: policy.timeout: want more than 0 and at most 200ms: Envoy waits 250 ms for everything"}},
		"public": {minimal + "public: [{method: get, pathPrefix: /a}, {method: GET, pathPrefix: a}, {method: GET, pathPrefix: /a/../b}, {method: GET, pathPrefix: \"/a%2Fb\"}, {pathPrefix: //}]\n", []string{
			"7: public[0].method: want a method in upper case, such as GET",
			"7: public[1].pathPrefix: want a path such as /healthz, without query, escapes, // or dot segments",
			"7: public[2].pathPrefix: want a path such as /healthz, without query, escapes, // or dot segments",
			"7: public[3].pathPrefix: want a path such as /healthz, without query, escapes, // or dot segments",
			"7: public[4].method: want a method in upper case, such as GET",
			"7: public[4].pathPrefix: want a path such as /healthz, without query, escapes, // or dot segments",
		}},
		"metrics": {minimal + "metrics: {listen: \":9103\"}\n", []string{"7: metrics.listen: want host:port, as in 127.0.0.1:9191"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := configDir(t)
			_, err := loadConfig(t, dir, tc.text)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.Split(strings.ReplaceAll(strings.ReplaceAll(err.Error(), dir+"/extauthz.yaml:", ""), dir, "DIR"), "\n")
			for i := range min(len(got), len(tc.want)) {
				if strings.HasPrefix(got[i], tc.want[i]) {
					got[i] = tc.want[i] // what other packages add is theirs to word
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigIdentityPolicyNeedsNoIssuer(t *testing.T) {
	t.Parallel()
	if _, err := loadConfig(t, configDir(t), "listen: tcp://127.0.0.1:0\nidentity: policy\npolicy: {dir: policies}\n"); err != nil {
		t.Error(err)
	}
}

func TestConfigIsBounded(t *testing.T) {
	t.Parallel()
	cfg := Config{Issuers: make([]Issuer, issuersMax+1), Public: make([]PublicRoute, publicRoutesMax+1), Listen: make(config.OneOrMany, listenersMax+1)}
	var r config.Report
	cfg.Validate(&r)
	for _, want := range []string{"issuers: has 1001 entries", "public: has 101 entries", "listen: has 17 addresses"} {
		if !strings.Contains(r.Err().Error(), want) {
			t.Errorf("%q is not reported", want)
		}
	}
}

func TestConfigTrustedHops(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	const digits = "AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB"
	got, err := loadConfig(t, dir, minimal+"trustedHops: [{principal: \"spiffe://mesh/gateway\"}, {certificateSha256: \""+digits+"\"}]\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []possession.Hop{{Principal: "spiffe://mesh/gateway"}, {CertificateSHA256: strings.Repeat("q6ur", 10) + "q6s"}}
	if diff := cmp.Diff(want, got.Possession().Hops); diff != "" {
		t.Error(diff)
	}
	_, err = loadConfig(t, dir, minimal+"trustedHops:\n  - {}\n  - principal: gateway\n  - certificateSha256: \"abcd\"\n")
	const wantError = `DIR:8: trustedHops[0]: want principal, certificateSha256 or both
DIR:9: trustedHops[1].principal: want a URI as in the hop's certificate, such as spiffe://example.org/gateway
DIR:10: trustedHops[2].certificateSha256: want 64 hexadecimal digits, as openssl x509 -fingerprint -sha256 prints them`
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/extauthz.yaml", "DIR") != wantError {
		t.Error(err)
	}
}
