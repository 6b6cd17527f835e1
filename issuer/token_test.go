package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

// tokenRequest posts a form, authenticated by client_secret_basic when id is not empty.
func (i *instance) tokenRequest(id, secret string, form url.Values) answer {
	i.t.Helper()
	r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	if id != "" {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	a := i.do(r)
	i.secret(a.field("access_token"))
	return a
}

// token returns an access token for all scopes of the agent.
func (i *instance) token(agent, secret string) string {
	i.t.Helper()
	return i.must(i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}}), 200).field("access_token")
}

// verified checks a token's signature against the published keys with the standard library alone, and returns header and claims.
func (i *instance) verified(token string) (header, claims map[string]any) {
	i.t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		i.t.Fatalf("%d segments", len(parts))
	}
	i.unmarshal(parts[0], &header)
	i.unmarshal(parts[1], &claims)
	var set struct {
		Keys []struct{ Kid, Alg, Kty, Crv, X, Y string }
	}
	i.must(i.do(i.request("GET", "/.well-known/jwks.json", "", "")), 200).json(i.t, &set)
	for _, k := range set.Keys {
		if k.Kid != header["kid"] || k.Alg != "ES256" || k.Kty != "EC" || k.Crv != "P-256" {
			continue
		}
		point := slices.Concat([]byte{4}, i.decode(k.X), i.decode(k.Y))
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			i.t.Fatal(err)
		}
		signature := i.decode(parts[2])
		if len(signature) != 64 {
			i.t.Fatalf("%d bytes of signature", len(signature))
		}
		hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if !ecdsa.Verify(key, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			i.t.Fatal("the signature does not verify")
		}
		return header, claims
	}
	i.t.Fatalf("no published key %v", header["kid"])
	return nil, nil
}

func (i *instance) decode(segment string) []byte {
	i.t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

func (i *instance) unmarshal(segment string, into any) {
	i.t.Helper()
	if err := json.Unmarshal(i.decode(segment), into); err != nil {
		i.t.Fatal(err)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.agent(organization, "invoice-reader")
	credential, secret := i.credential(agent)

	before := time.Now().Unix()
	a := i.must(i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}, "scope": {"invoices:read"}, "resource": {"svc://ledger"}}), 200)
	after := time.Now().Unix()
	if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Pragma") != "no-cache" {
		t.Errorf("RFC 6749 s5.1: the answer may be kept: %v", a.Header)
	}
	if a.field("token_type") != "Bearer" || a.field("scope") != "invoices:read" {
		t.Errorf("answer %s", a.body)
	}
	header, claims := i.verified(a.field("access_token"))
	kid, _ := header["kid"].(string)
	if d := cmp.Diff(map[string]any{"alg": "ES256", "typ": "at+jwt", "kid": kid}, header); d != "" || kid == "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
	iat, _ := claims["iat"].(float64)
	if int64(iat) < before || int64(iat) > after {
		t.Errorf("iat %v is not now", claims["iat"])
	}
	jti, _ := claims["jti"].(string)
	if len(jti) < 22 {
		t.Errorf("jti %q is too short to be unique", jti)
	}
	want := map[string]any{
		"iss": i.url, "sub": agent, "client_id": agent, "aud": "svc://ledger", "iat": iat, "nbf": iat, "exp": iat + 300, "jti": jti,
		"scope": "invoices:read", "org_id": organization, "credential_id": credential,
		"agent": map[string]any{
			"name": "invoice-reader", "did": "did:web:" + strings.Replace(strings.TrimPrefix(i.url, "https://"), ":", "%3A", 1) + ":agents:" + agent,
			"type": "assistant", "capabilities": []any{"invoice.read"},
		},
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	i.checkTokenRecord(organization, agent, jti, kid)

	_, claims = i.verified(i.token(agent, secret))
	if claims["scope"] != "invoices:read invoices:write" || claims["aud"] != "svc://payments" {
		t.Errorf("defaults: scope %v, aud %v; want all scopes and the first audience", claims["scope"], claims["aud"])
	}
}

// checkTokenRecord looks for the audit record of a token, which says everything about it but the token.
func (i *instance) checkTokenRecord(organization, agent, jti, kid string) {
	i.t.Helper()
	var log struct {
		Records []struct {
			Action, Target string
			Actor          map[string]string
			Details        map[string]any
		}
	}
	i.must(i.admin("GET", "/audit?action=token.issue&organizationId="+organization, nil), 200).json(i.t, &log)
	for _, r := range log.Records {
		if r.Details["tokenId"] == jti {
			if r.Details["keyId"] != kid || r.Actor["kind"] != "agent" || r.Actor["id"] != agent || r.Actor["requestId"] == "" || r.Actor["source"] == "" {
				i.t.Errorf("record %+v", r)
			}
			return
		}
	}
	i.t.Errorf("no audit record of token %s in %+v", jti, log)
}

func TestClientSecretPost(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	i.must(i.tokenRequest("", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {agent}, "client_secret": {secret}}), 200)
}

// Each refusal of the token endpoint: RFC 6749 s5.2 status, code, headers; and nothing of the request comes back.
func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	const mark = "reflected-canary"
	form := func(more ...string) string {
		v := url.Values{"grant_type": {"client_credentials"}}
		for n := 0; n+1 < len(more); n += 2 {
			v.Set(more[n], more[n+1])
		}
		return v.Encode()
	}
	withSecret := form("client_id", agent, "client_secret", secret)
	basic := func(r *http.Request) { r.SetBasicAuth(agent, secret) }
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	tests := []struct {
		name   string
		body   string
		change func(*http.Request)
		status int
		code   string
	}{
		{"nothing at all", "", basic, 400, "invalid_request"},
		{"no grant type", "scope=" + mark, basic, 400, "invalid_request"},
		{"unknown grant type", "grant_type=" + mark, basic, 400, "unsupported_grant_type"},
		{"password grant", "grant_type=password&username=a&password=" + mark, basic, 400, "unsupported_grant_type"},
		{"scope the agent does not have", form("scope", "invoices:read "+mark), basic, 400, "invalid_scope"},
		{"scope with a quote", form("scope", `"`+mark), basic, 400, "invalid_scope"},
		{"scope with two spaces", form("scope", "invoices:read  invoices:write"), basic, 400, "invalid_scope"},
		{"scope that is a space", form("scope", " "), basic, 400, "invalid_scope"},
		{"101 scopes", form("scope", strings.TrimSpace(strings.Repeat("invoices:read ", 101))), basic, 400, "invalid_scope"},
		{"resource of somebody else", form("resource", "svc://"+mark), basic, 400, "invalid_target"},
		{"resource in another spelling", form("resource", "SVC://payments"), basic, 400, "invalid_target"},
		{"two resources, one foreign", form() + "&resource=svc%3A%2F%2Fpayments&resource=svc%3A%2F%2Fother", basic, 400, "invalid_target"},
		{"nine resources", form() + strings.Repeat("&resource=svc%3A%2F%2Fpayments", 9), basic, 400, "invalid_request"},
		{"grant type twice", form() + "&grant_type=client_credentials", basic, 400, "invalid_request"},
		{"unknown parameter twice", form() + "&x=1&x=2", basic, 400, "invalid_request"},
		{"bad escape", form() + "&scope=%zz" + mark, basic, 400, "invalid_request"},
		{"semicolon", form() + ";scope=" + mark, basic, 400, "invalid_request"},
		{"not UTF-8", form() + "&scope=%ff", basic, 400, "invalid_request"},
		{"JSON", `{"grant_type":"client_credentials"}`, func(r *http.Request) { basic(r); r.Header.Set("Content-Type", "application/json") }, 400, "invalid_request"},
		{"no content type", form(), func(r *http.Request) { basic(r); r.Header.Del("Content-Type") }, 400, "invalid_request"},
		{"another charset", form(), func(r *http.Request) {
			basic(r)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-16")
		}, 400, "invalid_request"},
		{"compressed", form(), func(r *http.Request) { basic(r); r.Header.Set("Content-Encoding", "gzip") }, 400, "invalid_request"},
		{"64 KiB and one byte", form() + "&x=" + strings.Repeat("a", 64<<10-len(form())-2), basic, 413, "invalid_request"},
		{"two methods at once", withSecret, basic, 400, "invalid_request"},
		{"bearer and post at once", withSecret, header("Authorization", "Bearer "+mark), 400, "invalid_request"},
		{"two Authorization headers", form(), header("Authorization", "Basic "+mark, "Basic "+mark), 400, "invalid_request"},
		{"client_id of another", form("client_id", "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"), basic, 400, "invalid_request"},
		{"secret in the URL", form(), func(r *http.Request) { r.URL.RawQuery = "client_id=" + agent + "&client_secret=" + mark }, 400, "invalid_request"},
		{"anything in the URL", form(), func(r *http.Request) { basic(r); r.URL.RawQuery = "x=1" }, 400, "invalid_request"},
		{"no client", form(), nil, 401, "invalid_client"},
		{"only the id", form("client_id", agent), nil, 401, "invalid_client"},
		{"only the secret", form("client_secret", mark), nil, 401, "invalid_client"},
		{"wrong secret", form(), func(r *http.Request) { r.SetBasicAuth(agent, mark) }, 401, "invalid_client"},
		{"empty secret", form(), func(r *http.Request) { r.SetBasicAuth(agent, "") }, 401, "invalid_client"},
		{"unknown client", form(), func(r *http.Request) { r.SetBasicAuth("agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", secret) }, 401, "invalid_client"},
		{"client id that cannot be", form(), func(r *http.Request) { r.SetBasicAuth(mark, secret) }, 401, "invalid_client"},
		{"long secret", form(), func(r *http.Request) { r.SetBasicAuth(agent, strings.Repeat("a", 2000)) }, 401, "invalid_client"},
		{"not base64", form(), header("Authorization", "Basic !!!"+mark), 401, "invalid_client"},
		{"no colon", form(), header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(mark))), 401, "invalid_client"},
		{"bad escape in the id", form(), header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("%zz:"+mark))), 401, "invalid_client"},
		{"another scheme", form(), header("Authorization", "Bearer "+mark), 401, "invalid_client"},
		{"admin token", form(), header("Authorization", "Bearer "+adminToken), 401, "invalid_client"},
	}
	for _, tt := range tests {
		r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", tt.body)
		if tt.change != nil {
			tt.change(r)
		}
		a := i.do(r)
		if a.StatusCode != tt.status || a.field("error") != tt.code || a.field("error_description") == "" {
			t.Errorf("%s: %s %s, want %d %s", tt.name, a.Status, a.body, tt.status, tt.code)
		}
		if (a.StatusCode == 401) != strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic ") || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", tt.name, a.Header)
		}
		if strings.Contains(string(a.body), mark) {
			t.Errorf("%s: the answer reflects the request: %s", tt.name, a.body)
		}
	}
}

// Whoever may not know why, does not learn why: unknown, wrong, suspended and revoked are one answer.
func TestFailedAuthenticationIsOneAnswer(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	grant := url.Values{"grant_type": {"client_credentials"}}
	agent := i.agent(organization, "active")
	_, secret := i.credential(agent)
	want := i.must(i.tokenRequest(agent, secret+"x", grant), 401)

	suspended := i.agent(organization, "suspended")
	_, suspendedSecret := i.credential(suspended)
	i.must(i.admin("POST", "/agents/"+suspended+"/suspend", nil), 200)
	revoked := i.agent(organization, "revoked")
	_, revokedSecret := i.credential(revoked)
	i.must(i.admin("POST", "/agents/"+revoked+"/revoke", nil), 200)
	for name, got := range map[string]answer{
		"unknown":          i.tokenRequest("agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", secret, grant),
		"impossible id":    i.tokenRequest("nobody", secret, grant),
		"suspended":        i.tokenRequest(suspended, suspendedSecret, grant),
		"revoked":          i.tokenRequest(revoked, revokedSecret, grant),
		"of another agent": i.tokenRequest(agent, suspendedSecret, grant),
	} {
		if got.StatusCode != want.StatusCode || string(got.body) != string(want.body) || got.Header.Get("WWW-Authenticate") != want.Header.Get("WWW-Authenticate") {
			t.Errorf("%s: %s %s, want %s %s", name, got.Status, got.body, want.Status, want.body)
		}
	}
}

// RFC 6749 s3.3: a scope has one token at least, so a token without any has no scope, and nothing that is said about it has one.
func TestNoScopeIsNotSaid(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.must(i.admin("POST", "/agents", map[string]any{"organizationId": organization, "name": "a", "audiences": []string{"svc://payments"}}), 201).field("id")
	_, secret := i.credential(agent)
	a := i.must(i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}}), 200)
	_, claims := i.verified(a.field("access_token"))
	var answer, about map[string]any
	a.json(t, &answer)
	i.introspect(agent, secret, a.field("access_token")).json(t, &about)
	for what, members := range map[string]map[string]any{"the answer": answer, "the token": claims, "introspection": about} {
		if scope, said := members["scope"]; said || len(members) < 3 {
			t.Errorf("%s has scope %q: %v", what, scope, members)
		}
	}

	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	verifier := oauth2.GenerateVerifier()
	back, refused := i.follow(p.link("scope", "", "code_challenge", oauth2.S256ChallengeFromVerifier(verifier)), token)
	if back == nil {
		t.Fatalf("%s %s", refused.Status, refused.body)
	}
	answer, about = nil, nil
	a = i.must(p.redeem(back.Query().Get("code"), verifier), 200)
	a.json(t, &answer)
	p.introspect(p.oauth.ClientID, p.oauth.ClientSecret, a.field("refresh_token")).json(t, &about)
	_, claims = i.verified(a.field("access_token"))
	for what, members := range map[string]map[string]any{"a sign-in's answer": answer, "its token": claims, "its refresh token": about} {
		if scope, said := members["scope"]; said || len(members) < 3 {
			t.Errorf("%s has scope %q: %v", what, scope, members)
		}
	}
}
