package issuer_test

import (
	"net/url"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// tokensWith is tokens with a DPoP proof, when there is a key.
func (p *party) tokensWith(key *josetest.Holder, form url.Values) answer {
	p.t.Helper()
	public := p.oauth.ClientSecret == ""
	if public {
		form.Set("client_id", p.oauth.ClientID)
	}
	r := p.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	if !public {
		r.SetBasicAuth(p.oauth.ClientID, p.oauth.ClientSecret)
	}
	if key != nil {
		r.Header.Set("DPoP", key.Prove("POST", p.url+"/oauth2/token", "", time.Now(), "ath", nil))
	}
	a := p.do(r)
	for _, member := range []string{"access_token", "refresh_token", "id_token"} {
		p.secret(a.field(member))
	}
	return a
}

// RFC 9449 s5: a refresh token of a client without authentication is bound to the key it was got with. That of any other is bound to the client, which may come with another key or, where none is
// demanded of it, with none; its access token is bound to what it came with. The code is bound for both (s10).
func TestKeysOfRefreshTokens(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Tokens.DPoPNonce = "optional" })
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	first, second := josetest.NewHolder(), josetest.NewHolder()
	signIn := func(p *party) answer {
		t.Helper()
		verifier := oauth2.GenerateVerifier()
		code := p.code(token, "s", verifier, oauth2.SetAuthURLParam("dpop_jkt", first.Thumbprint()))
		redeem := func(key *josetest.Holder) answer {
			return p.tokensWith(key, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.oauth.RedirectURL}, "code_verifier": {verifier}})
		}
		i.oauthRefused("a code with another key", redeem(second), 400, "invalid_grant")
		return i.must(redeem(first), 200)
	}
	refresh := func(p *party, key *josetest.Holder, from answer) answer {
		t.Helper()
		return p.tokensWith(key, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {from.field("refresh_token")}})
	}
	boundTo := func(what string, key *josetest.Holder, a answer) answer {
		t.Helper()
		_, claims := i.verified(i.must(a, 200).field("access_token"))
		cnf, _ := claims["cnf"].(map[string]any)
		switch {
		case key == nil && (claims["cnf"] != nil || a.field("token_type") != "Bearer"), key != nil && (cnf["jkt"] != key.Thumbprint() || a.field("token_type") != "DPoP"):
			t.Errorf("%s: %s, cnf %v", what, a.field("token_type"), claims["cnf"])
		}
		return a
	}
	cnfOf := func(p *party, a answer) any {
		var body map[string]any
		p.introspect(p.oauth.ClientID, p.oauth.ClientSecret, a.field("refresh_token")).json(t, &body)
		return body["cnf"]
	}

	p := i.relyingParty(organization, nil)
	a := boundTo("the code", first, signIn(p))
	if cnf := cnfOf(p, a); cnf != nil {
		t.Errorf("the refresh token of a client that authenticates is said to be bound to %v", cnf)
	}
	a = boundTo("another key", second, refresh(p, second, a))
	a = boundTo("no key", nil, refresh(p, nil, a))
	boundTo("a key again", first, refresh(p, first, a))

	p = i.relyingParty(organization, map[string]any{"name": "bound", "requireDPoP": true})
	a = signIn(p)
	i.oauthRefused("no key, where one is demanded", refresh(p, nil, a), 400, "invalid_dpop_proof")
	boundTo("another key, where one is demanded", second, refresh(p, second, a))

	p = i.relyingParty(organization, map[string]any{"name": "public", "authentication": "none"})
	a = signIn(p)
	i.oauthRefused("another key of a public client", refresh(p, second, a), 400, "invalid_grant")
	i.oauthRefused("no key of a public client", refresh(p, nil, a), 400, "invalid_grant")
	a = boundTo("the key of a public client", first, refresh(p, first, a))
	i.oauthRefused("another key after a refresh", refresh(p, second, a), 400, "invalid_grant")
}
