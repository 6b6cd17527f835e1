package issuer_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose4 "github.com/go-jose/go-jose/v4"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// push sends the parameters of a good request to the endpoint for pushed ones, changed.
func (p *party) push(verifier string, change ...string) answer {
	p.t.Helper()
	return p.do(p.pushing(verifier, change...))
}

func (p *party) pushing(verifier string, change ...string) *http.Request {
	p.t.Helper()
	form := url.Values{
		"redirect_uri": {p.oauth.RedirectURL}, "response_type": {"code"}, "scope": {"openid"}, "state": {"pushed"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	for n := 0; n+1 < len(change); n += 2 {
		form.Set(change[n], change[n+1])
	}
	r := p.request("POST", "/oauth2/par", "application/x-www-form-urlencoded", form.Encode())
	r.SetBasicAuth(p.oauth.ClientID, p.oauth.ClientSecret)
	return r
}

func (p *party) pushed(uri string, more ...string) string {
	values := url.Values{"client_id": {p.oauth.ClientID}, "request_uri": {uri}}
	for n := 0; n+1 < len(more); n += 2 {
		values.Set(more[n], more[n+1])
	}
	return p.url + "/oauth2/authorize?" + values.Encode()
}

// RFC 9126: what was pushed counts and nothing beside it, for the client that pushed it, once.
func TestPushedRequests(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, map[string]any{"requirePushedRequests": true})
	other := i.relyingParty(organization, map[string]any{"name": "other"})
	verifier := oauth2.GenerateVerifier()

	a := i.must(p.push(verifier), 201)
	uri := a.field("request_uri")
	var lifetime struct {
		Seconds int `json:"expires_in"`
	}
	a.json(t, &lifetime)
	if !strings.HasPrefix(uri, "urn:ietf:params:oauth:request_uri:") || lifetime.Seconds != 60 || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s", a.body)
	}
	if back, a := i.follow(other.pushed(uri), token); back != nil || a.StatusCode != 400 {
		t.Errorf("for another client: %s", a.Status)
	}
	if back, _ := i.follow(p.pushed(uri), ""); back.Query().Get("error") != "login_required" {
		t.Errorf("with nobody: %v", back)
	}
	if back, a := i.follow(p.pushed(uri), "x"); back != nil || a.StatusCode != 401 {
		t.Errorf("with a bad token: %s", a.Status)
	}
	back, _ := i.follow(p.pushed(uri, "state", "forged", "scope", "root", "redirect_uri", "https://evil.example/"), token)
	if back == nil || back.Host != "party.example" || back.Query().Get("state") != "pushed" {
		t.Fatalf("sent to %v", back)
	}
	i.must(p.redeem(back.Query().Get("code"), verifier), 200)
	if back, a := i.follow(p.pushed(uri), token); back != nil || a.StatusCode != 400 || a.field("code") != "invalid_request_uri" {
		t.Errorf("a second time: %s %s", a.Status, a.body)
	}

	late := p.push(verifier).field("request_uri")
	i.sql("update agentidp.pushed_requests set expires_at = now() - interval '1 second'")
	if back, a := i.follow(p.pushed(late), token); back != nil || a.field("code") != "invalid_request_uri" {
		t.Errorf("too late: %s %s", a.Status, a.body)
	}
	if back, _ := i.follow(p.link(), token); back.Query().Get("error") != "invalid_request" {
		t.Errorf("not pushed: %v", back)
	}
	back, a = i.follow(other.pushed(other.push(verifier).field("request_uri")), token)
	if back == nil || back.Query().Get("code") == "" {
		t.Errorf("a client that need not push: %s", a.Status)
	}
}

func TestPushedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	p := i.relyingParty(organization, nil)
	for name, tt := range map[string]struct{ name, value, code string }{
		"request_uri":            {"request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"},
		"another redirect_uri":   {"redirect_uri", "https://evil.example/", "invalid_request"},
		"plain":                  {"code_challenge_method", "plain", "invalid_request"},
		"a request object":       {"request", "eyJ", "request_not_supported"},
		"implicit":               {"response_type", "token", "unsupported_response_type"},
		"a resource not its":     {"resource", "svc://ledger", "invalid_target"},
		"details without a type": {"authorization_details", `[{"type":""}]`, "invalid_authorization_details"},
		"another client's name":  {"client_id", "cli_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", "invalid_request"},
	} {
		i.oauthRefused(name, p.push(oauth2.GenerateVerifier(), tt.name, tt.value), 400, tt.code)
	}
	r := p.pushing(oauth2.GenerateVerifier())
	r.SetBasicAuth(p.oauth.ClientID, "wrong")
	i.oauthRefused("a wrong secret", i.do(r), 401, "invalid_client")
	r = p.pushing(oauth2.GenerateVerifier(), "client_id", p.oauth.ClientID)
	r.Header.Del("Authorization")
	i.oauthRefused("no secret", i.do(r), 401, "invalid_client")
}

// What nobody reads is not kept, however much a stranger sends of it; nor is what proved the client. What is read is kept to its limit.
func TestPushedRequestsKeepWhatIsRead(t *testing.T) {
	t.Parallel()
	i := start(t)
	p := i.relyingParty(i.organization("acme"), map[string]any{"authentication": "none"})
	push := func(change ...string) answer {
		r := p.pushing(oauth2.GenerateVerifier(), append([]string{"client_id", p.oauth.ClientID}, change...)...)
		r.Header.Del("Authorization")
		return i.do(r)
	}
	i.must(push("junk", strings.Repeat("x", 60_000), "acr_values", "y", "nonce", "kept", "max_age", "60", "prompt", "login"), 201)
	i.oauthRefused("too much", push("scope", "openid "+strings.Repeat("x", 32<<10)), 413, "invalid_request")
	rows, err := i.db.Superuser(t).Query(t.Context(), "select parameters from pushed_requests")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	kept, err := url.ParseQuery(all[0])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"code_challenge", "code_challenge_method", "max_age", "nonce", "prompt", "redirect_uri", "response_type", "scope", "state"}
	if got := slices.Sorted(maps.Keys(kept)); !slices.Equal(got, want) {
		t.Errorf("kept: %v, want %v", got, want)
	}
}

// As at the token endpoint: a pushed request that is asked for a nonce (RFC 9449 s8) has used nothing up, and is repeated with the same assertion.
func TestPushedAgainWithANonce(t *testing.T) {
	t.Parallel()
	i := start(t)
	h, key := newHolder(t, jose4.ES256), josetest.NewHolder()
	p := i.relyingParty(i.organization("acme"), map[string]any{"authentication": "private_key_jwt", "registration": map[string]any{"jwks": jwks(t, h)}})
	form := url.Values{
		"client_assertion_type": {jwtBearer}, "client_assertion": {h.assertion(t, p.oauth.ClientID, i.url)}, "redirect_uri": {callback}, "response_type": {"code"},
		"scope": {"openid"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"},
	}
	push := func(nonce string) answer {
		r := i.request("POST", "/oauth2/par", "application/x-www-form-urlencoded", form.Encode())
		r.Header.Set("DPoP", key.Prove("POST", i.url+"/oauth2/par", "", time.Now(), "ath", nil, "nonce", emptyIsNil(nonce)))
		return i.do(r)
	}
	challenged := push("")
	wantRefused(t, "without a nonce", challenged, 400, "use_dpop_nonce")
	i.must(push(challenged.Header.Get("DPoP-Nonce")), 201)
	wantRefused(t, "used", push(challenged.Header.Get("DPoP-Nonce")), 401, "invalid_client")
}

// A public client on a loopback port, bound to a key from the first request on: RFC 8252, RFC 9449 s10.
func TestNativeClientWithAKey(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Tokens.DPoPNonce = "optional" })
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, map[string]any{
		"type": "native", "authentication": "none", "redirectUris": []string{"http://127.0.0.1/cb"}, "requireDPoP": true,
	})
	p.oauth.RedirectURL = "http://127.0.0.1:50123/cb"
	key, verifier := josetest.NewHolder(), oauth2.GenerateVerifier()
	push := p.pushing(verifier, "client_id", p.oauth.ClientID)
	push.Header.Del("Authorization")
	push.Header.Set("DPoP", key.Prove("POST", i.url+"/oauth2/par", "", time.Now(), "ath", nil))
	uri := i.must(i.do(push), 201).field("request_uri")
	back, a := i.follow(p.pushed(uri), token)
	if back == nil || back.Host != "127.0.0.1:50123" {
		t.Fatalf("%s, to %v", a.Status, back)
	}
	ask := func(form url.Values, with *josetest.Holder) answer {
		form.Set("client_id", p.oauth.ClientID)
		r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
		if with != nil {
			r.Header.Set("DPoP", with.Prove("POST", i.url+"/oauth2/token", "", time.Now(), "ath", nil))
		}
		a := i.do(r)
		i.secret(a.field("access_token"))
		i.secret(a.field("refresh_token"))
		return a
	}
	redeem := func(with *josetest.Holder) answer {
		return ask(url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {p.oauth.RedirectURL}, "code_verifier": {verifier}}, with)
	}
	i.oauthRefused("a code without its key", redeem(nil), 400, "invalid_dpop_proof")
	i.oauthRefused("a code with another key", redeem(josetest.NewHolder()), 400, "invalid_grant")
	first := i.must(redeem(key), 200)
	if first.field("token_type") != "DPoP" || first.field("refresh_token") != "" {
		t.Errorf("%s", first.body) // offline_access was not asked for
	}

	push = p.pushing(verifier, "client_id", p.oauth.ClientID, "scope", "openid offline_access", "dpop_jkt", key.Thumbprint())
	push.Header.Del("Authorization")
	back, _ = i.follow(p.pushed(i.must(i.do(push), 201).field("request_uri")), token)
	second := i.must(redeem(key), 200)
	refresh := func(with *josetest.Holder) answer {
		return ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {second.field("refresh_token")}}, with)
	}
	i.oauthRefused("a refresh token with another key", refresh(josetest.NewHolder()), 400, "invalid_grant")
	second = i.must(refresh(key), 200)

	info := func(path, scheme string, with *josetest.Holder) answer {
		r := i.request("GET", path, "", "")
		r.Header.Set("Authorization", scheme+" "+second.field("access_token"))
		if with != nil {
			r.Header.Set("DPoP", with.Prove("GET", i.url+path, second.field("access_token"), time.Now()))
		}
		return i.do(r)
	}
	i.must(info("/agent-info", "DPoP", key), 200)
	i.must(info("/userinfo", "DPoP", key), 200)
	i.oauthRefused("info as bearer", info("/agent-info", "Bearer", nil), 401, "invalid_token")
	i.oauthRefused("info without a proof", info("/agent-info", "DPoP", nil), 401, "invalid_dpop_proof")
	i.oauthRefused("info with another key", info("/agent-info", "DPoP", josetest.NewHolder()), 401, "invalid_token")
}

// /agent-info by scope, method and way to present the token.
func TestAgentInfo(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, map[string]any{"scopes": []string{"invoices:read"}, "audiences": []string{"svc://payments"}})
	members := func(a answer) string {
		var all map[string]any
		i.must(a, 200).json(t, &all)
		if all["sub"] != agent {
			t.Errorf("%s", a.body)
		}
		var names []string
		for _, name := range []string{"name", "updated_at", "org_id", "agent"} {
			if all[name] != nil {
				names = append(names, name)
			}
		}
		return strings.Join(names, " ")
	}
	for scope, want := range map[string]string{"openid": "", "openid profile": "name updated_at", "openid agent": "org_id agent", "openid profile agent": "name updated_at org_id agent"} {
		p.oauth.Scopes = strings.Fields(scope)
		signedIn := p.signedIn(token).field("access_token")
		if got := members(i.info(signedIn)); got != want {
			t.Errorf("%s: %s, want %s", scope, got, want)
		}
		posted := i.request("POST", "/userinfo", "application/x-www-form-urlencoded", url.Values{"access_token": {signedIn}}.Encode())
		if got := members(i.do(posted)); got != want {
			t.Errorf("%s by form: %s, want %s", scope, got, want)
		}
		byPost := i.request("POST", "/agent-info", "", "")
		byPost.Header.Set("Authorization", "Bearer "+signedIn)
		if got := members(i.do(byPost)); got != want {
			t.Errorf("%s by POST: %s, want %s", scope, got, want)
		}
		twice := i.request("POST", "/userinfo", "application/x-www-form-urlencoded", url.Values{"access_token": {signedIn}}.Encode())
		twice.Header.Set("Authorization", "Bearer "+signedIn)
		i.oauthRefused("twice", i.do(twice), 400, "invalid_request")
	}
	if got := members(i.info(token)); got != "name updated_at org_id agent" {
		t.Errorf("about itself: %s", got)
	}

	p.oauth.Scopes = []string{"invoices:read"}
	plain := p.signedIn(token)
	if plain.field("id_token") != "" || plain.field("scope") != "invoices:read" {
		t.Errorf("OAuth alone: %s", plain.body)
	}
	i.oauthRefused("without openid", i.info(plain.field("access_token")), 403, "insufficient_scope")
	p.oauth.Scopes = []string{"openid"}
	elsewhere := p.signedIn(token, oauth2.SetAuthURLParam("resource", "svc://payments")).field("access_token")
	if _, claims := i.verified(elsewhere); claims["aud"] != "svc://payments" || claims["sub"] != agent {
		t.Errorf("%v", claims)
	}
	i.oauthRefused("a token for a resource", i.info(elsewhere), 401, "invalid_token")
	nothing := i.do(i.request("GET", "/agent-info", "", ""))
	if challenge := nothing.Header.Get("WWW-Authenticate"); nothing.StatusCode != 401 || challenge != `Bearer realm="agentidp"` {
		t.Errorf("nothing: %s %s", nothing.Status, challenge) // RFC 6750 s3.1
	}
}

// An organization's own issuer: the same, with its own keys, and nobody else's tokens, clients or codes.
func TestSignInAtAnOrganization(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	own := &instance{t: t, url: i.url + "/o/acme", client: i.client, db: i.db, cfg: i.cfg}
	agent, secret, _ := i.signer(organization, "reader")
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"audiences": []string{own.url}}), 200)
	token := own.token(agent, secret)
	p := i.relyingPartyAt(own, organization)
	theirs := i.relyingParty(i.organization("evil"), map[string]any{"name": "theirs"})

	verifier := oauth2.GenerateVerifier()
	signedIn := own.must(p.redeem(p.code(token, "s", verifier, oidc.Nonce("n")), verifier), 200)
	if _, err := p.provider.VerifierContext(i.withIssuer(), &oidc.Config{ClientID: p.oauth.ClientID}).Verify(i.withIssuer(), signedIn.field("id_token")); err != nil {
		t.Error(err)
	}
	own.must(own.info(signedIn.field("access_token")), 200)
	i.oauthRefused("its token at the instance's issuer", i.info(signedIn.field("access_token")), 401, "invalid_token")
	theirs.instance = own
	if back, a := own.follow(theirs.link(), token); back != nil || a.field("code") != "client_unknown" {
		t.Errorf("a client of another organization: %s %s", a.Status, a.body)
	}
	code := p.code(token, "s", verifier)
	elsewhere := *p
	elsewhere.instance = i
	i.oauthRefused("its code at the instance's issuer", elsewhere.redeem(code, verifier), 400, "invalid_grant")
}
