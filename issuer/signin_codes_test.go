package issuer_test

import (
	"net/http"
	"net/url"
	"sync"
	"testing"

	"golang.org/x/oauth2"
)

// redeem sends a code to the token endpoint as it is.
func (p *party) redeem(code, verifier string, change ...string) answer {
	p.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.oauth.RedirectURL}, "code_verifier": {verifier}}
	for n := 0; n+1 < len(change); n += 2 {
		form.Set(change[n], change[n+1])
	}
	return p.tokens(form)
}

func (p *party) refresh(token string, more ...string) answer {
	p.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for n := 0; n+1 < len(more); n += 2 {
		form.Set(more[n], more[n+1])
	}
	return p.tokens(form)
}

// tokens is a token request of the relying party, which authenticates by its secret when it has one.
func (p *party) tokens(form url.Values) answer {
	p.t.Helper()
	id := p.oauth.ClientID
	if p.oauth.ClientSecret == "" {
		form.Set("client_id", id)
		id = ""
	}
	a := p.tokenRequest(id, p.oauth.ClientSecret, form)
	p.secret(a.field("refresh_token"))
	p.secret(a.field("id_token"))
	return a
}

// signedIn is a fresh sign-in's answer of the token endpoint.
func (p *party) signedIn(token string, options ...oauth2.AuthCodeOption) answer {
	p.t.Helper()
	verifier := oauth2.GenerateVerifier()
	return p.must(p.redeem(p.code(token, "s", verifier, options...), verifier), 200)
}

// info asks /agent-info with a token.
func (i *instance) info(token string) answer {
	i.t.Helper()
	r := i.request("GET", "/agent-info", "", "")
	r.Header.Set("Authorization", "Bearer "+token)
	return i.do(r)
}

func (i *instance) oauthRefused(what string, a answer, status int, code string) {
	i.t.Helper()
	if a.StatusCode != status || a.field("error") != code {
		i.t.Errorf("%s: %s %s, want %d %s", what, a.Status, a.body, status, code)
	}
}

// A code is the client's that asked for it, with everything it asked for. What is wrong of a client's own attempt with the verifier burns the code; what a
// stranger tries does not.
func TestCodeIsBound(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	other := i.relyingParty(organization, map[string]any{"name": "other"})
	foreign := i.relyingParty(i.organization("evil"), nil)

	verifier := oauth2.GenerateVerifier()
	code := p.code(token, "s", verifier)
	i.oauthRefused("another client", other.redeem(code, verifier), 400, "invalid_grant")
	i.oauthRefused("another organization's client", foreign.redeem(code, verifier), 400, "invalid_grant")
	i.oauthRefused("a wrong secret", i.tokenRequest(p.oauth.ClientID, "wrong", url.Values{"grant_type": {"authorization_code"}, "code": {code}}), 401, "invalid_client")
	i.oauthRefused("an agent", i.tokenRequest("agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", "x", url.Values{"grant_type": {"authorization_code"}, "code": {code}}), 401, "invalid_client")
	i.oauthRefused("another redirect_uri", p.redeem(code, verifier, "redirect_uri", "https://party.example/cb"), 400, "invalid_grant")
	i.oauthRefused("no code", p.redeem("", verifier), 400, "invalid_request")
	i.oauthRefused("a code somebody made up", p.redeem(code[:len(code)-3]+"AAA", verifier), 400, "invalid_grant")
	i.oauthRefused("another kind of token", p.redeem(p.signedIn(token).field("refresh_token"), verifier), 400, "invalid_grant")
	i.must(p.redeem(code, verifier), 200)

	for what, wrong := range map[string]string{"no verifier": "", "another verifier": oauth2.GenerateVerifier()} {
		code := p.code(token, "s", verifier)
		i.oauthRefused(what, p.redeem(code, wrong), 400, "invalid_grant")
		i.oauthRefused("after "+what, p.redeem(code, verifier), 400, "invalid_grant")
	}

	expired := p.code(token, "s", verifier)
	i.sql("update agentidp.sign_ins set code_expires_at = now() - interval '1 second' where redeemed_at is null")
	i.oauthRefused("an expired code", p.redeem(expired, verifier), 400, "invalid_grant")
}

func (i *instance) sql(statement string) {
	i.t.Helper()
	if _, err := i.db.Superuser(i.t).Exec(i.t.Context(), statement); err != nil {
		i.t.Fatal(err)
	}
}

// RFC 6749 s4.1.2: a code that comes back ends everything that came of it.
func TestCodeReuseEndsTheSignIn(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	verifier := oauth2.GenerateVerifier()
	code := p.code(token, "s", verifier)
	first := i.must(p.redeem(code, verifier), 200)
	i.must(i.info(first.field("access_token")), 200)

	i.oauthRefused("the code again", p.redeem(code, verifier), 400, "invalid_grant")
	i.oauthRefused("the access token", i.info(first.field("access_token")), 401, "invalid_token")
	i.oauthRefused("the refresh token", p.refresh(first.field("refresh_token")), 400, "invalid_grant")
	_, claims := i.verified(first.field("access_token"))
	i.awaitRevoked(claims)
	var log struct {
		Records []struct{ Details map[string]any }
	}
	i.must(i.admin("GET", "/audit?action=sign_in.revoke&organizationId="+organization, nil), 200).json(t, &log)
	if len(log.Records) != 1 || log.Records[0].Details["reason"] != "code_reused" {
		t.Errorf("%+v", log)
	}
}

// Of many that redeem at the same time one gets tokens at most, and when the others were seen those are dead.
func TestOneCodeOneAnswer(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	verifier := oauth2.GenerateVerifier()
	code := p.code(token, "s", verifier)
	i.oneOfMany(func() answer { return p.redeem(code, verifier) })
	i.oneOfMany(func() answer { return p.refresh(p.signedIn(token).field("refresh_token")) }, 6)

	refresh := p.signedIn(token).field("refresh_token")
	i.oneOfMany(func() answer { return p.refresh(refresh) })
}

// oneOfMany wants one success of six (or as many as given), and what was given to be dead when it is one.
func (i *instance) oneOfMany(try func() answer, succeed ...int) {
	i.t.Helper()
	var mu sync.Mutex
	var good []string
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			a := try()
			if a.StatusCode == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good = append(good, a.field("access_token"))
			}
		})
	}
	all.Wait()
	if len(succeed) > 0 {
		if len(good) != succeed[0] {
			i.t.Errorf("%d answers, want %d", len(good), succeed[0])
		}
		return
	}
	if len(good) > 1 {
		i.t.Errorf("%d answers", len(good))
	}
	for _, token := range good {
		i.oauthRefused("the token of one that was tried by six", i.info(token), 401, "invalid_token")
	}
}

// RFC 9700 s4.14.2: each refresh token is good once. One that comes back is in two hands, and ends the sign-in.
func TestRefreshTokenReuse(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	other := i.relyingParty(organization, map[string]any{"name": "other"})

	first := p.signedIn(token).field("refresh_token")
	i.oauthRefused("another client", other.refresh(first), 400, "invalid_grant")
	i.oauthRefused("made up", p.refresh(first[:len(first)-3]+"AAA"), 400, "invalid_grant")
	second := i.must(p.refresh(first, "scope", "openid profile"), 200)
	if second.field("scope") != "openid profile" || second.field("id_token") == "" {
		t.Errorf("narrowed: %s", second.body)
	}
	i.oauthRefused("more than was granted", p.refresh(second.field("refresh_token"), "scope", "openid invoices:write"), 400, "invalid_scope")
	third := i.must(p.refresh(second.field("refresh_token")), 200)
	if third.field("scope") != "openid profile agent offline_access" {
		t.Errorf("a narrow refresh narrowed the sign-in: %s", third.body)
	}
	i.oauthRefused("the first again", p.refresh(first), 400, "invalid_grant")
	i.oauthRefused("the third", p.refresh(third.field("refresh_token")), 400, "invalid_grant")
	i.oauthRefused("the last access token", i.info(third.field("access_token")), 401, "invalid_token")
}

// What ends a sign-in from the agent's side, and by the clock.
func TestRefreshEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, secret, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)

	suspended := p.signedIn(token).field("refresh_token")
	i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200)
	i.oauthRefused("of a suspended agent", p.refresh(suspended), 400, "invalid_grant")
	i.must(i.admin("POST", "/agents/"+agent+"/reactivate", nil), 200)
	i.oauthRefused("from before the suspension", p.refresh(suspended), 400, "invalid_grant")

	token = i.token(agent, secret)
	for name, column := range map[string]string{"idle for too long": "refresh_expires_at", "too old": "expires_at"} {
		refresh := p.signedIn(token).field("refresh_token")
		i.sql("update agentidp.sign_ins set " + column + " = now() - interval '1 second'")
		i.oauthRefused(name, p.refresh(refresh), 400, "invalid_grant")
	}

	refresh := p.signedIn(token).field("refresh_token")
	i.must(i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"refreshTokens": false}), 200)
	i.oauthRefused("of a client that lost them", p.refresh(refresh), 400, "unauthorized_client")
	if a := p.signedIn(token); a.field("refresh_token") != "" {
		t.Error("a refresh token for a client that may have none")
	}
	i.must(i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"refreshTokens": true}), 200)

	refresh = p.signedIn(token).field("refresh_token")
	var credentials struct{ Credentials []struct{ ID string } }
	i.must(i.admin("GET", "/agents/"+agent+"/credentials", nil), 200).json(t, &credentials)
	i.must(i.admin("DELETE", "/agents/"+agent+"/credentials/"+credentials.Credentials[0].ID, nil), 204)
	i.oauthRefused("of a deleted credential", p.refresh(refresh), 400, "invalid_grant")
	i.must(i.admin("DELETE", "/clients/"+p.oauth.ClientID, nil), 204)
	i.oauthRefused("of a deleted client", p.refresh(refresh), 401, "invalid_client")
}
