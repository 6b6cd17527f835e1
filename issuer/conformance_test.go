package issuer_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What the certification profile for discovery looks at (OpenID Connect Discovery 1.0), check by check, at the instance's issuer and at an organization's.
func TestDiscoveryProfile(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.organization("acme")
	for name, path := range map[string]string{"instance": "", "organization": "/o/acme"} {
		t.Run(name, func(t *testing.T) { i.checkDiscovery(t, path) })
	}
}

func (i *instance) checkDiscovery(t *testing.T, path string) {
	issuer := i.url + path
	a := i.must(i.do(i.request("GET", path+"/.well-known/openid-configuration", "", "")), 200)
	var all map[string]json.RawMessage
	a.json(t, &all)
	text := func(t *testing.T, name string) (s string) {
		if raw, ok := all[name]; ok && json.Unmarshal(raw, &s) != nil {
			t.Errorf("%s is no string", name)
		}
		return s
	}
	list := func(t *testing.T, name string) (l []string) {
		if json.Unmarshal(all[name], &l) != nil || len(l) == 0 {
			t.Errorf("%s is no list with something in it", name)
		}
		return l
	}
	t.Run("status and content type", func(t *testing.T) {
		if a.Header.Get("Content-Type") != "application/json" {
			t.Error(a.Header.Get("Content-Type"))
		}
	})
	t.Run("issuer is the URL", func(t *testing.T) {
		if text(t, "issuer") != issuer || !strings.HasPrefix(issuer, "https://") {
			t.Error(text(t, "issuer"))
		}
	})
	for name, want := range map[string]string{
		"response_types_supported": "code", "subject_types_supported": "public", "id_token_signing_alg_values_supported": "RS256", "scopes_supported": "openid",
		"claims_supported": "sub", "grant_types_supported": "authorization_code", "code_challenge_methods_supported": "S256",
	} {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(list(t, name), want) {
				t.Errorf("no %s", want)
			}
		})
	}
	for _, required := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "registration_endpoint", "jwks_uri"} {
		t.Run(required, func(t *testing.T) {
			if text(t, required) == "" {
				t.Error("absent")
			}
		})
	}
	t.Run("every endpoint is https", func(t *testing.T) {
		for name := range all {
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
				continue
			}
			u, err := url.Parse(text(t, name))
			if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" || !strings.HasPrefix(text(t, name), issuer+"/") {
				t.Errorf("%s is %s", name, text(t, name))
			}
		}
	})
	t.Run("userinfo algorithms", func(t *testing.T) {
		for _, name := range []string{"userinfo_signing_alg_values_supported", "userinfo_encryption_alg_values_supported", "userinfo_encryption_enc_values_supported"} {
			if _, present := all[name]; present { // answers are not signed
				t.Errorf("%s is said", name)
			}
		}
	})
	t.Run("no logout", func(t *testing.T) {
		for _, absent := range []string{"end_session_endpoint", "check_session_iframe"} {
			if _, present := all[absent]; present {
				t.Errorf("%s is not served", absent)
			}
		}
	})
	t.Run("keys", func(t *testing.T) { i.checkKeys(t, path) })
	t.Run("flags and what is behind the endpoints", func(t *testing.T) { i.checkServed(t, list(t, "claims_supported"), all) })
}

// checkKeys wants public keys, whole and canonical, and nothing of a private or symmetric one.
func (i *instance) checkKeys(t *testing.T, path string) {
	t.Helper()
	var set struct{ Keys []map[string]any }
	i.must(i.do(i.request("GET", path+"/.well-known/jwks.json", "", "")), 200).json(t, &set)
	needs := map[string][]string{"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
	algorithms := map[any]bool{}
	for _, k := range set.Keys {
		kty, _ := k["kty"].(string)
		if needs[kty] == nil || k["kid"] == "" {
			t.Errorf("key %v", k)
		}
		for _, member := range needs[kty] {
			value, _ := k[member].(string)
			if _, err := base64.RawURLEncoding.Strict().DecodeString(value); value == "" || err != nil && member != "crv" {
				t.Errorf("%s of key %v", member, k["kid"])
			}
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != nil {
				t.Errorf("key %v has %s", k["kid"], private)
			}
		}
		algorithms[k["alg"]] = true
	}
	if !algorithms["RS256"] {
		t.Errorf("no key for RS256: %v", algorithms)
	}
}

// checkServed wants flags that say what is so, and an endpoint behind every address.
func (i *instance) checkServed(t *testing.T, claims []string, all map[string]json.RawMessage) {
	t.Helper()
	for _, flag := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
		if string(all[flag]) != "false" { // request_uri: absent means true
			t.Errorf("%s is %s", flag, all[flag])
		}
	}
	if string(all["authorization_response_iss_parameter_supported"]) != "true" || !slices.Contains(claims, "auth_time") {
		t.Errorf("%s, %v", all["authorization_response_iss_parameter_supported"], claims)
	}
	for name, raw := range all {
		var address string
		if json.Unmarshal(raw, &address) != nil || !strings.HasSuffix(name, "_endpoint") {
			continue
		}
		if a := i.do(i.request("PATCH", strings.TrimPrefix(address, i.url), "", "")); a.StatusCode != 405 { // known, and not by this method
			t.Errorf("%s: %s", name, a.Status)
		}
	}
}

// cited is a test that docs/conformance.md names: `TestFunction/subtest`, where the subtest is as it is in the source.
var cited = regexp.MustCompile("`(Test\\w+)(?:/([^`]+))?`")

// The tests that docs/conformance.md names exist.
func TestConformanceTableNamesTests(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	names := cited.FindAllStringSubmatch(string(page), -1)
	for _, name := range names {
		_, function, found := strings.Cut(source.String(), "\nfunc "+name[1]+"(")
		module, check, composed := strings.Cut(name[2], ": ")
		literal := strings.Contains(function, `"`+name[2]) || composed && strings.Contains(function, `"`+module+`: "`) && strings.Contains(function, `"`+check)
		if !found || name[2] != "" && !literal {
			t.Errorf("there is no %s", name[0])
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d tests are named", len(names))
	}
}
