package extauthz

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
)

// documentedBlocks are the blocks of a manual in a language that begin so, without the indentation of a list they stand in.
func documentedBlocks(t *testing.T, manual, language, begin string) []string {
	t.Helper()
	doc, err := os.ReadFile("../docs/" + manual)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^( *)```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(string(doc), -1) {
		if block := regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], ""); strings.HasPrefix(block, begin) {
			blocks = append(blocks, block)
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("docs/%s has no %s block that begins %q", manual, language, begin)
	}
	return blocks
}

var (
	topLevelKey  = regexp.MustCompile(`(?m)^([A-Za-z_]+):`)
	topLevelItem = regexp.MustCompile(`(?m)^- `)
)

// topLevelKeys are the keys of a block, nil when it is a list, or a list and something else.
func topLevelKeys(block string) []string {
	var keys []string
	for _, m := range topLevelKey.FindAllStringSubmatch(block, -1) {
		keys = append(keys, m[1])
	}
	if topLevelItem.MatchString(block) {
		return nil
	}
	return keys
}

// documentedDir is a folder with the files that the manuals' configurations name.
func documentedDir(t *testing.T) string {
	t.Helper()
	dir := smallConfigDir(t)
	settingstest.Fill(t, dir, map[string]string{
		"log.token":                                "t0ken",
		"policies/shop/shop.rego":                  "package shop\n\ndefault allow := false\n",
		"policies/shop/admin.rego":                 "package shop.admin\n\ndefault allow := false\n",
		"policies/organizations/org_a/budget.rego": documentedBlocks(t, "policies.md", "rego", "# policies/organizations/org_a/budget.rego")[0],
		"policies/organizations/org_a/data.json":   `{"auditors": ["agt_0199"]}`,
		"policies/candidate/authz.rego":            "package agentidp.authz\n\ndefault allow := false\n",
		"candidates/org_b/b.rego":                  "package agentidp.org\n\ndefault decision := false\n",
		"policy/from-before-rego-v1.rego":          "package envoy.authz\n\ndefault allow = false\n\nallow {\n\tio.jwt.decode(input.attributes.request.http.headers.token)\n}\n",
	})
	return dir
}

// besides is what a part of a configuration is tried with, unless it says so itself.
var besides = [][2]string{
	{"listen", "listen: unix:///run/agentidp/extauthz.sock\n"},
	{"issuers", "issuers: [{issuer: \"https://issuer.example\", jwks: {file: keys.json}, audiences: [\"svc://payments\"]}]\n"},
	{"policy", "policy: {dir: ./policies/mesh, organizations: {dir: ./policies/organizations}}\n"},
	{"decisionLog", "decisionLog: {stdout: true}\n"},
}

// envoyKeys begin the blocks that are Envoy's, beside its lists.
var envoyKeys = []string{"transport_socket", "with_request_body"}

// TestDocumentedConfigurations: each configuration in the manuals loads, a whole one as it stands and a part beside what it needs. What is no
// configuration is Envoy's (tried by the tests that run Envoy), or data of the mesh policy (tried in package policies).
func TestDocumentedConfigurations(t *testing.T) {
	t.Parallel()
	var known []string
	for i := range reflect.TypeFor[Config]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[Config]().Field(i).Tag.Get("yaml"), ",")
		known = append(known, name)
	}
	whole, parts := 0, 0
	for _, manual := range []string{"extauthz.md", "policies.md"} {
		for _, block := range documentedBlocks(t, manual, "yaml", "") {
			keys := topLevelKeys(block)
			switch {
			case len(keys) == 0 || slices.Contains(envoyKeys, keys[0]) || slices.Equal(keys, []string{"mesh"}):
				continue
			case slices.ContainsFunc(keys, func(k string) bool { return !slices.Contains(known, k) }):
				t.Errorf("%s: what is this? %s", manual, block)
				continue
			case slices.Contains(keys, "listen"):
				whole++
			default:
				parts++
				for _, b := range besides {
					if !slices.Contains(keys, b[0]) {
						block += b[1]
					}
				}
			}
			cfg, err := loadConfig(t, documentedDir(t), block)
			if err != nil {
				t.Errorf("%s: %v\n%s", manual, err, block)
				continue
			}
			if problems := cfg.CheckOrganizations(); len(problems) > 0 {
				t.Errorf("%s: %v\n%s", manual, problems, block)
			}
			var described strings.Builder
			if cfg.Describe(&described); strings.Contains(described.String(), "is not asked: ") {
				t.Errorf("%s: %s\n%s", manual, described.String(), block)
			}
		}
	}
	if whole < 2 || parts < 9 {
		t.Errorf("%d whole configurations and %d parts were found", whole, parts)
	}
}
