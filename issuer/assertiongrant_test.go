package issuer_test

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/issuer"
)

const (
	idTokenType      = "urn:ietf:params:oauth:token-type:id_token"
	refreshTokenType = "urn:ietf:params:oauth:token-type:refresh_token"
	jwtBearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// enterprise is an organization whose agents sign in to a relying party, and a server away that believes what the issuer at home says about them.
type enterprise struct {
	*instance                   // at home
	away                        *instance
	giver, taker                *instance // processes of the two issuers that know the other as a partner
	organization, agent, secret string
	token                       string // the agent's own, to sign in with
	party                       *party
	guest, guestSecret          string // the relying party, as a client away
}

func newEnterprise(t *testing.T) *enterprise {
	t.Helper()
	e := &enterprise{instance: start(t), away: start(t)}
	e.organization = e.instance.organization("acme")
	awayOrganization := e.away.organization("bolt")
	e.guest = e.away.agent(awayOrganization, "wiki")
	_, e.guestSecret = e.away.credential(e.guest)
	e.agent, e.secret, e.token = e.signer(e.organization, "traveller")
	e.must(e.admin("PATCH", "/agents/"+e.agent, map[string]any{"audiences": []string{e.url, e.away.url}}), 200)
	e.party = e.relyingParty(e.organization, map[string]any{"scopes": []string{"invoices:read"}, "audiences": []string{e.away.url}})
	e.giver = e.beside(func(c *issuer.Config) {
		c.Federation.Partners = []issuer.Partner{{
			Issuer: e.away.url, OrganizationID: e.organization, Clients: []issuer.PartnerClient{{RelyingPartyID: e.party.oauth.ClientID, ClientID: e.guest}},
		}}
	})
	e.taker = e.away.beside(func(c *issuer.Config) {
		c.Federation = issuer.Federation{Partners: []issuer.Partner{{
			Issuer: e.url, OrganizationID: awayOrganization, JWKS: &issuer.PartnerKeys{URL: e.url + "/.well-known/jwks.json", CA: config.Path(e.authority)}, Scopes: []string{"invoices:read"},
		}}}
	})
	return e
}

// signIn is the answer of the token endpoint, with an ID token and a refresh token.
func (e *enterprise) signIn(scope string) answer {
	e.t.Helper()
	return e.party.signedIn(e.token, oauth2.SetAuthURLParam("scope", scope))
}

// assertion asks for one about the sign-in that a token is of, as a relying party, with changes: name, value, name, value …; "" takes a parameter out.
func (e *enterprise) assertion(p *party, subjectToken, kind string, change ...string) answer {
	e.t.Helper()
	form := url.Values{
		"grant_type": {exchangeGrant}, "requested_token_type": {idJAGType}, "subject_token": {subjectToken}, "subject_token_type": {kind}, "audience": {e.away.url}, "scope": {"invoices:read"},
	}
	for n := 0; n+1 < len(change); n += 2 {
		if form.Del(change[n]); change[n+1] != "" {
			form.Set(change[n], change[n+1])
		}
	}
	at := *p
	at.instance = e.giver
	return at.tokens(form)
}

// draft-ietf-oauth-identity-assertion-authz-grant s4: an agent signs in to a relying party; that exchanges the ID token, or later the refresh token, for an assertion, and redeems it at another
// server under the name it has there.
func TestSignInBecomesAnAssertion(t *testing.T) {
	t.Parallel()
	e := newEnterprise(t)
	in := e.signIn("openid offline_access")
	var idToken map[string]any
	e.unmarshal(strings.Split(in.field("id_token"), ".")[1], &idToken)

	for kind, subject := range map[string]string{idTokenType: in.field("id_token"), refreshTokenType: in.field("refresh_token")} {
		given := e.must(e.assertion(e.party, subject, kind, "resource", "svc://payments"), 200)
		if given.field("issued_token_type") != idJAGType || given.field("token_type") != "N_A" || given.field("scope") != "invoices:read" || given.field("refresh_token") != "" || given.field("id_token") != "" {
			t.Errorf("%s: %s", kind, given.body)
		}
		header, claims := e.verified(given.field("access_token"))
		if life := claims["exp"].(float64) - claims["iat"].(float64); life <= 0 || life > 300 {
			t.Errorf("%s: it lives %v s", kind, life)
		}
		want := map[string]any{ // and nothing else: no act, since nobody acts for the client, and no agent, org_id or credential_id
			"iss": e.url, "sub": e.agent, "aud": e.away.url, "client_id": e.guest, "scope": "invoices:read", "resource": "svc://payments",
			"auth_time": idToken["auth_time"], "acr": idToken["acr"], "amr": idToken["amr"], "jti": claims["jti"], "iat": claims["iat"], "exp": claims["exp"],
		}
		if d := cmp.Diff(want, claims); d != "" || header["typ"] != "oauth-id-jag+jwt" || claims["jti"] == "" {
			t.Errorf("%s: %v (-want +got):\n%s", kind, header, d)
		}
		redeemed := e.must(e.taker.tokenRequest(e.guest, e.guestSecret, url.Values{"grant_type": {jwtBearerGrant}, "assertion": {given.field("access_token")}}), 200)
		_, claims = e.away.verified(redeemed.field("access_token"))
		if claims["sub"] != e.url+"|"+e.agent || claims["client_id"] != e.guest || claims["aud"] != "svc://payments" || claims["scope"] != "invoices:read" {
			t.Errorf("%s: away %v", kind, claims)
		}
	}
	e.must(e.party.refresh(in.field("refresh_token")), 200) // it was not used up

	var log struct {
		Records []struct {
			Actor   map[string]string
			Details map[string]any
		}
	}
	e.must(e.admin("GET", "/audit?action=token.issue&organizationId="+e.organization, nil), 200).json(t, &log)
	if r := log.Records[1]; r.Actor["id"] != e.party.oauth.ClientID || r.Actor["kind"] != "client" || r.Details["grantType"] != exchangeGrant || r.Details["signInId"] != idToken["sid"] || r.Details["audience"] != e.away.url {
		t.Errorf("recorded %+v", r)
	}
}

// Without a scope the assertion has what the sign-in granted and both records still have; scopes of OpenID Connect mean nothing elsewhere, and an assertion that says nothing about scopes would mean
// all of them.
func TestScopesOfAnAssertion(t *testing.T) {
	t.Parallel()
	e := newEnterprise(t)
	a := e.must(e.assertion(e.party, e.signIn("openid invoices:read").field("id_token"), idTokenType, "scope", ""), 200)
	if _, claims := e.verified(a.field("access_token")); a.field("scope") != "invoices:read" || claims["scope"] != "invoices:read" {
		t.Errorf("%s, %v", a.body, claims["scope"])
	}
	e.oauthRefused("nothing left", e.assertion(e.party, e.signIn("openid profile").field("id_token"), idTokenType, "scope", ""), 400, "invalid_scope")
}

// Who may ask, with what, for what. Nothing else is exchanged for a relying party.
func TestAssertionsAreRefused(t *testing.T) {
	t.Parallel()
	e := newEnterprise(t)
	other := e.relyingParty(e.organization, map[string]any{"name": "other", "scopes": []string{"invoices:read"}, "audiences": []string{e.away.url}})
	public := e.relyingParty(e.organization, map[string]any{"name": "public", "authentication": "none", "audiences": []string{e.away.url}})
	in := e.signIn("openid offline_access")
	id, access := in.field("id_token"), in.field("access_token")
	parts := strings.Split(id, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.Replace(e.decode(parts[1]), []byte("traveller"), []byte("pretender"), 1))
	for name, tt := range map[string]struct {
		a      answer
		status int
		code   string
	}{
		"another client's ID token":      {e.assertion(other, id, idTokenType), 400, "invalid_grant"},
		"another client's refresh token": {e.assertion(other, in.field("refresh_token"), refreshTokenType), 400, "invalid_grant"},
		"a client without a secret":      {e.assertion(public, public.signedIn(e.token).field("id_token"), idTokenType), 400, "unauthorized_client"},
		"a client with a name nowhere":   {e.assertion(other, other.signedIn(e.token).field("id_token"), idTokenType), 400, "invalid_target"},
		"an access token":                {e.assertion(e.party, access, accessTokenType), 400, "invalid_request"},
		"an access token as an ID token": {e.assertion(e.party, access, idTokenType), 400, "invalid_grant"},
		"an ID token as a refresh token": {e.assertion(e.party, id, refreshTokenType), 400, "invalid_grant"},
		"an ID token of a changed agent": {e.assertion(e.party, strings.Join(parts, "."), idTokenType), 400, "invalid_grant"},
		"no subject token":               {e.assertion(e.party, "", idTokenType), 400, "invalid_request"},
		"an actor token":                 {e.assertion(e.party, id, idTokenType, "actor_token", access, "actor_token_type", accessTokenType), 400, "invalid_request"},
		"for an access token":            {e.assertion(e.party, id, idTokenType, "requested_token_type", accessTokenType), 400, "unauthorized_client"},
		"for the default, which is one":  {e.assertion(e.party, id, idTokenType, "requested_token_type", ""), 400, "unauthorized_client"},
		"no audience":                    {e.assertion(e.party, id, idTokenType, "audience", ""), 400, "invalid_target"},
		"an audience of nobody's":        {e.assertion(e.party, id, idTokenType, "audience", "https://evil.example"), 400, "invalid_target"},
		"ourselves":                      {e.assertion(e.party, id, idTokenType, "audience", e.url), 400, "invalid_target"},
		"a scope the client may not ask": {e.assertion(e.party, id, idTokenType, "scope", "invoices:write"), 400, "invalid_scope"},
		"a malformed scope":              {e.assertion(e.party, id, idTokenType, "scope", "a  b"), 400, "invalid_scope"},
		"details not granted":            {e.assertion(e.party, id, idTokenType, "authorization_details", `[{"type":"x"}]`), 400, "invalid_authorization_details"},
		"a wrong secret": {e.giver.tokenRequest(e.party.oauth.ClientID, "wrong", url.Values{
			"grant_type": {exchangeGrant}, "requested_token_type": {idJAGType}, "subject_token": {id}, "subject_token_type": {idTokenType}, "audience": {e.away.url},
		}), 401, "invalid_client"},
		"an agent, with a client's ID token": {e.giver.tokenRequest(e.agent, e.secret, url.Values{
			"grant_type": {exchangeGrant}, "requested_token_type": {idJAGType}, "subject_token": {id}, "subject_token_type": {idTokenType}, "audience": {e.away.url},
		}), 400, "invalid_request"},
		"where the partner is not known": {e.party.tokens(url.Values{
			"grant_type": {exchangeGrant}, "requested_token_type": {idJAGType}, "subject_token": {id}, "subject_token_type": {idTokenType}, "audience": {e.away.url}, "scope": {"invoices:read"},
		}), 400, "invalid_target"},
	} {
		e.oauthRefused(name, tt.a, tt.status, tt.code)
	}
	e.must(e.assertion(e.party, id, idTokenType), 200) // so that it was the change that was refused

	e.must(e.admin("PATCH", "/clients/"+e.party.oauth.ClientID, map[string]any{"audiences": []string{}}), 200)
	e.oauthRefused("the client's record does not name the partner any more", e.assertion(e.party, id, idTokenType), 400, "invalid_target")
	e.must(e.admin("PATCH", "/clients/"+e.party.oauth.ClientID, map[string]any{"audiences": []string{e.away.url}}), 200)
	e.must(e.admin("PATCH", "/agents/"+e.agent, map[string]any{"audiences": []string{e.url}}), 200)
	e.oauthRefused("the agent's record does not name it any more", e.assertion(e.party, id, idTokenType), 400, "invalid_target")
}

// A sign-in that is over, however it ended, is none to be told about.
func TestNoAssertionOfADeadSignIn(t *testing.T) {
	t.Parallel()
	e := newEnterprise(t)
	next := func(name string) (credential string) {
		e.agent, e.secret, _ = e.signer(e.organization, name)
		e.must(e.admin("PATCH", "/agents/"+e.agent, map[string]any{"audiences": []string{e.url, e.away.url}}), 200)
		e.token = e.instance.token(e.agent, e.secret)
		_, claims := e.verified(e.token)
		return claims["credential_id"].(string)
	}
	for name, kill := range map[string]func(credential string, in answer){
		"suspended": func(string, answer) { e.must(e.admin("POST", "/agents/"+e.agent+"/suspend", nil), 200) },
		"reactivated": func(string, answer) {
			e.must(e.admin("POST", "/agents/"+e.agent+"/suspend", nil), 200)
			e.must(e.admin("POST", "/agents/"+e.agent+"/reactivate", nil), 200)
		},
		"deleted": func(string, answer) { e.must(e.admin("DELETE", "/agents/"+e.agent, nil), 204) },
		"credential": func(credential string, _ answer) {
			e.must(e.admin("DELETE", "/agents/"+e.agent+"/credentials/"+credential, nil), 204)
		},
		"given-back": func(_ string, in answer) {
			e.must(e.tokenQuestion("/oauth2/revoke", e.party.oauth.ClientID, e.party.oauth.ClientSecret, url.Values{"token": {in.field("refresh_token")}}), 200)
		},
		"stolen": func(_ string, in answer) {
			e.must(e.party.refresh(in.field("refresh_token")), 200)
			e.oauthRefused("a refresh token that was replaced", e.assertion(e.party, in.field("refresh_token"), refreshTokenType), 400, "invalid_grant")
		},
	} {
		credential := next(name)
		in := e.signIn("openid offline_access")
		e.must(e.assertion(e.party, in.field("id_token"), idTokenType), 200)
		kill(credential, in)
		e.oauthRefused(name+", by ID token", e.assertion(e.party, in.field("id_token"), idTokenType), 400, "invalid_grant")
		e.oauthRefused(name+", by refresh token", e.assertion(e.party, in.field("refresh_token"), refreshTokenType), 400, "invalid_grant")
	}

	// A client that keeps nothing going has the ID token for as long as that is good, longer than the access token.
	next("short")
	p := *e.party
	e.must(e.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"refreshTokens": false}), 200)
	in := e.signIn("openid")
	e.sql("update agentidp.sign_ins set expires_at = expires_at - interval '9 minutes'")
	next("another")
	e.signIn("openid") // takes away the sign-ins that are over
	e.must(e.assertion(e.party, in.field("id_token"), idTokenType), 200)
}
