package issuer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/trust"
)

// tokenQuestion posts a form about a token, authenticated by client_secret_basic when id is not empty.
func (i *instance) tokenQuestion(path, id, secret string, form url.Values) answer {
	i.t.Helper()
	r := i.request("POST", path, "application/x-www-form-urlencoded", form.Encode())
	if id != "" {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return i.do(r)
}

func (i *instance) introspect(id, secret, token string) answer {
	i.t.Helper()
	return i.must(i.tokenQuestion("/oauth2/introspect", id, secret, url.Values{"token": {token}}), 200)
}

// inactive is the whole of what is said about a token that is nobody's business.
func (i *instance) inactive(what string, a answer) {
	i.t.Helper()
	if string(a.body) != `{"active":false}` || a.Header.Get("Cache-Control") != "no-store" {
		i.t.Errorf("%s: %s %v", what, a.body, a.Header)
	}
}

// server is an agent that serves an audience.
func (i *instance) server(organization, name string, serves ...string) string {
	i.t.Helper()
	return i.must(i.admin("POST", "/agents", map[string]any{
		"organizationId": organization, "name": name, "audiences": []string{"svc://other"}, "serves": serves,
	}), 201).field("id")
}

// A token is described to the client it was issued to and to those of its organization it is for; to everybody else it does not exist.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	i := start(t)
	acme, other := i.organization("acme"), i.organization("other")
	agent := i.agent(acme, "a")
	_, secret := i.credential(agent)
	token := i.token(agent, secret) // for svc://payments
	_, claims := i.verified(token)

	want := map[string]any{"active": true, "token_type": "Bearer"}
	for _, name := range []string{"scope", "client_id", "exp", "iat", "nbf", "sub", "aud", "iss", "jti", "org_id", "agent"} {
		want[name] = claims[name]
	}
	described := func(what, id, secret string) {
		t.Helper()
		var got map[string]any
		a := i.introspect(id, secret, token)
		a.json(t, &got)
		if d := cmp.Diff(want, got); d != "" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	described("its own client", agent, secret)
	payments := i.server(acme, "payments", "svc://payments", "svc://more")
	_, paymentsSecret := i.credential(payments)
	described("the resource it is for", payments, paymentsSecret)

	neighbour := i.server(acme, "ledger", "svc://ledger", "svc://payments/", "svc://payment")
	_, neighbourSecret := i.credential(neighbour)
	foreign := i.server(other, "payments", "svc://payments")
	_, foreignSecret := i.credential(foreign)
	i.inactive("a resource it is not for", i.introspect(neighbour, neighbourSecret, token))
	i.inactive("another organization's resource of the same name", i.introspect(foreign, foreignSecret, token))

	for what, text := range map[string]string{
		"made up": "x", "another signature": token[:len(token)-8] + "AAAAAAAA", "cut": token[:len(token)-1], "unsigned": strings.Join(strings.Split(token, ".")[:2], ".") + ".",
		"a client secret": secret, "two": token + "," + token, "long": strings.Repeat("a.", 20000),
	} {
		i.inactive(what, i.introspect(agent, secret, text))
	}
	for what, bad := range map[string]answer{
		"no client":   i.tokenQuestion("/oauth2/introspect", "", "", url.Values{"token": {token}}),
		"a bad one":   i.tokenQuestion("/oauth2/introspect", agent, "aidp_wrong", url.Values{"token": {token}}),
		"a wrong one": i.tokenQuestion("/oauth2/introspect", neighbour, secret, url.Values{"token": {token}}),
		"nobody":      i.tokenQuestion("/oauth2/introspect", "cli_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", "aidp_wrong", url.Values{"token": {token}}),
	} {
		if bad.StatusCode != 401 || bad.field("error") != "invalid_client" || bad.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %s %s", what, bad.Status, bad.body)
		}
	}
	for what, form := range map[string]url.Values{"no token": {}, "an empty one": {"token": {""}}, "two": {"token": {token, token}}} {
		if bad := i.tokenQuestion("/oauth2/introspect", agent, secret, form); bad.StatusCode != 400 || bad.field("error") != "invalid_request" {
			t.Errorf("%s: %s %s", what, bad.Status, bad.body)
		}
	}
	if bad := i.tokenQuestion("/oauth2/introspect?token="+token, agent, secret, url.Values{}); bad.StatusCode != 400 {
		t.Errorf("in the query: %s", bad.Status)
	}
}

// Whatever kills a token at the edge makes it inactive, at once.
func TestIntrospectionFollowsRevocation(t *testing.T) {
	t.Parallel()
	i := start(t)
	for what, kill := range map[string]func(organization, agent, credential, id string) answer{
		"suspended": func(_, agent, _, _ string) answer {
			i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200)
			return i.admin("POST", "/agents/"+agent+"/reactivate", nil)
		},
		"revoked": func(_, agent, _, _ string) answer { return i.admin("POST", "/agents/"+agent+"/revoke", nil) },
		"deleted": func(_, agent, _, _ string) answer { return i.admin("DELETE", "/agents/"+agent, nil) },
		"credential": func(_, agent, credential, _ string) answer {
			return i.admin("DELETE", "/agents/"+agent+"/credentials/"+credential, nil)
		},
		"its id": func(_, agent, _, id string) answer {
			return i.admin("POST", "/agents/"+agent+"/revoke-tokens", map[string]string{"tokenId": id})
		},
		"its agent's tokens": func(_, agent, _, _ string) answer { return i.admin("POST", "/agents/"+agent+"/revoke-tokens", nil) },
		"its organization's tokens": func(organization, _, _, _ string) answer {
			return i.admin("POST", "/organizations/"+organization+"/revoke-tokens", nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			i := i.in(t)
			slug := "org-" + strings.ReplaceAll(strings.ReplaceAll(what, " ", "-"), "'", "")
			organization := i.organization(slug)
			agent, resource := i.agent(organization, "a"), i.server(organization, "payments", "svc://payments")
			credential, secret := i.credential(agent)
			_, resourceSecret := i.credential(resource)
			token := i.token(agent, secret)
			_, claims := i.verified(token)
			if a := i.introspect(resource, resourceSecret, token); !strings.HasPrefix(string(a.body), `{"active":true,`) {
				t.Fatalf("%s", a.body)
			}
			if a := kill(organization, agent, credential, claims["jti"].(string)); a.StatusCode/100 != 2 {
				t.Fatalf("%s %s", a.Status, a.body)
			}
			i.inactive("at once", i.introspect(resource, resourceSecret, token))
			i.awaitRevoked(claims)
		})
	}
}

// in is the same instance in a subtest.
func (i *instance) in(t *testing.T) *instance {
	t.Helper()
	return &instance{t: t, url: i.url, client: i.client, registry: i.registry, db: i.db, cfg: i.cfg}
}

// awaitRevoked waits until the list that sidecars read kills a token. One rendering is reused for a moment.
func (i *instance) awaitRevoked(claims map[string]any) list {
	i.t.Helper()
	l := i.revocations()
	for deadline := time.Now().Add(10 * time.Second); l.revokes(claims) == ""; l = i.revocations() {
		if time.Now().After(deadline) {
			i.t.Fatalf("the list does not revoke it: %s", l.body)
		}
	}
	return l
}

// A client gives back its own tokens and no other's; what is no token is in the state it wants.
func TestTokenRevocation(t *testing.T) {
	t.Parallel()
	i := start(t)
	acme := i.organization("acme")
	agent, other := i.agent(acme, "a"), i.agent(acme, "b")
	_, secret := i.credential(agent)
	_, otherSecret := i.credential(other)
	foreign := i.agent(i.organization("foreign"), "a")
	_, foreignSecret := i.credential(foreign)
	token, kept := i.token(agent, secret), i.token(agent, secret)
	_, claims := i.verified(token)
	_, keptClaims := i.verified(kept)
	revoke := func(id, secret, token string) answer {
		t.Helper()
		return i.tokenQuestion("/oauth2/revoke", id, secret, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}})
	}
	for who, a := range map[string]answer{"a neighbour": revoke(other, otherSecret, token), "a stranger": revoke(foreign, foreignSecret, token)} {
		if a.StatusCode != 400 || a.field("error") != "invalid_grant" {
			t.Errorf("%s: %s %s", who, a.Status, a.body)
		}
	}
	if a := revoke("", "", token); a.StatusCode != 401 || a.field("error") != "invalid_client" {
		t.Errorf("nobody: %s %s", a.Status, a.body)
	}
	if a := i.introspect(agent, secret, token); !strings.HasPrefix(string(a.body), `{"active":true,`) {
		t.Fatalf("revoked by somebody else: %s", a.body)
	}
	for range 3 { // once is enough, and more does no harm
		a := i.must(revoke(agent, secret, token), 200)
		if len(a.body) != 0 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%q %v", a.body, a.Header)
		}
	}
	for what, text := range map[string]string{"made up": "x", "a secret": secret, "changed": token[:len(token)-4] + "AAAA"} {
		if a := revoke(agent, secret, text); a.StatusCode != 200 {
			t.Errorf("%s: %s %s", what, a.Status, a.body)
		}
	}
	if a := i.tokenQuestion("/oauth2/revoke", agent, secret, url.Values{}); a.StatusCode != 400 || a.field("error") != "invalid_request" {
		t.Errorf("nothing: %s %s", a.Status, a.body)
	}
	i.inactive("revoked", i.introspect(agent, secret, token))
	if l := i.awaitRevoked(claims); l.revokes(claims) != trust.RevokedToken || l.revokes(keptClaims) != "" || len(l.Tokens) != 1 {
		t.Errorf("%s", l.body)
	}
	if a := revoke(other, otherSecret, token); a.StatusCode != 400 { // and tells a stranger nothing by another answer
		t.Errorf("somebody else's that is revoked: %s %s", a.Status, a.body)
	}
	var log struct {
		Records []struct{ Action, Target string }
	}
	i.must(i.admin("GET", "/audit?organizationId="+acme+"&action=token.revoke", nil), 200).json(t, &log)
	if len(log.Records) != 1 || log.Records[0].Target != claims["jti"] {
		t.Errorf("recorded: %+v", log.Records)
	}
}

// An agent that gives back every token never runs out of tokens that live.
func TestManyRevocations(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	for n := range 70 {
		token := i.token(agent, secret)
		if a := i.introspect(agent, secret, token); !strings.HasPrefix(string(a.body), `{"active":true,`) {
			_, claims := i.verified(token)
			t.Fatalf("token %d is dead when it is issued (iat %v): %s", n, claims["iat"], a.body)
		}
		i.must(i.tokenQuestion("/oauth2/revoke", agent, secret, url.Values{"token": {token}}), 200)
		i.inactive("revoked", i.introspect(agent, secret, token))
	}
	if a := i.must(i.admin("GET", "/agents/"+agent, nil), 200); a.field("tokensNotBefore") == "" || a.field("status") != "active" {
		t.Errorf("%s", a.body)
	}
}

// Tokens that were revoked by an administrator, by their id or all of them, and what he is told.
func TestAdministratorRevokesTokens(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.agent(organization, "a")
	_, secret := i.credential(agent)
	_, old := i.verified(i.token(agent, secret))
	if a := i.must(i.admin("POST", "/agents/"+agent+"/revoke-tokens", `{"tokenId":"abc"}`), 200); string(a.body) != `{"tokenId":"abc"}` {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{"/agents/" + agent, "/organizations/" + organization} {
		a := i.must(i.admin("POST", path+"/revoke-tokens", `{}`), 200)
		at, err := time.Parse(time.RFC3339, a.field("tokensNotBefore"))
		if err != nil || at.Unix() <= int64(old["iat"].(float64)) {
			t.Errorf("%s: %s %v", path, a.body, err)
		}
	}
	i.awaitRevoked(old)
	for body, field := range map[string]string{`{"tokenId":""}`: "/tokenId", `{"tokenId":"a b"}`: "/tokenId", `{"tokenId":"` + strings.Repeat("a", 129) + `"}`: "/tokenId"} {
		i.refused(i.admin("POST", "/agents/"+agent+"/revoke-tokens", body), 400, "token_id_format", field)
	}
	i.must(i.admin("POST", "/agents/"+agent+"/revoke", nil), 200)
	i.refused(i.admin("POST", "/agents/"+agent+"/revoke-tokens", nil), 409, "agent_revoked", "")
	if got := i.actions(organization, "&action=organization.revoke_tokens"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// Without the database nobody is told that a token is good, or revoked.
func TestTokenQuestionsDuringAnOutage(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	token := i.token(agent, secret)
	comeBack := i.cutDatabase()
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
		a := i.tokenQuestion(path, agent, secret, url.Values{"token": {token}})
		if a.StatusCode != http.StatusServiceUnavailable || a.field("error") != "temporarily_unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s %s", path, a.Status, a.body)
		}
	}
	comeBack()
}

// A relying party asks about its refresh tokens and gives them back; the access tokens that came of the sign-in die too.
func TestRefreshTokensAreDescribedAndRevoked(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, agentSecret, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	other := i.relyingParty(organization, map[string]any{"name": "other"})
	first := p.signedIn(token)
	id, secret := p.oauth.ClientID, p.oauth.ClientSecret
	replaced := first.field("refresh_token")
	second := i.must(p.refresh(replaced), 200)
	current := second.field("refresh_token")
	var got map[string]any
	i.introspect(id, secret, current).json(t, &got)
	if got["active"] != true || got["sub"] != agent || got["client_id"] != id || got["iss"] != i.url || got["org_id"] != organization || got["token_type"] != nil {
		t.Errorf("%v", got)
	}
	i.introspect(id, secret, second.field("access_token")).json(t, &got)
	if got["active"] != true || got["client_id"] != id {
		t.Errorf("its access token: %v", got)
	}
	i.inactive("one that was replaced", i.introspect(id, secret, replaced))
	i.inactive("another relying party", i.introspect(other.oauth.ClientID, other.oauth.ClientSecret, current))
	i.inactive("the agent", i.introspect(agent, agentSecret, current))
	if a := i.tokenQuestion("/oauth2/revoke", other.oauth.ClientID, other.oauth.ClientSecret, url.Values{"token": {current}}); a.StatusCode != 400 || a.field("error") != "invalid_grant" {
		t.Errorf("revoked by another: %s %s", a.Status, a.body)
	}
	for range 2 {
		i.must(i.tokenQuestion("/oauth2/revoke", id, secret, url.Values{"token": {current}}), 200)
	}
	i.inactive("revoked", i.introspect(id, secret, current))
	i.inactive("its access token", i.introspect(id, secret, second.field("access_token")))
	i.oauthRefused("redeemed", p.refresh(current), 400, "invalid_grant")
}

// RFC 7009 s2.1: what is good and not the client's is refused, whoever asks; what the client brought to the wrong issuer is told where to go. Both stay good.
func TestRevocationOfWhatIsElsewhere(t *testing.T) {
	t.Parallel()
	i := start(t)
	acme, other := i.organization("acme"), i.organization("other")
	agent, secret, token := i.signer(acme, "reader")
	p, foreign := i.relyingParty(acme, nil), i.relyingParty(other, nil)
	refresh := p.signedIn(token).field("refresh_token")
	revoke := func(at, id, secret, token string) answer {
		t.Helper()
		return i.tokenQuestion(at+"/oauth2/revoke", id, secret, url.Values{"token": {token}})
	}
	for who, a := range map[string]answer{
		"an agent, of a refresh token":                             revoke("", agent, secret, refresh),
		"another organization's relying party, of a refresh token": revoke("", foreign.oauth.ClientID, foreign.oauth.ClientSecret, refresh),
		"a relying party, of an agent's token":                     revoke("", p.oauth.ClientID, p.oauth.ClientSecret, token),
		"a relying party, at another issuer":                       revoke("/o/acme", p.oauth.ClientID, p.oauth.ClientSecret, token),
	} {
		i.oauthRefused(who, a, 400, "invalid_grant")
	}
	for who, a := range map[string]answer{
		"an agent's own, elsewhere":  revoke("/o/acme", agent, secret, token),
		"a refresh token, elsewhere": revoke("/o/acme", p.oauth.ClientID, p.oauth.ClientSecret, refresh),
	} {
		i.oauthRefused(who, a, 400, "invalid_request")
		if !strings.Contains(a.field("error_description"), i.url+"/oauth2/revoke") {
			t.Errorf("%s: %s does not say where", who, a.body)
		}
	}
	if a := i.introspect(agent, secret, token); !strings.HasPrefix(string(a.body), `{"active":true,`) {
		t.Errorf("dead: %s", a.body)
	}
	i.must(p.refresh(refresh), 200)
	for what, text := range map[string]string{"made up": refresh[:len(refresh)-3] + "AAA", "no token": "x"} {
		if a := revoke("", agent, secret, text); a.StatusCode != 200 {
			t.Errorf("%s: %s %s", what, a.Status, a.body)
		}
	}
}
