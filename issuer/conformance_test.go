package issuer_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// What the certification profile for discovery looks at (OpenID Connect Discovery 1.0), check by check, at the instance's issuer and at an organization's.
func TestDiscoveryProfile(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.organization("acme")
	for _, issuer := range []string{i.url, i.url + "/o/acme"} {
		path := strings.TrimPrefix(issuer, i.url)
		a := i.must(i.do(i.request("GET", path+"/.well-known/openid-configuration", "", "")), 200)
		var all map[string]json.RawMessage
		a.json(t, &all)
		text := func(name string) (s string) {
			if raw, ok := all[name]; ok && json.Unmarshal(raw, &s) != nil {
				t.Errorf("%s: %s is no string", issuer, name)
			}
			return s
		}
		list := func(name string) (l []string) {
			if json.Unmarshal(all[name], &l) != nil || len(l) == 0 {
				t.Errorf("%s: %s is no list with something in it", issuer, name)
			}
			return l
		}
		if a.Header.Get("Content-Type") != "application/json" || text("issuer") != issuer || !strings.HasPrefix(issuer, "https://") {
			t.Errorf("%s: %s %s", issuer, a.Header.Get("Content-Type"), text("issuer"))
		}
		for name, want := range map[string]string{
			"response_types_supported": "code", "subject_types_supported": "public", "id_token_signing_alg_values_supported": "RS256", "scopes_supported": "openid",
			"claims_supported": "sub", "grant_types_supported": "authorization_code", "code_challenge_methods_supported": "S256",
		} {
			if !slices.Contains(list(name), want) {
				t.Errorf("%s: %s has no %s", issuer, name, want)
			}
		}
		for _, required := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
			if text(required) == "" {
				t.Errorf("%s: no %s", issuer, required)
			}
		}
		for name := range all {
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
				continue
			}
			u, err := url.Parse(text(name))
			if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" || !strings.HasPrefix(text(name), issuer+"/") {
				t.Errorf("%s: %s is %s", issuer, name, text(name))
			}
		}
		for _, absent := range []string{"end_session_endpoint", "check_session_iframe"} {
			if _, present := all[absent]; present {
				t.Errorf("%s: %s is not served", issuer, absent)
			}
		}
		i.checkKeys(issuer, path)
		i.checkServed(list("claims_supported"), all)
	}
}

// checkKeys wants public keys, whole and canonical, and nothing of a private or symmetric one.
func (i *instance) checkKeys(issuer, path string) {
	i.t.Helper()
	var set struct{ Keys []map[string]any }
	i.must(i.do(i.request("GET", path+"/.well-known/jwks.json", "", "")), 200).json(i.t, &set)
	needs := map[string][]string{"RSA": {"n", "e"}, "EC": {"crv", "x", "y"}, "OKP": {"crv", "x"}}
	algorithms := map[any]bool{}
	for _, k := range set.Keys {
		kty, _ := k["kty"].(string)
		if needs[kty] == nil || k["kid"] == "" {
			i.t.Errorf("%s: key %v", issuer, k)
		}
		for _, member := range needs[kty] {
			value, _ := k[member].(string)
			if _, err := base64.RawURLEncoding.Strict().DecodeString(value); value == "" || err != nil && member != "crv" {
				i.t.Errorf("%s: %s of key %v", issuer, member, k["kid"])
			}
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != nil {
				i.t.Errorf("%s: key %v has %s", issuer, k["kid"], private)
			}
		}
		algorithms[k["alg"]] = true
	}
	if !algorithms["RS256"] {
		i.t.Errorf("%s: no key for RS256: %v", issuer, algorithms)
	}
}

// checkServed wants flags that say what is so, and an endpoint behind every address.
func (i *instance) checkServed(claims []string, all map[string]json.RawMessage) {
	i.t.Helper()
	for _, flag := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
		if string(all[flag]) != "false" { // request_uri: absent means true
			i.t.Errorf("%s is %s", flag, all[flag])
		}
	}
	if string(all["authorization_response_iss_parameter_supported"]) != "true" || !slices.Contains(claims, "auth_time") {
		i.t.Errorf("%s, %v", all["authorization_response_iss_parameter_supported"], claims)
	}
	for name, raw := range all {
		var address string
		if json.Unmarshal(raw, &address) != nil || !strings.HasSuffix(name, "_endpoint") {
			continue
		}
		if a := i.do(i.request("PATCH", strings.TrimPrefix(address, i.url), "", "")); a.StatusCode != 405 { // known, and not by this method
			i.t.Errorf("%s: %s", name, a.Status)
		}
	}
}
