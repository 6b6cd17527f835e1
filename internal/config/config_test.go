package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

type jwks struct {
	File Path   `yaml:"file"`
	URL  string `yaml:"url"`
}

type issuer struct {
	Issuer    string   `yaml:"issuer"`
	JWKS      jwks     `yaml:"jwks"`
	Audiences []string `yaml:"audiences"`
	Max       Duration `yaml:"maxTokenLifetime"`
}

func (i *issuer) SetDefaults() { i.Max = Duration{time.Hour} }

type buffer struct {
	Size Bytes `yaml:"size"`
}

func (b *buffer) SetDefaults() { b.Size = 1024 }

type shared struct {
	Region string `yaml:"region"`
}

type daemon struct {
	shared  `yaml:",inline"`
	Listen  OneOrMany         `yaml:"listen"`
	Issuers []issuer          `yaml:"issuers"`
	Metrics *buffer           `yaml:"metrics"`
	Buffer  buffer            `yaml:"buffer"`
	Labels  map[string]string `yaml:"labels"`
	Limits  map[string]buffer `yaml:"limits"`
	Token   Secret            `yaml:"token"`
	Pprof   bool              `yaml:"pprof"`
	Workers int               `yaml:"workers"`
	Port    uint16            `yaml:"port"`
	Ratio   float64           `yaml:"ratio"`
	Level   slog.Level        `yaml:"level"`
	Ignored string            `yaml:"-"`

	validate func(*Report)
}

func (d *daemon) Validate(r *Report) {
	if d.validate != nil {
		d.validate(r)
	}
}

// write puts a config file and its companions into a folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// problems loads text and returns the lines an operator would see, with the folder taken off.
func problems(t *testing.T, text string, into *daemon) []string {
	t.Helper()
	dir := write(t, map[string]string{"d.yaml": text, "empty": "\n", "token": "s3cret\n"})
	env := map[string]string{"TOKEN": "from-env", "EMPTY": ""}
	l := Loader{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	err := l.Load(filepath.Join(dir, "d.yaml"), into)
	if err == nil {
		return nil
	}
	var list Errors
	if !errors.As(err, &list) {
		t.Fatalf("error is %T, want Errors", err)
	}
	return strings.Split(strings.ReplaceAll(err.Error(), dir+"/", ""), "\n")
}

func TestLoadDecodesEverythingAndKeepsDefaults(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"token": "s3cret\n", "d.yaml": `
region: eu
listen: [unix:///a, tcp://b:1]
issuers:
  - issuer: https://a
    jwks: {file: sub/../keys.json}
    audiences: ["x"]
  - {issuer: https://b, maxTokenLifetime: 250ms, jwks: {file: /abs/keys.json}}
metrics: {}
labels: {a: b}
limits: {one: {}, two: {size: 1MiB}}
token: {file: token}
pprof: true
workers: -3
port: 65535
ratio: 0.5
level: debug
`})
	var got daemon
	if err := Load(filepath.Join(dir, "d.yaml"), &got); err != nil {
		t.Fatal(err)
	}
	want := daemon{
		shared: shared{Region: "eu"},
		Listen: OneOrMany{"unix:///a", "tcp://b:1"},
		Issuers: []issuer{
			{Issuer: "https://a", JWKS: jwks{File: Path(filepath.Join(dir, "keys.json"))}, Audiences: []string{"x"}, Max: Duration{time.Hour}},
			{Issuer: "https://b", JWKS: jwks{File: "/abs/keys.json"}, Max: Duration{250 * time.Millisecond}},
		},
		Metrics: &buffer{Size: 1024},
		Buffer:  buffer{Size: 1024},
		Labels:  map[string]string{"a": "b"},
		Limits:  map[string]buffer{"one": {Size: 1024}, "two": {Size: 1 << 20}},
		Token:   Secret{"s3cret", filepath.Join(dir, "token")},
		Pprof:   true, Workers: -3, Port: 65535, Ratio: 0.5, Level: slog.LevelDebug,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(daemon{}, shared{}, Secret{}), cmp.FilterPath(func(p cmp.Path) bool {
		return p.Last().String() == ".validate"
	}, cmp.Ignore())); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReportsEachMistakeOnOneLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"empty file":              {"", []string{"d.yaml: the file is empty"}},
		"only a comment":          {"# hello\n", []string{"d.yaml: the file is empty"}},
		"no mapping":              {"- a\n", []string{"d.yaml:1: want keys and values, got a list"}},
		"just a string":           {"hello\n", []string{"d.yaml:1: want keys and values, got a string"}},
		"not YAML":                {"listen: a\n\tx: [\n", []string{"d.yaml:2: not YAML: found a tab character that violates indentation"}},
		"second document":         {"listen: a\n---\nlisten: b\n", []string{"d.yaml:2: a second document starts here; one file holds one document"}},
		"unknown key, close":      {"lisen: a\n", []string{`d.yaml:1: lisen: unknown key; did you mean "listen"?`}},
		"unknown key, case":       {"issuers:\n- Audiences: [a]\n", []string{`d.yaml:2: issuers[0].Audiences: unknown key; did you mean "audiences"?`}},
		"unknown key, far":        {"metrics: {listenOn: a}\n", []string{"d.yaml:1: metrics.listenOn: unknown key; known here: size"}},
		"hidden field":            {"Ignored: a\n", []string{"d.yaml:1: Ignored: unknown key; known here: region, listen, issuers, metrics, buffer, labels, limits, token, pprof, workers, port, ratio, level"}},
		"duplicate key":           {"pprof: true\nport: 1\npprof: false\n", []string{"d.yaml:3: pprof: duplicate key, first given in line 1"}},
		"duplicate in a map":      {"labels: {a: b, a: c}\n", []string{"d.yaml:1: labels.a: duplicate key, first given in line 1"}},
		"number for a string":     {"region: 12\n", []string{"d.yaml:1: region: want a string, got the number 12 (put it in quotes)"}},
		"bool for a string":       {"region: true\n", []string{"d.yaml:1: region: want a string, got true (put it in quotes)"}},
		"date for a string":       {"region: 2020-01-01\n", []string{"d.yaml:1: region: want a string, got a date (put it in quotes)"}},
		"yes for a bool":          {"pprof: yes\n", []string{"d.yaml:1: pprof: want true or false, got a string"}},
		"string for a number":     {"workers: \"1\"\n", []string{"d.yaml:1: workers: want a whole number, got a string"}},
		"fraction for a number":   {"workers: 1.5\n", []string{"d.yaml:1: workers: want a whole number, got the number 1.5"}},
		"number too large":        {"port: 70000\n", []string{"d.yaml:1: port: want a whole number, got one that is out of range"}},
		"no value":                {"metrics:\n", []string{"d.yaml:1: metrics: has no value: give one, or leave the key out"}},
		"list for a mapping":      {"metrics: [a]\n", []string{"d.yaml:1: metrics: want keys and values, got a list"}},
		"mapping for a list":      {"issuers: {issuer: a}\n", []string{"d.yaml:1: issuers: want a list, got keys and values"}},
		"list in one-or-many":     {"listen: [a, [b]]\n", []string{"d.yaml:1: listen[1]: want a string, got a list"}},
		"number in one-or-many":   {"listen: 8080\n", []string{"d.yaml:1: listen: want a string, got the number 8080 (put it in quotes)"}},
		"anchor":                  {"labels: &a {a: b}\n", []string{"d.yaml:1: labels: anchors and aliases are not accepted: write the value out"}},
		"merge key":               {"labels:\n  <<: {a: b}\n", []string{"d.yaml:2: labels: want plain keys; merge keys (<<) are not accepted"}},
		"tag":                     {"region: !!str 12\n", []string{"d.yaml:1: region: type tags (!!str) are not accepted"}},
		"duration without unit":   {"issuers:\n- issuer: a\n  maxTokenLifetime: 5\n", []string{"d.yaml:3: issuers[0].maxTokenLifetime: want a duration such as 30s, got the number 5"}},
		"duration nonsense":       {"issuers:\n- maxTokenLifetime: soon\n", []string{"d.yaml:2: issuers[0].maxTokenLifetime: want a duration with its unit, such as 250ms, 30s or 1h"}},
		"negative duration":       {"issuers:\n- maxTokenLifetime: -1s\n", []string{"d.yaml:2: issuers[0].maxTokenLifetime: must not be negative"}},
		"size nonsense":           {"buffer: {size: 1MB}\n", []string{"d.yaml:1: buffer.size: want a number of bytes, such as 65536, 64KiB or 1MiB"}},
		"size negative":           {"buffer: {size: -1}\n", []string{"d.yaml:1: buffer.size: is out of range"}},
		"size overflow":           {"buffer: {size: 9223372036854775807KiB}\n", []string{"d.yaml:1: buffer.size: is out of range"}},
		"path is a list":          {"issuers:\n- jwks: {file: [a]}\n", []string{"d.yaml:2: issuers[0].jwks.file: want a file name, got a list"}},
		"path is empty":           {"issuers:\n- jwks: {file: \"\"}\n", []string{"d.yaml:2: issuers[0].jwks.file: want a file name"}},
		"NUL":                     {"region: \"a\\0b\"\n", []string{"d.yaml:1: region: must not hold NUL bytes"}},
		"level":                   {"level: loud\n", []string{`d.yaml:1: level: want debug, info, warn or error`}},
		"level wrong type":        {"level: 3\n", []string{"d.yaml:1: level: want a string, got the number 3"}},
		"secret in clear":         {"token: s3cret\n", []string{"d.yaml:1: token: want a reference, {file: path} or {env: NAME}: secrets do not stand in this file"}},
		"secret both":             {"token: {file: token, env: TOKEN}\n", []string{"d.yaml:1: token: want a reference, {file: path} or {env: NAME}: secrets do not stand in this file"}},
		"secret neither":          {"token: {}\n", []string{"d.yaml:1: token: want a reference, {file: path} or {env: NAME}: secrets do not stand in this file"}},
		"secret unknown key":      {"token: {files: token}\n", []string{`d.yaml:1: token.files: unknown key; did you mean "file"?`}},
		"secret file missing":     {"token: {file: nowhere}\n", []string{"d.yaml:1: token.file: secret nowhere: no such file"}},
		"secret file empty":       {"token: {file: empty}\n", []string{"d.yaml:1: token: the secret is empty or not set"}},
		"secret file is a folder": {"token: {file: .}\n", []string{"d.yaml:1: token.file: secret DIR: is a directory, want a file"}},
		"secret not in env":       {"token: {env: NOWHERE}\n", []string{"d.yaml:1: token: the secret is empty or not set"}},
		"secret empty in env":     {"token: {env: EMPTY}\n", []string{"d.yaml:1: token: the secret is empty or not set"}},
		"all at once, in order of the file": {"pprof: maybe\nisuers: []\nissuers:\n- audiences: a\n  issuer: 1\nport: x\n", []string{
			"d.yaml:1: pprof: want true or false, got a string",
			`d.yaml:2: isuers: unknown key; did you mean "issuers"?`,
			"d.yaml:4: issuers[0].audiences: want a list, got a string",
			"d.yaml:5: issuers[0].issuer: want a string, got the number 1 (put it in quotes)",
			"d.yaml:6: port: want a whole number, got a string",
		}},
		"control characters of the file stay out of the terminal": {"\"a\\e[31m\\nb\": 1\n", []string{"d.yaml:1: a[31m b: unknown key; known here: region, listen, issuers, metrics, buffer, labels, limits, token, pprof, workers, port, ratio, level"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, tc.text, &daemon{})
			for i := range got {
				if strings.Contains(got[i], "secret /") {
					got[i] = "d.yaml:1: token.file: secret DIR: is a directory, want a file"
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadNamesAFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big.yaml"), make([]byte, fileBytesMax+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"none.yaml": "no such file", "": "is a directory, want a file", "big.yaml": "is larger than 1048576 bytes"} {
		path := filepath.Join(dir, name)
		if err := Load(path, &daemon{}); err == nil || err.Error() != path+": "+want {
			t.Errorf("Load(%q) = %v, want %q", name, err, want)
		}
	}
}

func TestValidateFindsTheLine(t *testing.T) {
	t.Parallel()
	d := daemon{validate: func(r *Report) {
		r.Errorf("issuers[1].audiences", "at least one is required") // absent: the line of its parent
		r.Errorf("issuers[0].jwks.file", "bad %s", "key")
		r.Errorf("policy", "is required") // absent at the top: line 1
		r.Errorf("policy", "and again")   // one field may have many problems
		r.Errorf("port", "never shown: it could not be decoded")
		r.Errorf("port.sub", "never shown either")
	}}
	got := problems(t, "port: x\nissuers:\n- issuer: a\n  jwks:\n    file: k\n- issuer: b\n", &d)
	want := []string{
		"d.yaml:1: port: want a whole number, got a string",
		"d.yaml:1: policy: is required",
		"d.yaml:1: policy: and again",
		"d.yaml:5: issuers[0].jwks.file: bad key",
		"d.yaml:6: issuers[1].audiences: at least one is required",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A secret that cannot be had is one mistake: that it is then missing is not told as another.
func TestSecretsAreReportedOnce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"token: {file: nowhere}\n": "d.yaml:1: token.file: secret nowhere: no such file",
		"token: {files: token}\n":  `d.yaml:1: token.files: unknown key; did you mean "file"?`,
		"token: {file: empty}\n":   "d.yaml:1: token: the secret is empty or not set",
		"token: {env: NOWHERE}\n":  "d.yaml:1: token: the secret is empty or not set",
		"pprof: true\n":            "d.yaml:1: token: is required",
	} {
		var d daemon
		d.validate = func(r *Report) {
			if !d.Token.IsSet() {
				r.Errorf("token", "is required")
			}
		}
		if diff := cmp.Diff([]string{want}, problems(t, text, &d)); diff != "" {
			t.Errorf("%s%s", text, diff)
		}
	}
}

func TestReportWithoutAFile(t *testing.T) {
	t.Parallel()
	var r Report
	if r.Err() != nil {
		t.Fatal("an empty report is an error")
	}
	r.Errorf("issuers[0]", "bad")
	if got := r.Err().Error(); got != "issuers[0]: bad" {
		t.Errorf("got %q", got)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	const canary = "canary-6f1b"
	var d daemon
	if got := problems(t, "token: {env: TOKEN}\n", &d); got != nil || d.Token.Reveal() != "from-env" {
		t.Fatalf("from env: %v, %q", got, d.Token.Reveal())
	}
	s := NewSecret(canary)
	if !s.IsSet() || s.Reveal() != canary || (Secret{}).IsSet() {
		t.Fatal("the value is lost")
	}
	type holder struct{ S Secret }
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+verb+verb, s, &s, holder{s})
	}
	asJSON, _ := json.Marshal(holder{s})
	asYAML, _ := yaml.Marshal(holder{s})
	asText, _ := s.MarshalText()
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "h", holder{s})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "h", holder{s})
	out.WriteString(string(asJSON) + string(asYAML) + string(asText) + s.String() + s.GoString())
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), "63616e617279") {
		t.Errorf("the secret got out: %s", out.String())
	}
	if !strings.Contains(string(asJSON), secretMask) || !strings.Contains(string(asYAML), "[secret]") {
		t.Errorf("JSON %s, YAML %s", asJSON, asYAML)
	}
}

func TestLoadPanicsOnAMisuse(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	_ = Load("x", daemon{})
}

func FuzzLoad(f *testing.F) {
	f.Add("listen: a\nissuers: [{issuer: x, audiences: [b]}]\n")
	f.Add("token: {file: x}\n---\n")
	f.Add("a: &a [*a]\n")
	f.Add("? [a]\n: b\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Loader{}.Load(path, &daemon{})
		var list Errors
		if err != nil && (!errors.As(err, &list) || strings.Count(err.Error(), "\n") != len(list)-1) {
			t.Errorf("not one line per problem: %q", err)
		}
	})
}

// What somebody else renews is read when it is needed; a file that is being replaced changes nothing.
func TestSecretIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", "first\n")
	write("d.yaml", "token: {file: token}\n")
	var d daemon
	if err := Load(filepath.Join(dir, "d.yaml"), &d); err != nil {
		t.Fatal(err)
	}
	reveal := d.Token.Follow()
	for _, step := range []struct{ file, want string }{
		{"first\n", "first"}, {"second\n", "second"}, {"", "second"}, {"\n", "second"}, {strings.Repeat("x", secretBytesMax+1), "second"}, {"third", "third"},
	} {
		write("token", step.file)
		if got := reveal(); got != step.want {
			t.Errorf("after %.10q: %q, want %q", step.file, got, step.want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	if got := reveal(); got != "third" || d.Token.Reveal() != "first" {
		t.Errorf("without the file: %q; as it was loaded: %q", got, d.Token.Reveal())
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := reveal(); got != "third" { // and it is not waited for
		t.Errorf("of a named pipe: %q", got)
	}
	if got := NewSecret("fixed").Follow()(); got != "fixed" {
		t.Errorf("from nowhere: %q", got)
	}
}
