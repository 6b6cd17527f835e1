package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResourceConfig(t *testing.T) {
	t.Parallel()
	dir := configDir(t)
	got, err := loadConfig(t, dir, minimal+"resource: {identifier: \"https://orders.example/mcp\"}\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"https://issuer.example/org/a"}, got.PublishedResource().AuthorizationServers); diff != "" || got.Resource.AuthorizationServers != nil {
		t.Errorf("servers: %s", diff)
	}
	const page = "want an address such as https://orders.example/, or http:// on loopback"
	for text, want := range map[string]string{
		"resource: {}":                                                                                "7: resource.identifier: is required",
		"resource: {identifier: orders}":                                                              "7: resource.identifier: " + page,
		"resource: {identifier: \"http://orders.example\"}":                                           "7: resource.identifier: " + page,
		"resource: {identifier: \"https://me@orders.example\"}":                                       "7: resource.identifier: " + page,
		"resource: {identifier: \"https://orders.example\\\"x\"}":                                     "7: resource.identifier: " + page,
		"resource: {identifier: \"https://orders.example/a?b\"}":                                      "7: resource.identifier: want a path such as /mcp or none, without query, fragment, escapes, // or dot segments",
		"resource: {identifier: \"https://orders.example/a/../b\"}":                                   "7: resource.identifier: want a path such as /mcp or none, without query, fragment, escapes, // or dot segments",
		"resource: {identifier: \"https://orders.example/%61\"}":                                      "7: resource.identifier: want a path such as /mcp or none, without query, fragment, escapes, // or dot segments",
		"resource:\n  identifier: https://a.example\n  authorizationServers: [\"https://b/?x\"]":      "9: resource.authorizationServers[0]: want an address without query and fragment",
		"resource:\n  identifier: https://a.example\n  authorizationServers: [b]":                     "9: resource.authorizationServers[0]: " + page,
		"resource:\n  identifier: https://a.example\n  scopesSupported: [a, \"b c\"]":                 "9: resource.scopesSupported[1]: want visible ASCII without spaces, quotation marks and backslashes",
		"resource:\n  identifier: https://a.example\n  documentation: ftp://a/":                       "9: resource.documentation: " + page,
		"resource:\n  identifier: https://a.example\n  name: \"a\\nb\"":                               "9: resource.name: want at most 200 bytes of text on one line",
		"resource:\n  identifier: https://a.example\n  scopesSupported: [" + manyScopes(60, 60) + "]": "7: resource: makes a document of 3990 bytes, at most 3072 fit into an answer",
		"resource:\n  identifier: https://a.example\n  scopesSupported: [" + manyScopes(101, 3) + "]": "9: resource.scopesSupported: has 101 entries, at most 100 are accepted",
	} {
		_, err := loadConfig(t, dir, minimal+text+"\n")
		if err == nil || !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir+"/extauthz.yaml:", ""), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	_, err = loadConfig(t, dir, strings.Replace(minimal, "https://issuer.example/org/a", "dev", 1)+"resource: {identifier: \"https://a.example\"}\n")
	if err == nil || !strings.Contains(err.Error(), "7: resource.authorizationServers: is required, because issuers[0].issuer is no address a client could go to") {
		t.Error(err)
	}
}

func manyScopes(n, length int) string {
	scopes := make([]string, n)
	for i := range scopes {
		scopes[i] = strings.Repeat(string(rune('a'+i%26)), length-2) + string(rune('a'+i/26)) + string(rune('a'+i%26))
	}
	return strings.Join(scopes, ", ")
}
