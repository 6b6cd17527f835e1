package obs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/config"
)

// document is a configuration file with nothing but tracing.
type document struct {
	Tracing *Tracing `yaml:"tracing"`
}

func (d *document) Validate(r *config.Report) { d.Tracing.Validate(r, "tracing") }

func load(t *testing.T, text string) (*Tracing, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"c.yaml": text, "key": "secret key\n", "broken": "a\x01b", "long": strings.Repeat("k", 5000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var d document
	err := config.Load(filepath.Join(dir, "c.yaml"), &d)
	return d.Tracing, err
}

func TestTracingConfig(t *testing.T) {
	t.Parallel()
	c, err := load(t, `tracing:
  endpoint: http://127.0.0.1:4318
  headers: {authorization: {file: key}}
  resource: {deployment.environment.name: test}
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Sampler != SamplerParent || c.Ratio != 1 || c.url() != "http://127.0.0.1:4318/v1/traces" || c.header().Get("Authorization") != "secret key" {
		t.Errorf("%+v", c)
	}
	for endpoint, want := range map[string]string{"https://c/": "https://c/v1/traces", "https://c/otlp/v1/traces": "https://c/otlp/v1/traces", "https://c?a=b": "https://c/v1/traces?a=b"} {
		if got := (&Tracing{Endpoint: endpoint}).url(); got != want {
			t.Errorf("%s is %s", endpoint, got)
		}
	}
}

func TestTracingConfigRefuses(t *testing.T) {
	t.Parallel()
	const good = "tracing:\n  endpoint: http://127.0.0.1:4318\n"
	many := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"no endpoint":          {"tracing:\n  ratio: 1\n", ":1: tracing.endpoint: is required"},
		"plaintext elsewhere":  {"tracing:\n  endpoint: http://collector:4318\n", ":2: tracing.endpoint: http:// is accepted for loopback hosts only"},
		"no URL":               {"tracing:\n  endpoint: collector:4318\n", ":2: tracing.endpoint: the URL"},
		"user information":     {"tracing:\n  endpoint: https://u:p@collector\n", ":2: tracing.endpoint: the URL must not carry user information"},
		"no such CA":           {good + "  ca: missing.pem\n", ":3: tracing.ca: open"},
		"CA without a PEM":     {good + "  ca: key\n", ":3: tracing.ca: "},
		"sampler":              {good + "  sampler: always\n", ":3: tracing.sampler: want parent or ratio"},
		"ratio above 1":        {good + "  ratio: 1.5\n", ":3: tracing.ratio: want a number from 0"},
		"ratio below 0":        {good + "  ratio: -0.1\n", ":3: tracing.ratio: want a number from 0"},
		"ratio is no number":   {good + "  ratio: .nan\n", ":3: tracing.ratio: "},
		"a literal secret":     {good + "  headers: {authorization: abc}\n", ":3: tracing.headers.authorization: want a reference"},
		"no such secret":       {good + "  headers: {authorization: {file: missing}}\n", ":3: tracing.headers.authorization.file: secret "},
		"not a header":         {good + "  headers: {\"a b\": {file: key}}\n", ":3: tracing.headers.a b: want the name of a header"},
		"a header of ours":     {good + "  headers: {content-type: {file: key}}\n", ":3: tracing.headers.content-type: is set by the exporter itself"},
		"a control character":  {good + "  headers: {authorization: {file: broken}}\n", ":3: tracing.headers.authorization: want at most"},
		"a long header":        {good + "  headers: {authorization: {file: long}}\n", ":3: tracing.headers.authorization: want at most"},
		"many headers":         {good + "  headers:\n" + many(17, "    h%d: {file: key}\n"), ":3: tracing.headers: has 17 headers, at most 16"},
		"many attributes":      {good + "  resource:\n" + many(65, "    a%d: b\n"), ":3: tracing.resource: has 65 attributes, at most 64"},
		"an attribute's name":  {good + "  resource: {\"a b\": c}\n", `tracing.resource: "a b": want a name`},
		"an empty attribute":   {good + "  resource: {a: \"\"}\n", ":3: tracing.resource.a: want a text of 1 to 256 bytes"},
		"a long attribute":     {good + "  resource: {a: " + strings.Repeat("b", 257) + "}\n", ":3: tracing.resource.a: want a text of 1 to 256 bytes"},
		"something else there": {good + "  insecure: true\n", ":3: tracing.insecure: unknown key"},
	} {
		_, err := load(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		} else if strings.Contains(err.Error(), "secret key") {
			t.Errorf("%s: shows a secret: %v", name, err)
		}
	}
}
