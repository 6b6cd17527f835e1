package issuer_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer"
	"github.com/agentidp/agentidp/issuer/api"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	i := start(t)
	server := map[string]any{
		"issuer": i.url, "token_endpoint": i.url + "/oauth2/token", "jwks_uri": i.url + "/.well-known/jwks.json",
		"authorization_endpoint":                                   i.url + "/oauth2/authorize",
		"pushed_authorization_request_endpoint":                    i.url + "/oauth2/par",
		"response_types_supported":                                 []any{"code"},
		"response_modes_supported":                                 []any{"query"},
		"code_challenge_methods_supported":                         []any{"S256"},
		"authorization_response_iss_parameter_supported":           true,
		"scopes_supported":                                         []any{"openid", "profile", "agent", "offline_access"},
		"grant_types_supported":                                    []any{"authorization_code", "client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange"},
		"dpop_signing_alg_values_supported":                        []any{"ES256", "EdDSA", "PS256"},
		"tls_client_certificate_bound_access_tokens":               true,
		"identity_chaining_requested_token_types_supported":        []any{"urn:ietf:params:oauth:token-type:id-jag"},
		"token_endpoint_auth_methods_supported":                    []any{"none", "client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth"},
		"token_endpoint_auth_signing_alg_values_supported":         []any{"ES256", "EdDSA", "PS256", "RS256"},
		"introspection_endpoint":                                   i.url + "/oauth2/introspect",
		"introspection_endpoint_auth_methods_supported":            []any{"client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth"},
		"introspection_endpoint_auth_signing_alg_values_supported": []any{"ES256", "EdDSA", "PS256", "RS256"},
		"revocation_endpoint":                                      i.url + "/oauth2/revoke",
		"registration_endpoint":                                    i.url + "/oauth2/register",
		"revocation_endpoint_auth_methods_supported":               []any{"none", "client_secret_basic", "client_secret_post", "private_key_jwt", "self_signed_tls_client_auth"},
		"revocation_endpoint_auth_signing_alg_values_supported":    []any{"ES256", "EdDSA", "PS256", "RS256"},
	}
	var got map[string]any
	i.must(i.do(i.request("GET", "/.well-known/oauth-authorization-server", "", "")), 200).json(t, &got)
	if d := cmp.Diff(server, got); d != "" {
		t.Errorf("RFC 8414 metadata (-want +got):\n%s", d)
	}
	server["subject_types_supported"], server["id_token_signing_alg_values_supported"] = []any{"public"}, []any{"RS256"}
	server["userinfo_endpoint"] = i.url + "/agent-info"
	server["claims_supported"] = []any{
		"iss", "sub", "aud", "exp", "iat", "jti", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "name", "updated_at", "org_id", "agent",
	}
	server["acr_values_supported"] = []any{"urn:agentidp:acr:bearer", "urn:agentidp:acr:possession"}
	server["prompt_values_supported"] = []any{"none", "login", "consent", "select_account"}
	for _, unsupported := range []string{"claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported"} {
		server[unsupported] = false
	}
	got = nil
	i.must(i.do(i.request("GET", "/.well-known/openid-configuration", "", "")), 200).json(t, &got)
	if d := cmp.Diff(server, got); d != "" {
		t.Errorf("OpenID configuration (-want +got):\n%s", d)
	}
}

// Clients we did not write find, get and verify a token with nothing but the issuer's URL.
func TestIndependentClients(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	ctx := context.WithValue(oidc.ClientContext(t.Context(), i.client), oauth2.HTTPClient, i.client)
	provider, err := oidc.NewProvider(ctx, i.url)
	if err != nil {
		t.Fatal(err)
	}
	for style, name := range map[oauth2.AuthStyle]string{oauth2.AuthStyleInHeader: "basic", oauth2.AuthStyleInParams: "post", oauth2.AuthStyleAutoDetect: "detected"} {
		client := clientcredentials.Config{
			ClientID: agent, ClientSecret: secret, TokenURL: provider.Endpoint().TokenURL, AuthStyle: style,
			Scopes: []string{"invoices:read"}, EndpointParams: map[string][]string{"resource": {"svc://ledger"}},
		}
		token, err := client.Token(ctx)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		i.secret(token.AccessToken)
		verified, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: "svc://ledger", SupportedSigningAlgs: []string{oidc.ES256}}).Verify(ctx, token.AccessToken)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if verified.Subject != agent || token.Type() != "Bearer" || token.Extra("scope") != "invoices:read" || !token.Valid() {
			t.Errorf("%s: subject %s, type %s, scope %v, valid %v", name, verified.Subject, token.Type(), token.Extra("scope"), token.Valid())
		}
	}
}

// Documents that may be kept are revalidated by ETag; HEAD says the same without the body.
func TestDocumentsAreRevalidated(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Discovery.MaxAge.Duration = 90e9 })
	for path, cacheControl := range map[string]string{
		"/.well-known/openid-configuration": "public, max-age=90", "/.well-known/oauth-authorization-server": "public, max-age=90",
		"/.well-known/jwks.json": "public, max-age=90", "/openapi.yaml": "public, max-age=90", "/revocations": "no-cache",
	} {
		first := i.must(i.do(i.request("GET", path, "", "")), 200)
		tag := first.Header.Get("ETag")
		if first.Header.Get("Cache-Control") != cacheControl || tag == "" || len(first.body) == 0 {
			t.Errorf("%s: %v", path, first.Header)
		}
		for _, match := range []string{tag, `"other", ` + tag, "*", "W/" + strings.TrimPrefix(tag, "W/")} {
			r := i.request("GET", path, "", "")
			r.Header.Set("If-None-Match", match)
			again := i.must(i.do(r), 304)
			if len(again.body) != 0 || again.Header.Get("ETag") != tag || again.Header.Get("Cache-Control") != cacheControl {
				t.Errorf("%s with If-None-Match %s: %v %s", path, match, again.Header, again.body)
			}
		}
		r := i.request("GET", path, "", "")
		r.Header.Set("If-None-Match", `"other"`)
		i.must(i.do(r), 200)
		response, err := i.client.Do(i.request("HEAD", path, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK || response.Header.Get("ETag") != tag || response.ContentLength != int64(len(first.body)) {
			t.Errorf("HEAD %s: %s %v", path, response.Status, response.Header)
		}
	}
}

func TestContractIsServed(t *testing.T) {
	t.Parallel()
	i := start(t)
	a := i.must(i.do(i.request("GET", "/openapi.yaml", "", "")), 200)
	if string(a.body) != string(api.Contract) || a.Header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s, %d bytes", a.Header.Get("Content-Type"), len(a.body))
	}
}

// Keys: an ES256 key for access tokens, an RS256 key for ID tokens, the successor of each, and nothing private.
func TestKeySet(t *testing.T) {
	t.Parallel()
	i := start(t)
	first := i.must(i.do(i.request("GET", "/.well-known/jwks.json", "", "")), 200)
	var set struct{ Keys []map[string]string }
	first.json(t, &set)
	algorithms := map[string]int{}
	for _, k := range set.Keys {
		algorithms[k["alg"]]++
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, leaked := k[private]; leaked {
				t.Errorf("key %s shows %s", k["kid"], private)
			}
		}
	}
	if d := cmp.Diff(map[string]int{"ES256": 2, "RS256": 2}, algorithms); d != "" {
		t.Errorf("algorithms (-want +got):\n%s", d)
	}
}

// list is an answer of /revocations.
type list struct {
	answer
	*trust.RevocationList
}

func (i *instance) revocations() list {
	i.t.Helper()
	a := i.must(i.do(i.request("GET", "/revocations", "", "")), 200)
	l, err := trust.ParseRevocationList(a.body)
	if err != nil {
		i.t.Fatal(err)
	}
	return list{a, l}
}

// dead reports what a sidecar would make of a token.
func (l list) dead(agent string, claims map[string]any) bool {
	iat, _ := claims["iat"].(float64)
	return trust.Index(l.RevocationList).Check(&trust.Facts{Agent: agent, IssuedAt: int64(iat)}) != ""
}

// all reports whether every token of the agent is dead, as it is while the agent is suspended.
func (l list) all(agent string) bool {
	return slices.ContainsFunc(l.Agents, func(a trust.Agent) bool { return a.ID == agent && a.IssuedBefore == 0 })
}
