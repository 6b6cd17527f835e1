package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/policies"
)

// smallConfig is what a small installation needs, and what it can have beside it.
var smallConfig = []string{
	"listen: unix:///run/agentidp/extauthz.sock",
	"issuers:",
	"  - issuer: https://issuer.example/org/a",
	"    jwks: {file: keys.json}",
	`    audiences: ["svc://payments"]`,
	"    organizationId: org_a",
	"    maxTokenLifetime: 1h",
	"    types: [at+jwt]",
	"policy: {dir: ./policies/mesh, path: agentidp/authz/allow}",
	"identity: required",
	"public: [{method: GET, pathPrefix: /healthz}]",
	"metrics: {listen: 127.0.0.1:9103}",
}

// smallConfigWith replaces the line that begins as text does; without text it is left out.
func smallConfigWith(begins, text string) string {
	var b strings.Builder
	found := false
	for _, line := range smallConfig {
		if strings.HasPrefix(strings.TrimSpace(line), begins) {
			if found = true; text == "" {
				continue
			}
			line = line[:len(line)-len(strings.TrimLeft(line, " "))] + text
		}
		b.WriteString(line + "\n")
	}
	if !found {
		panic(begins)
	}
	return b.String()
}

func loadConfig(t *testing.T, dir, text string) (*Config, error) {
	t.Helper()
	cfg := new(Config)
	return cfg, config.Load(settingstest.Write(t, dir, text), cfg)
}

// warnings are what -check warns of, but for the folder of Minimal's socket: machines that run tests have none.
func warnings(cfg *Config) string {
	var described, warned strings.Builder
	cfg.Describe(&described)
	for line := range strings.Lines(described.String()) {
		if strings.Contains(line, "WARNING: ") && !strings.Contains(line, "/run/agentidp: there is no such folder") {
			warned.WriteString(line)
		}
	}
	return warned.String()
}

// smallConfigDir is a folder with what the file names.
func smallConfigDir(t *testing.T) string {
	t.Helper()
	dir := settingstest.Dir(t)
	if err := os.WriteFile(filepath.Join(dir, "bundle.token"), []byte("t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "policies/mesh"), policies.Mesh()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSmallConfig: the configuration is this file and nothing else, and what has a default may be left out. Each variant is read, and
// what it names on disk is loaded.
func TestSmallConfig(t *testing.T) {
	t.Parallel()
	const file, u = "jwks:", `jwks: {url: "https://issuer.example/keys"`
	for name, text := range map[string]string{
		"as it stands":                 strings.Join(smallConfig, "\n") + "\n",
		"keys at a URL":                smallConfigWith(file, u+"}"),
		"keys at a URL, with ca":       smallConfigWith(file, u+", ca: ca.pem}"),
		"port":                         smallConfigWith("listen", "listen: tcp://127.0.0.1:9191"),
		"list":                         smallConfigWith("listen", "listen: [unix:///run/agentidp/extauthz.sock, tcp://127.0.0.1:9191]"),
		"without organizationId":       smallConfigWith("organizationId", ""),
		"without maxTokenLifetime":     smallConfigWith("maxTokenLifetime", ""),
		"without types":                smallConfigWith("types", ""),
		"types of others":              smallConfigWith("types", "types: [at+jwt, jwt]"),
		"without path of the policy":   smallConfigWith("policy", "policy: {dir: ./policies/mesh}"),
		"object form":                  smallConfigWith("policy", "policy: {dir: ./policies/mesh, path: agentidp/authz/decision}"),
		"bundle":                       smallConfigWith("policy", `policy: {bundle: "https://policies.example/mesh.tar.gz", path: agentidp/authz/allow}`),
		"bundle, with all":             smallConfigWith("policy", `policy: {bundle: "https://policies.example/mesh.tar.gz", ca: ca.pem, token: {file: bundle.token}, interval: 1m}`),
		"without identity":             smallConfigWith("identity", ""),
		"identity optional":            smallConfigWith("identity", "identity: optional"),
		"identity policy":              smallConfigWith("identity", "identity: policy"),
		"without public":               smallConfigWith("public", ""),
		"without metrics":              smallConfigWith("metrics", ""),
		"metrics with pprof":           smallConfigWith("metrics", "metrics: {listen: 127.0.0.1:9103, pprof: true}"),
		"nothing but what is required": strings.Join(append(smallConfig[:5:5], "policy: {dir: ./policies/mesh}"), "\n") + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := smallConfigDir(t)
			cfg, err := loadConfig(t, dir, text)
			if err != nil {
				t.Fatal(err)
			}
			snapshot := loaded(t, cfg)
			if url := cfg.Issuers[0].JWKS.URL != ""; (snapshot.Policy == nil) != (cfg.Policy.Bundle != "") || (snapshot.Issuers[cfg.Issuers[0].Issuer].Keys.Len() == 1) == url {
				t.Errorf("loaded: %+v", snapshot)
			}
			info, err := os.Stat(filepath.Join(dir, "extauthz.state"))
			if kept := cfg.Policy.Bundle != "" || cfg.Issuers[0].JWKS.URL != "" || cfg.Issuers[0].Revocations != nil; kept != (err == nil) || kept && info.Mode() != os.ModeDir|0o700 {
				t.Errorf("folder for last good answers: %v, %v", info, err)
			}
			if warned := warnings(cfg); warned != "" {
				t.Error(warned)
			}
		})
	}
	for _, required := range []string{"listen", "jwks", "audiences", "policy"} {
		if _, err := loadConfig(t, smallConfigDir(t), smallConfigWith(required, "")); err == nil || !strings.Contains(err.Error(), required) {
			t.Errorf("without %s: %v", required, err)
		}
	}
}

// keyServer serves a key set by TLS, until the test takes it down.
func keyServer(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	keys := jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(keys)
	}))
	t.Cleanup(server.Close)
	writeCA(t, filepath.Join(dir, "server.pem"), server)
	return server
}

func writeCA(t *testing.T, path string, server *httptest.Server) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// until runs the feeds until what is asked for is in force.
func (w *feeder) until(t *testing.T, inForce func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(w.src.feeds))
	for _, f := range w.src.feeds {
		go func() { done <- f.Run(ctx) }()
	}
	for end := time.Now().Add(20 * time.Second); !inForce() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	held := inForce()
	cancel()
	for range w.src.feeds {
		<-done
	}
	if !held {
		t.Errorf("not in force; log: %s", w.log)
	}
}

// feeder are the feeds of a configuration, without anything that listens.
type feeder struct {
	env *feed.Env
	src *sources
	log *bytes.Buffer
}

func newFeeder(t *testing.T, cfg *Config) *feeder {
	t.Helper()
	w := &feeder{log: new(bytes.Buffer)}
	w.env = &feed.Env{Store: newStore(cfg), Log: slog.New(slog.NewJSONHandler(w.log, nil)), Now: time.Now, Metrics: feed.NewMetrics(prometheus.NewRegistry())}
	var err error
	if w.src, err = newSources(cfg, w.env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.src.close)
	for _, f := range w.src.feeds {
		if err := f.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *feeder) keys() int {
	return w.env.Store.Load().Issuers["https://issuer.example/org/a"].Keys.Len()
}

// TestSmallConfigKeysOfAURL: fetched, kept beside the configuration, and there after a restart without the network.
func TestSmallConfigKeysOfAURL(t *testing.T) {
	t.Parallel()
	dir := smallConfigDir(t)
	server := keyServer(t, dir)
	cfg, err := loadConfig(t, dir, smallConfigWith("jwks:", fmt.Sprintf("jwks: {url: %q, ca: server.pem}", server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	first := newFeeder(t, cfg)
	first.until(t, func() bool { return first.keys() == 1 })
	server.Close()
	again := newFeeder(t, cfg)
	if again.keys() != 1 {
		t.Errorf("after a restart without the network: %s", again.log)
	}
	again.env.Store.Load().Policy.Close()
}

// TestStateThatCannotBeKept: the default folder is a courtesy, a folder that was named is an order.
func TestStateThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := smallConfigDir(t)
	server := keyServer(t, dir)
	text := smallConfigWith("jwks:", fmt.Sprintf("jwks: {url: %q, ca: server.pem}", server.URL))
	if err := os.WriteFile(filepath.Join(dir, "extauthz.state"), nil, 0o600); err != nil { // root may write anywhere, but not below a file
		t.Fatal(err)
	}
	cfg, err := loadConfig(t, dir, text)
	if err != nil {
		t.Fatal(err)
	}
	var described strings.Builder
	if cfg.Describe(&described); !strings.Contains(described.String(), "WARNING: nothing can be kept in "+dir+"/extauthz.state: not a directory") {
		t.Error(described.String())
	}
	w := newFeeder(t, cfg)
	if !strings.Contains(w.log.String(), "nothing is kept on disk") {
		t.Errorf("log: %s", w.log)
	}
	w.until(t, func() bool { return w.keys() == 1 })

	cfg.StateDir = config.Path(filepath.Join(dir, "extauthz.state"))
	if _, err := newSources(cfg, w.env); err == nil || !strings.HasPrefix(err.Error(), "stateDir: ") {
		t.Errorf("a folder that was named: %v", err)
	}
	var r config.Report
	cfg.StateDir, cfg.File = "", ""
	if cfg.Validate(&r); r.Err() == nil || !strings.Contains(r.Err().Error(), "stateDir: is required") {
		t.Errorf("a configuration without a file: %v", r.Err())
	}
}

// TestSmallConfigPolicyOfABundle: through the whole process, with a token, and the last good one after a restart without the network.
func TestSmallConfigPolicyOfABundle(t *testing.T) {
	t.Parallel()
	dir := smallConfigDir(t)
	out := filepath.Join(dir, "mesh.tar.gz")
	build := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../internal/tools/go.mod", "opa", "build", "-b", filepath.Join(dir, "policies/mesh"), "-o", out, "--ignore", "*.schema.json")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("opa build: %v: %s", err, text)
	}
	doc, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Authorization") + "|" + r.Header.Get("If-None-Match"))
		w.Header().Set("Content-Type", "application/gzip")
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(doc)
	}))
	t.Cleanup(server.Close)
	writeCA(t, filepath.Join(dir, "server.pem"), server)
	cfg, err := loadConfig(t, dir, smallConfigWith("policy", fmt.Sprintf("policy: {bundle: %q, ca: server.pem, token: {file: bundle.token}, interval: 1s}", server.URL+"/mesh.tar.gz")))
	if err != nil {
		t.Fatal(err)
	}
	first := newFeeder(t, cfg)
	if err := first.env.Store.Ready(); err == nil || !strings.Contains(err.Error(), "policy") {
		t.Errorf("ready without a policy: %v", err)
	}
	first.until(t, func() bool { return first.env.Store.Load().Policy != nil && asked.Load() == `Bearer t0ken|"1"` })
	server.Close()
	again := newFeeder(t, cfg)
	if again.env.Store.Ready() != nil {
		t.Fatalf("after a restart without the network: %v; %s", again.env.Store.Ready(), again.log)
	}
	again.env.Store.Load().Policy.Close()
	var described strings.Builder
	if cfg.Describe(&described); !strings.Contains(described.String(), "policy: agentidp/authz/allow of the bundle "+server.URL+"/mesh.tar.gz, asked each 1s") || strings.Contains(described.String(), "t0ken") {
		t.Error(described.String())
	}
}
