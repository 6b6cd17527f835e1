package issuer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// link is a good authorization request of the relying party, changed. An empty value takes a parameter away.
func (p *party) link(change ...string) string {
	values := url.Values{
		"client_id": {p.oauth.ClientID}, "redirect_uri": {p.oauth.RedirectURL}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(strings.Repeat("v", 43))}, "code_challenge_method": {"S256"},
	}
	for n := 0; n+1 < len(change); n += 2 {
		if values.Del(change[n]); change[n+1] != "" {
			values.Set(change[n], change[n+1])
		}
	}
	return p.url + "/oauth2/authorize?" + values.Encode()
}

// Every error with its place: at the client when the way there is certain, else here and nowhere. Nothing of the request is repeated in a page.
func TestAuthorizationRequestsAreRefused(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	_, _, stranger := i.signer(i.organization("evil"), "stranger")
	p := i.relyingParty(organization, map[string]any{"scopes": []string{"invoices:read"}, "audiences": []string{"svc://payments", "svc://other"}})
	const mark = "canary<script>"

	for name, link := range map[string]string{
		"no client":              p.link("client_id", ""),
		"unknown client":         p.link("client_id", "cli_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"),
		"an agent as client":     p.link("client_id", "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"),
		"a client nobody wrote":  p.link("client_id", mark),
		"no redirect_uri":        p.link("redirect_uri", ""),
		"another redirect_uri":   p.link("redirect_uri", "https://evil.example/"+mark),
		"a longer redirect_uri":  p.link("redirect_uri", callback+"&x=1"),
		"a shorter redirect_uri": p.link("redirect_uri", "https://party.example/cb"),
		"redirect_uri in case":   p.link("redirect_uri", strings.Replace(callback, "party", "PARTY", 1)),
		"a fragment":             p.link("redirect_uri", callback+"#x"),
		"redirect_uri twice":     p.link() + "&redirect_uri=" + url.QueryEscape(callback),
		"a broken query":         p.link() + "&a=%zz",
		"a pushed request":       p.link("request_uri", "urn:ietf:params:oauth:request_uri:"+mark),
		"a state of 3 KiB":       p.link("state", strings.Repeat("x", 3<<10)),
	} {
		back, a := i.follow(link, token)
		if back != nil || a.StatusCode != http.StatusBadRequest || a.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(a.body), "canary") {
			t.Errorf("%s: %s %s, to %v", name, a.Status, a.body, back)
		}
	}

	tests := []struct {
		name, link, token, code string
	}{
		{"no response_type", p.link("response_type", ""), token, "invalid_request"},
		{"implicit", p.link("response_type", "token"), token, "unsupported_response_type"},
		{"hybrid", p.link("response_type", "code id_token"), token, "unsupported_response_type"},
		{"form_post", p.link("response_mode", "form_post"), token, "invalid_request"},
		{"no PKCE", p.link("code_challenge", "", "code_challenge_method", ""), token, "invalid_request"},
		{"plain", p.link("code_challenge_method", "plain"), token, "invalid_request"},
		{"plain by default", p.link("code_challenge_method", ""), token, "invalid_request"},
		{"a short challenge", p.link("code_challenge", "abc"), token, "invalid_request"},
		{"a challenge of other characters", p.link("code_challenge", strings.Repeat("=", 43)), token, "invalid_request"},
		{"a malformed scope", p.link("scope", "a  b"), token, "invalid_scope"},
		{"only scopes nobody has", p.link("scope", "root"), token, "invalid_scope"},
		{"a resource the client may not have", p.link("resource", "svc://ledger"), token, "invalid_target"},
		{"a resource the agent may not have", p.link("resource", "svc://other"), token, "invalid_target"},
		{"authorization_details without a type", p.link("authorization_details", "[{}]"), token, "invalid_authorization_details"},
		{"authorization_details that is no list", p.link("authorization_details", `{"type":"x"}`), token, "invalid_authorization_details"},
		{"a request object", p.link("request", "eyJ"), token, "request_not_supported"},
		{"a request_uri of a stranger", p.link("request_uri", "https://evil.example/"), token, "request_uri_not_supported"},
		{"registration", p.link("registration", "{}"), token, "registration_not_supported"},
		{"prompt none and more", p.link("prompt", "none login"), token, "invalid_request"},
		{"an unknown prompt", p.link("prompt", "dance"), token, "invalid_request"},
		{"a negative max_age", p.link("max_age", "-1"), token, "invalid_request"},
		{"a control character", p.link("nonce", "a\x00b"), token, "invalid_request"},
		{"dpop_jkt", p.link("dpop_jkt", "abc"), token, "invalid_request"},
		{"a hint that is none", p.link("id_token_hint", "eyJ.e30.AA"), token, "invalid_request"},
		{"nobody", p.link(), "", "login_required"},
		{"nobody, and nobody to be asked", p.link("prompt", "none"), "", "login_required"},
		{"a bad token, and nobody to be asked", p.link("prompt", "none"), "x", "login_required"},
		{"an agent of another organization", p.link(), stranger, "access_denied"},
	}
	for _, tt := range tests {
		back, a := i.follow(tt.link, tt.token)
		if back == nil {
			t.Errorf("%s: %s %s", tt.name, a.Status, a.body)
			continue
		}
		q := back.Query()
		if q.Get("error") != tt.code || q.Get("iss") != i.url || q.Get("state") != "s" || q.Get("tenant") != "a" || q.Has("code") || back.Host != "party.example" {
			t.Errorf("%s: sent to %s, want %s", tt.name, back, tt.code)
		}
	}
}

// Who may follow: the agent itself, with a token of its own for this issuer. To one that presents something else the answer is a challenge.
func TestOnlyTheAgentItselfFollows(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, secret, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	signedIn := p.signedIn(token)
	elsewhere := i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}, "resource": {"svc://payments"}}).field("access_token")
	for name, bad := range map[string]string{
		"a relying party's token for the issuer": signedIn.field("access_token"),
		"an ID token":                            signedIn.field("id_token"),
		"a token for another audience":           elsewhere,
		"the admin token":                        adminToken,
		"rubbish":                                "x",
	} {
		back, a := i.follow(p.link(), bad)
		challenges := strings.Join(a.Header.Values("WWW-Authenticate"), "; ")
		if back != nil || a.StatusCode != 401 || a.field("error") != "invalid_token" || !strings.Contains(challenges, `Bearer realm="agentidp", error="invalid_token"`) || !strings.Contains(challenges, "DPoP ") {
			t.Errorf("%s: %s %s %s", name, a.Status, a.body, challenges)
		}
	}
	i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200)
	if back, a := i.follow(p.link(), token); back != nil || a.StatusCode != 401 {
		t.Errorf("a suspended agent: %s", a.Status)
	}
}

// With prompt=login, and with max_age=0, which says the same (OpenID Connect Core s3.1.2.1), the client is told of an authentication that it was not told of before: auth_time is later
// each time. Another client was told of none.
func TestPromptLoginIsAnotherLogin(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, secret, token := i.signer(organization, "reader")
	p, q := i.relyingParty(organization, nil), i.relyingParty(organization, map[string]any{"name": "another"})
	at := func(token string) int64 {
		_, claims := i.verified(token)
		return int64(claims["iat"].(float64))
	}
	newer := func(than string) string {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if time.Now().Unix() > at(than) {
				return i.token(agent, secret)
			}
		}
		return ""
	}
	signedIn := func(p *party, token string, change ...string) bool {
		back, a := i.follow(p.link(change...), token)
		if back == nil && (a.StatusCode != 401 || a.field("error") != "insufficient_user_authentication" || a.Header.Get("Retry-After") != "1" || !strings.Contains(a.Header.Get("WWW-Authenticate"), `max_age="0"`)) {
			t.Errorf("%v: %s %s %v", change, a.Status, a.body, a.Header)
		}
		return back != nil && back.Query().Get("code") != ""
	}
	for _, change := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
		if token = newer(token); !signedIn(p, token, change...) {
			t.Errorf("%v: refused at first", change)
		}
		if signedIn(p, token, change...) {
			t.Errorf("%v: the same authentication twice", change)
		}
		if !signedIn(p, token) || !signedIn(q, token, change...) {
			t.Errorf("%v: not asked for another login, or by another client, and refused", change)
		}
	}
}

// prompt, max_age and id_token_hint, for a subject that cannot be asked anything.
func TestPrompts(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	_, _, second := i.signer(organization, "writer")
	p := i.relyingParty(organization, nil)
	hint := p.signedIn(token).field("id_token")
	for _, change := range [][]string{
		{"prompt", "none"},
		{"prompt", "consent select_account"},
		{"max_age", "3600"},
		{"id_token_hint", hint},
		{"login_hint", "somebody"},
		{"claims", `{"userinfo":{"name":{"essential":true}}}`},
		{"display", "page"},
		{"scope", "openid email address phone unknown"},
	} {
		if back, a := i.follow(p.link(change...), token); back == nil || back.Query().Get("code") == "" {
			t.Errorf("%v: %s %s, to %v", change, a.Status, a.body, back)
		}
	}
	if back, _ := i.follow(p.link("id_token_hint", hint), second); back == nil || back.Query().Get("error") != "login_required" {
		t.Errorf("the hint of another agent: %v", back)
	}
}

// A token bound to a key is followed with proof of it, and makes it another sign-in: the agent proved possession now.
func TestAgentSignsInWithAKey(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Tokens.DPoPNonce = "optional" })
	organization := i.organization("acme")
	agent, secret, _ := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	h := josetest.NewHolder()
	token := i.must(i.prove(agent, secret, h, clientCredentials), 200).field("access_token")
	verifier := strings.Repeat("v", 43)
	follow := func(scheme, proof string) answer {
		r := i.request("GET", strings.TrimPrefix(p.link(), i.url), "", "")
		r.Header.Set("Authorization", scheme+" "+token)
		if proof != "" {
			r.Header.Set("DPoP", proof)
		}
		return i.do(r)
	}
	prove := func(key *josetest.Holder) string {
		return key.Prove("GET", i.url+"/oauth2/authorize", token, time.Now())
	}
	once := prove(h)
	for name, a := range map[string]answer{
		"as bearer": follow("Bearer", ""), "without a proof": follow("DPoP", ""), "with another key": follow("DPoP", prove(josetest.NewHolder())),
	} {
		if a.StatusCode != 401 {
			t.Errorf("%s: %s", name, a.Status)
		}
	}
	a := i.must(follow("DPoP", once), 303)
	i.must(follow("DPoP", once), 401)
	back, err := a.Location()
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	i.unmarshal(strings.Split(i.must(p.redeem(back.Query().Get("code"), verifier), 200).field("id_token"), ".")[1], &claims)
	amr, _ := claims["amr"].([]any)
	if claims["acr"] != "urn:agentidp:acr:possession" || len(amr) != 2 || amr[1] != "pop" {
		t.Errorf("%v", claims)
	}
}
