package extauthz_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/agentidp/agentidp/extauthz"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/internal/config"
)

func dial(t *testing.T, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// question asks for GET /orders/1 with a credential.
func question(authorization string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
		Method: "GET", Path: "/orders/1", Host: "service.example", Scheme: "http",
		Headers: map[string]string{":method": "GET", ":path": "/orders/1", ":authority": "service.example", ":scheme": "http", "authorization": authorization},
	}}}}
}

func TestRunListensWhereItIsTold(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "metrics: {listen: \"127.0.0.1:0\"}\ndecisionLog: {file: decisions.jsonl, labels: {pod: p1}}\n")
	text, err := os.ReadFile(filepath.Join(e.dir, "extauthz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e.write(t, "extauthz.yaml", strings.Replace(string(text), "listen: unix://"+e.socket, "listen: [\"tcp://127.0.0.1:0\", \"unix://"+e.socket+"\"]", 1))
	addresses := make(chan [2]string, 3)
	stop := e.run(t, func(name string, addr net.Addr) { addresses <- [2]string{name, addr.String()} })
	bound := map[string]string{}
	for range 3 {
		a := <-addresses
		bound[a[0]] = a[1]
	}

	for _, target := range []string{"unix://" + e.socket, bound["tcp://127.0.0.1:0"]} {
		conn := dial(t, target)
		answer, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), question("Bearer "+e.token(t)))
		if err != nil || answer.GetOkResponse() == nil || answer.GetStatus().GetCode() != 0 {
			t.Errorf("%s: %v, %v", target, answer, err)
		}
		for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
			health, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || health.GetStatus() != healthv1.HealthCheckResponse_SERVING {
				t.Errorf("health of %q: %v, %v", service, health, err)
			}
		}
		conn.Close()
	}
	for path, want := range map[string]string{"/readyz": "ready", "/metrics": "agentidp_extauthz_feed_reads_total", "/healthz": "ok"} {
		if status, body := httpGet(t, "http://"+bound["metrics"]+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200q", path, status, body)
		}
	}
	if status, _ := httpGet(t, "http://"+bound["metrics"]+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("pprof answers %d though nobody asked for it", status)
	}

	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	decisions, err := os.ReadFile(filepath.Join(e.dir, "decisions.jsonl"))
	if err != nil || strings.Count(string(decisions), "\n") != 2 || !strings.Contains(string(decisions), `"pod":"p1"`) {
		t.Errorf("decision log: %v, %s", err, decisions)
	}
	for line := range strings.Lines(string(decisions)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if info, err := os.Stat(filepath.Join(e.dir, "decisions.jsonl")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the decision log: %v, %v", info.Mode(), err)
	}
	if n := strings.Count(e.log.String(), `"msg":"listening"`); n != 3 {
		t.Errorf("%d lines say what is listened on, want 3", n)
	}
}

func httpGet(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestRunIsNotReadyBeforeEverythingIsLoaded(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "stateDir: state\nmetrics: {listen: \"127.0.0.1:0\"}\nissuers:\n  - {issuer: x, audiences: [a], jwks: {url: \"https://127.0.0.1:1/\"}}\n")
	metrics := make(chan string, 1)
	stop := e.run(t, func(name string, addr net.Addr) {
		if name == "metrics" {
			metrics <- addr.String()
		}
	})
	if status, body := httpGet(t, "http://"+<-metrics+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "keys of x") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	conn := dial(t, "unix://"+e.socket)
	health, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", health, err)
	}
	conn.Close()
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// A client can keep a call open for ever; it must not hold up the end.
func TestRunEndsThoughAStreamStaysOpen(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	stop := e.run(t, nil)
	conn := dial(t, "unix://"+e.socket)
	if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, checkPath); err != nil {
		t.Fatal(err)
	}
	if _, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil { // then the stream is there, too
		t.Fatal(err)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func TestRunFailsBeforeItListens(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	for name, tc := range map[string]struct {
		change func(t *testing.T, e *edge, cfg *extauthz.Config)
		says   string
	}{
		"keys gone":     {func(t *testing.T, e *edge, _ *extauthz.Config) { e.write(t, "keys.json", "{}") }, "keys of " + edgeIssuer},
		"policy broken": {func(t *testing.T, e *edge, _ *extauthz.Config) { e.write(t, "policies/authz.rego", "package x") }, "policy: "},
		"port in use": {func(_ *testing.T, _ *edge, cfg *extauthz.Config) {
			cfg.Listen = append(cfg.Listen, "tcp://"+taken.Addr().String())
		}, "listen[1]: "},
		"not an address": {func(_ *testing.T, _ *edge, cfg *extauthz.Config) { cfg.Listen = config.OneOrMany{"nowhere"} }, "listen[0]: "},
		"state directory": {func(_ *testing.T, e *edge, cfg *extauthz.Config) {
			cfg.StateDir = config.Path(filepath.Join(e.dir, "keys.json"))
		}, "stateDir: "},
		"decision log": {func(_ *testing.T, e *edge, cfg *extauthz.Config) {
			cfg.DecisionLog = &settings.DecisionLog{File: config.Path(filepath.Join(e.dir, "none", "d"))}
		}, "decisionLog: "},
		"identity mode": {func(_ *testing.T, _ *edge, cfg *extauthz.Config) { cfg.Identity = "maybe" }, "identity mode"},
		"ca gone": {func(_ *testing.T, _ *edge, cfg *extauthz.Config) {
			cfg.Issuers[0].JWKS = settings.JWKS{URL: "https://a/", CA: "/none.pem"}
		}, "issuers[0]: "},
		"list ca gone": {func(_ *testing.T, _ *edge, cfg *extauthz.Config) {
			cfg.Issuers[0].Revocations = &settings.Revocations{URL: "https://a/", CA: "/none.pem"}
		}, "issuers[0]: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, "")
			var cfg extauthz.Config
			if err := config.Load(filepath.Join(e.dir, "extauthz.yaml"), &cfg); err != nil {
				t.Fatal(err)
			}
			tc.change(t, e, &cfg)
			err := extauthz.Run(context.Background(), &cfg, extauthz.Process{
				Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now, Stdout: io.Discard,
				Listening: func(name string, _ net.Addr) { t.Errorf("%s accepts connections", name) },
			})
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Run = %v, want %q", err, tc.says)
			}
			if _, err := os.Stat(e.socket); err == nil {
				t.Error("a socket was left")
			}
		})
	}
}

// Two processes on one socket: the second one says so and leaves the first alone.
func TestRunRefusesASocketInUse(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "decisionLog: {stdout: true}\n")
	e.startHere(t)
	var cfg extauthz.Config
	if err := config.Load(filepath.Join(e.dir, "extauthz.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	err := extauthz.Run(context.Background(), &cfg, extauthz.Process{Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Now: time.Now, Stdout: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("Run = %v", err)
	}
	answer, err := authv3.NewAuthorizationClient(dial(t, "unix://"+e.socket)).Check(t.Context(), question("Bearer "+e.token(t)))
	if err != nil || answer.GetOkResponse() == nil {
		t.Errorf("the first one: %v, %v", answer, err)
	}
	awaitThat(t, "the decision is logged on standard output", func() bool { return strings.Contains(e.log.String(), fmt.Sprintf("%q", "decision_id")) })
}
