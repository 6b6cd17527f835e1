package issuer_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

// party is a relying party as an independent library plays it: go-oidc and x/oauth2, unmodified.
type party struct {
	*instance
	provider *oidc.Provider
	oauth    *oauth2.Config
}

const callback = "https://party.example/cb?tenant=a"

// withIssuer is a context whose HTTP client trusts the issuer's certificate.
func (i *instance) withIssuer() context.Context {
	return oidc.ClientContext(i.t.Context(), i.client)
}

// relyingParty registers one. change is of the request.
func (i *instance) relyingParty(organization string, change map[string]any) *party {
	i.t.Helper()
	return i.registered(i, organization, change)
}

// relyingPartyAt is one that signs agents in at another issuer than that of the instance.
func (i *instance) relyingPartyAt(at *instance, organization string) *party {
	i.t.Helper()
	return i.registered(at, organization, nil)
}

func (i *instance) registered(at *instance, organization string, change map[string]any) *party {
	i.t.Helper()
	body := map[string]any{"organizationId": organization, "name": "party", "redirectUris": []string{callback}, "refreshTokens": true}
	for name, value := range change {
		body[name] = value
	}
	var created struct {
		Client       struct{ ID string }
		ClientSecret string
	}
	i.must(i.admin("POST", "/clients", body), 201).json(i.t, &created)
	provider, err := oidc.NewProvider(i.withIssuer(), at.url)
	if err != nil {
		i.t.Fatal(err)
	}
	uris, _ := body["redirectUris"].([]string)
	return &party{at, provider, &oauth2.Config{
		ClientID: created.Client.ID, ClientSecret: i.secret(created.ClientSecret), Endpoint: provider.Endpoint(), RedirectURL: uris[0],
		Scopes: []string{oidc.ScopeOpenID, "profile", "agent", oidc.ScopeOfflineAccess},
	}}
}

// signer is an agent that may sign in: the issuer is among its audiences. It returns the agent and its token for the issuer.
func (i *instance) signer(organization, name string) (agent, secret, token string) {
	i.t.Helper()
	agent = i.must(i.admin("POST", "/agents", map[string]any{
		"organizationId": organization, "name": name, "type": "assistant", "capabilities": []string{"invoice.read"},
		"scopes": []string{"invoices:read", "invoices:write"}, "audiences": []string{i.url, "svc://payments"},
	}), 201).field("id")
	_, secret = i.credential(agent)
	return agent, secret, i.token(agent, secret)
}

// follow is what an agent does with a URL it was given: it asks for it with its own credential, and goes where it is sent.
func (i *instance) follow(link, token string) (*url.URL, answer) {
	i.t.Helper()
	r, err := http.NewRequestWithContext(i.t.Context(), "GET", link, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a := i.do(r)
	if a.StatusCode != http.StatusSeeOther {
		return nil, a
	}
	back, err := a.Location()
	if err != nil {
		i.t.Fatal(err)
	}
	i.secret(back.Query().Get("code"))
	return back, a
}

// code signs an agent in and returns the code.
func (p *party) code(token, state, verifier string, options ...oauth2.AuthCodeOption) string {
	p.t.Helper()
	options = append(options, oauth2.S256ChallengeOption(verifier))
	back, a := p.follow(p.oauth.AuthCodeURL(state, options...), token)
	if back == nil {
		p.t.Fatalf("%s %s", a.Status, a.body)
	}
	q := back.Query()
	if q.Get("code") == "" || q.Get("state") != state || q.Get("iss") != p.url {
		p.t.Fatalf("sent back to %s", back)
	}
	return q.Get("code")
}

// The whole way, with nothing of ours on the relying party's side: discovery, authorization request, code, verified ID token, user info, refresh.
// What is no token is 400 where an agent signs in, as it is at /agent-info (RFC 6750 s3.1); the client hears nothing of it, unless it wanted nobody to be asked.
func TestSignInWithSomethingElse(t *testing.T) {
	t.Parallel()
	i := start(t)
	p := i.relyingParty(i.organization("acme"), nil)
	for _, path := range []string{strings.TrimPrefix(p.link(), i.url), "/agent-info"} {
		r := i.request("GET", path, "", "")
		r.SetBasicAuth("agt", "x")
		a := i.do(r)
		if a.StatusCode != 400 || a.field("error") != "invalid_request" || !strings.Contains(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: %s %s %v", path, a.Status, a.body, a.Header)
		}
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)

	before := time.Now().Add(-time.Minute).Unix()
	verifier := oauth2.GenerateVerifier()
	code := p.code(token, "st&te=1", verifier, oidc.Nonce("the-nonce"))
	got, err := p.oauth.Exchange(p.withIssuer(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	i.secret(got.AccessToken)
	i.secret(got.RefreshToken)
	raw, _ := got.Extra("id_token").(string)
	idToken, err := p.provider.VerifierContext(p.withIssuer(), &oidc.Config{ClientID: p.oauth.ClientID}).Verify(p.withIssuer(), i.secret(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := idToken.VerifyAccessToken(got.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	var claims struct {
		AuthTime int64    `json:"auth_time"`
		ACR      string   `json:"acr"`
		AMR      []string `json:"amr"`
		Org      string   `json:"org_id"`
		Agent    struct{ Name, DID string }
	}
	if err := idToken.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if idToken.Subject != agent || idToken.Nonce != "the-nonce" || claims.Org != organization || claims.Agent.Name != "reader" ||
		claims.AuthTime < before || claims.ACR != "urn:agentidp:acr:bearer" || !cmp.Equal(claims.AMR, []string{"client_secret"}) {
		t.Errorf("ID token %+v %+v", idToken, claims)
	}
	_, access := i.verified(got.AccessToken)
	if access["sub"] != agent || access["client_id"] != p.oauth.ClientID || access["aud"] != i.url || access["scope"] != "openid profile agent offline_access" {
		t.Errorf("access token %v", access)
	}

	info, err := p.provider.UserInfo(p.withIssuer(), oauth2.StaticTokenSource(got))
	if err != nil {
		t.Fatal(err)
	}
	var about struct {
		Name  string
		Agent struct{ Type string }
	}
	if err := info.Claims(&about); err != nil || info.Subject != agent || about.Name != "reader" || about.Agent.Type != "assistant" {
		t.Errorf("user info %+v %+v %v", info, about, err)
	}

	refreshed, err := p.oauth.TokenSource(p.withIssuer(), &oauth2.Token{RefreshToken: got.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	if refreshed.RefreshToken == got.RefreshToken || refreshed.RefreshToken == "" || refreshed.AccessToken == got.AccessToken {
		t.Error("a refresh replaced nothing")
	}
	i.secret(refreshed.AccessToken)
	i.secret(refreshed.RefreshToken)
}
