package envoy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/manifests/envoy"
)

func validate(t *testing.T, file string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testkit.EnvoyProgram(t), "--mode", "validate", "-c", file).CombinedOutput()
	if err != nil {
		t.Errorf("envoy --mode validate %s: %v\n%s", file, err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "[warning]") || strings.Contains(line, "deprecated") {
			t.Errorf("envoy warns: %s", line)
		}
	}
}

func TestShippedConfigurationIsValid(t *testing.T) {
	t.Parallel()
	validate(t, "sidecar.yaml")
}

func TestRender(t *testing.T) {
	t.Parallel()
	doc, err := envoy.Render(envoy.Params{Listen: "[::1]:8443", Admin: "localhost:0", Socket: `/tmp/a "b" #c.sock`, Upstream: "10.1.2.3:9000"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{ address: "::1", port_value: 8443 }`, `{ address: "127.0.0.1", port_value: 0 }`,
		`{ path: "/tmp/a \"b\" #c.sock" }`, `{ address: "10.1.2.3", port_value: 9000 }`,
	} {
		if strings.Count(string(doc), want) != 1 {
			t.Errorf("%s is not there once", want)
		}
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	validate(t, file)
}

func TestRenderWithBodies(t *testing.T) {
	t.Parallel()
	doc, err := envoy.Render(envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: "/a", Upstream: "127.0.0.1:1", BodyBytesMax: 4096})
	if err != nil || strings.Count(string(doc), "                      with_request_body: { max_request_bytes: 4096, allow_partial_message: false, pack_as_bytes: true }\n") != 1 {
		t.Errorf("%v\n%s", err, doc)
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	validate(t, file)
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	good := envoy.Params{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Socket: "/a", Upstream: "127.0.0.1:1"}
	for want, change := range map[string]func(*envoy.Params){
		"listen: want host:port":              func(p *envoy.Params) { p.Listen = "8080" },
		"listen: want an IP address":          func(p *envoy.Params) { p.Listen = "host.example:1" },
		"admin: want an IP address":           func(p *envoy.Params) { p.Admin = "127.0.0.1 }: 1" },
		"bodies: want at most 131072 bytes":   func(p *envoy.Params) { p.BodyBytesMax = 128<<10 + 1 },
		"admin: want a port":                  func(p *envoy.Params) { p.Admin = "127.0.0.1:70000" },
		"upstream: want a port":               func(p *envoy.Params) { p.Upstream = "127.0.0.1:0" },
		"upstream: want host:port":            func(p *envoy.Params) { p.Upstream = "" },
		"socket: want an absolute path":       func(p *envoy.Params) { p.Socket = "a.sock" },
		"socket: path has control characters": func(p *envoy.Params) { p.Socket = "/a\n" },
		"certificate: want an absolute path":  func(p *envoy.Params) { p.TLS = &envoy.TLS{Certificate: "a", Key: "/k"} },
		"key: path has control characters":    func(p *envoy.Params) { p.TLS = &envoy.TLS{Certificate: "/a", Key: "/k\n"} },
		"client CA: want an absolute path":    func(p *envoy.Params) { p.TLS = &envoy.TLS{Certificate: "/a", Key: "/k", ClientCA: "ca"} },
		"socket: path has 108 bytes":          func(p *envoy.Params) { p.Socket = "/" + strings.Repeat("a", 107) },
	} {
		p := good
		change(&p)
		if _, err := envoy.Render(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	if _, err := envoy.Render(good); err != nil {
		t.Error(err)
	}
}
