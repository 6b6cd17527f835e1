package policies

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fenced is a block of a document, in a list or not.
var fenced = regexp.MustCompile("(?ms)^( *)```([a-z]+)\n(.*?)^ *```$")

// documented is the block of docs/policies.md that holds text, without the indentation of a list.
func documented(t *testing.T, language, text string) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fenced.FindAllStringSubmatch(string(doc), -1) {
		if m[2] == language && strings.Contains(m[3], text) {
			return regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[3], "")
		}
	}
	t.Fatalf("docs/policies.md has no %s block with %q", language, text)
	return ""
}

// meshDir is the mesh policy as it ships, with other data and a test beside it.
func meshDir(t *testing.T, data, test string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mesh")
	if err := os.CopyFS(dir, os.DirFS("mesh")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"data.yaml": data, "orders_test.rego": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// opa runs what a console block says, `$ opa …`, with a policy directory in place of policies/mesh.
func opa(t *testing.T, console, dir string) (string, error) {
	t.Helper()
	command, _, _ := strings.Cut(strings.TrimPrefix(console, "$ opa "), "\n")
	arguments := append([]string{"tool", "-modfile=../internal/tools/go.mod", "opa"}, strings.Fields(strings.Replace(command, "policies/mesh", dir, 1))...)
	out, err := exec.CommandContext(t.Context(), "go", arguments...).CombinedOutput()
	return string(out), err
}

const dataBlock = "defaultService: orders"

// TestDocumentedTest: the test that the manual shows passes on the data that it shows, by the command that it names, and fails when the route is another.
func TestDocumentedTest(t *testing.T) {
	t.Parallel()
	console := documented(t, "console", "$ opa test ")
	data, test := documented(t, "yaml", dataBlock), documented(t, "rego", "orders_test")
	_, want, _ := strings.Cut(console, "\n")
	if out, err := opa(t, console, meshDir(t, data, test)); err != nil || out != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
	for _, other := range [][2]string{
		{"POST: {scopes: [orders:read, orders:write]}", "POST: {scopes: [orders:read]}"},
		{"organizations: [org_a, org_b]", "organizations: [org_b]"},
		{"GET: {scopes: [orders:read]}", "GET: {scope: [orders:read]}"},
	} {
		changed := strings.Replace(data, other[0], other[1], 1)
		if out, err := opa(t, console, meshDir(t, changed, test)); err == nil || changed == data || !strings.Contains(out, "FAIL: 1/2") {
			t.Errorf("with %s: %v: %s", other[1], err, out)
		}
	}
	version, _ := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "github.com/open-policy-agent/opa").Output()
	tool, err := opa(t, "$ opa version\n", "")
	if number := strings.TrimPrefix(strings.TrimSpace(string(version)), "v"); err != nil || number == "" || !strings.Contains(tool, "Version: "+number+"\n") {
		t.Errorf("extauthz is built with %q, the tool is %s", number, tool)
	} else if doc, err := os.ReadFile("../docs/policies.md"); err != nil || !strings.Contains(string(doc), "Use OPA "+number+",") {
		t.Errorf("docs/policies.md does not name OPA %s, %v", number, err)
	}
}

// TestDocumentedProblems: the question that the manual shows, on data with the two mistakes of its answer.
func TestDocumentedProblems(t *testing.T) {
	t.Parallel()
	console := documented(t, "console", "data.agentidp.authz.data_problems")
	data := documented(t, "yaml", dataBlock)
	if out, err := opa(t, console, meshDir(t, data, "package orders_test\n")); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("the data of the manual: %v: %s", err, out)
	}
	data = strings.Replace(data, "POST: {scopes:", "POST: {scope:", 1) + "  hosts: {shop.example: shop}\n"
	_, want, _ := strings.Cut(console, "\n")
	if out, err := opa(t, console, meshDir(t, data, "package orders_test\n")); err != nil || out != want {
		t.Errorf("%v: %s, want %s", err, out, want)
	}
}
