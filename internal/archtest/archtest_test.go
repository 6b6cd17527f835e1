package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/agentidp/agentidp"

// pkg is what `go list` says of one package of this module.
type pkg struct {
	ImportPath                         string
	Dir                                string
	Imports, TestImports, XTestImports []string
	GoFiles, TestGoFiles, XTestGoFiles []string
}

// path is the import path inside the module: "extauthz/internal/feed", "." for none.
func (p pkg) path() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

var packages = sync.OnceValues(func() ([]pkg, error) {
	out, err := goList("-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,TestGoFiles,XTestGoFiles", module+"/...")
	if err != nil {
		return nil, err
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func goList(args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(err.Error() + ": " + stderr.String())
	}
	return out, nil
}

func load(t *testing.T) []pkg {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func under(path, prefix string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// homes names the only packages that may import a library in non-test code. A trailing /... stands for the subtree.
var homes = []struct {
	library string
	homes   []string
	why     string
}{
	{"github.com/lestrrat-go/jwx", []string{"internal/jose"}, "D1: tokens and keys are parsed in one place"},
	{"github.com/open-policy-agent/opa", []string{"internal/policy"}, "D11: capabilities, deadlines and panics are handled in one place"},
	{"github.com/jackc/pgx", []string{"issuer/internal/postgres/..."}, "D5: SQL runs only where row-level security is set up"},
	{"github.com/pressly/goose", []string{"issuer/internal/postgres/..."}, "D6: migrations belong to the schema's owner"},
	{"database/sql", []string{"issuer/internal/postgres/...", "internal/agentid"}, "D5: the one SQL package"},
	{"github.com/tink-crypto/tink-go", []string{"internal/seal"}, "D8: one way to encrypt at rest"},
	{"github.com/tink-crypto/tink-go-awskms", []string{"internal/kms"}, "D8: one way out to a key management service"},
	{"github.com/tink-crypto/tink-go-gcpkms", []string{"internal/kms"}, "D8: one way out to a key management service"},
	{"github.com/aws", []string{"internal/kms"}, "ADR 8: what a cloud's client brings stays behind seal.Wrapper"},
	{"cloud.google.com/go", []string{"internal/kms"}, "ADR 8: what a cloud's client brings stays behind seal.Wrapper"},
	{"google.golang.org/api", []string{"internal/kms"}, "ADR 8: what a cloud's client brings stays behind seal.Wrapper"},
	{"go.yaml.in/yaml", []string{"internal/config", "internal/policy"}, "D13: configuration and policy data are read strictly"},
	{"github.com/dgraph-io/ristretto", []string{"extauthz/internal/identity", "extauthz/internal/decide"}, "caches compare their keys; ristretto does not"},
	{"github.com/envoyproxy/go-control-plane", []string{"internal/bench/extauthzbench"}, "ADR 18: the sidecar reads and writes Envoy's messages as bytes, and does not link their types"},
	{"go.opentelemetry.io", []string{"internal/obs", "internal/testkit"}, "ADR 22: spans are made and sent in one place, and without the SDK"},
	{"github.com/redis/go-redis", []string{"issuer/internal/ratelimit"}, "D4: what is in Redis may be gone at any time; each user of it has its own answer to that"},
	{"github.com/alicebob/miniredis", []string{"internal/localsvc"}, "D4: an in-process Redis is for development only"},
}

func TestLibrariesHaveOneHome(t *testing.T) {
	t.Parallel()
	all := load(t)
	for _, h := range homes {
		used := false
		for _, p := range all {
			for _, imp := range p.Imports {
				if !under(imp, h.library) {
					continue
				}
				if slices.ContainsFunc(h.homes, func(home string) bool {
					if tree, ok := strings.CutSuffix(home, "/..."); ok {
						return under(p.path(), tree)
					}
					return p.path() == home
				}) {
					used = true
					continue
				}
				t.Errorf("%s imports %s; only %s may (%s)", p.path(), imp, strings.Join(h.homes, ", "), h.why)
			}
		}
		if !used {
			t.Errorf("no home imports %s any more: take its rule away", h.library)
		}
	}
}

func TestServicesMeetOnlyOverTheNetwork(t *testing.T) {
	t.Parallel()
	services := []string{"extauthz", "issuer", "control"}
	for _, p := range load(t) {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			target, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			for _, s := range services {
				if !under(target, s) || under(p.path(), s) || under(p.path(), "cmd") {
					continue
				}
				t.Errorf("%s imports %s: services meet in internal/wire and over the network", p.path(), target)
			}
			if under(target, "cmd") && !under(p.path(), "cmd") {
				t.Errorf("%s imports %s: nobody imports a command", p.path(), target)
			}
			if under(p.path(), "internal") && strings.Contains(target, "internal/testkit") && !under(p.path(), "internal/testkit") && slices.Contains(p.Imports, imp) {
				t.Errorf("%s imports %s outside a test", p.path(), target)
			}
		}
	}
}

func TestTestSupportStaysInTests(t *testing.T) {
	t.Parallel()
	support := []string{"internal/testkit", "internal/jose/josetest", "internal/policy/policytest", "extauthz/internal/settings/settingstest", "issuer/internal/postgres/pgtest", "testing"}
	for _, p := range load(t) {
		if slices.ContainsFunc(support, func(s string) bool { return under(p.path(), s) }) {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(support, strings.TrimPrefix(imp, module+"/")) {
				t.Errorf("%s imports %s outside a test", p.path(), imp)
			}
		}
	}
}

// Pure packages compute; they are given time, bytes and connections.
func TestPurePackages(t *testing.T) {
	t.Parallel()
	pure := []string{
		"internal/agentid", "internal/strictjson", "internal/plainjson", "internal/jose", "internal/trust",
		"extauthz/internal/admission", "extauthz/internal/checkreq", "extauthz/internal/checkresp", "extauthz/internal/credential", "extauthz/internal/identity", "extauthz/internal/possession", "extauthz/internal/ratelimit", "issuer/internal/oauth",
	}
	forbidden := []string{"net", "os", "os/exec", "database/sql", "net/http/httputil", "io/ioutil"}
	seen := map[string]bool{}
	for _, p := range load(t) {
		if !slices.Contains(pure, p.path()) {
			continue
		}
		seen[p.path()] = true
		for _, imp := range p.Imports {
			if slices.Contains(forbidden, imp) {
				t.Errorf("%s is pure but imports %s", p.path(), imp)
			}
		}
	}
	for _, path := range pure {
		if !seen[path] {
			t.Errorf("pure package %s does not exist", path)
		}
	}
}

// The sidecar is paid for once per pod: what it links is a promise.
func TestSidecarLinksLittle(t *testing.T) {
	t.Parallel()
	out, err := goList("-deps", "-tags", "grpcnotrace", module+"/cmd/extauthz")
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, banned := range []string{
		"github.com/jackc/pgx", "github.com/hibiken/asynq", "github.com/redis", "github.com/twmb/franz-go", "github.com/nats-io",
		"github.com/getkin/kin-openapi", "html/template", "github.com/tink-crypto", "github.com/pressly/goose", "testing", "github.com/alicebob/miniredis",
		"github.com/aws", "cloud.google.com/go", "google.golang.org/api",
	} {
		for _, d := range deps {
			if under(d, banned) {
				t.Errorf("cmd/extauthz links %s", d)
			}
		}
	}
}
