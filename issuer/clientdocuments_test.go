package issuer_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// documentHost serves client documents and key sets by their path, as a stranger's web server would.
type documentHost struct {
	*httptest.Server
	t       *testing.T
	ca      config.Path
	fetches atomic.Int64

	mu        sync.Mutex
	documents map[string]any
	wait      chan struct{} // nil: answers at once
}

func newDocumentHost(t *testing.T) *documentHost {
	t.Helper()
	h := &documentHost{t: t, documents: map[string]any{}, ca: config.Path(filepath.Join(t.TempDir(), "host.pem"))}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		h.mu.Lock()
		document, known := h.documents[r.URL.Path]
		wait := h.wait
		h.mu.Unlock()
		if wait != nil {
			<-wait
		}
		if !known {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	if err := os.WriteFile(string(h.ca), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// config believes the host.
func (h *documentHost) config() *issuer.ClientDocuments {
	return &issuer.ClientDocuments{
		Hosts: []string{strings.TrimPrefix(h.URL, "https://")}, CA: h.ca, AllowPrivate: true, Scopes: []string{"invoices:read"}, Audiences: []string{"svc://payments"},
	}
}

// serve puts a good document of a client at a path, changed; nil takes a member away. It returns the client_id.
func (h *documentHost) serve(path string, change map[string]any) string {
	document := map[string]any{
		"client_id": h.URL + path, "client_name": "Notes", "redirect_uris": []string{"https://notes.example/cb"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
	}
	maps.Copy(document, change)
	h.put(path, document)
	return h.URL + path
}

// put serves a document at a path; nil serves none any more.
func (h *documentHost) put(path string, document any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.documents[path] = document; document == nil {
		delete(h.documents, path)
	}
}

// startDocuments runs an issuer that believes the documents of a host. Its clock goes ahead when the test says so: documents are remembered for a minute.
func startDocuments(t *testing.T, change ...func(*issuer.Config)) (*instance, *documentHost, *clock) {
	t.Helper()
	h, c := newDocumentHost(t), &clock{}
	i := startAt(t, c.now, append([]func(*issuer.Config){func(cfg *issuer.Config) {
		cfg.ClientDocuments = h.config()
	}}, change...)...)
	return i, h, c
}

// documentLife is longer than the issuer remembers a document that does not say how long it may be.
const documentLife = 61 * time.Second

// pass lets time go by, until the issuer has confirmed its own keys again.
func (i *instance) pass(c *clock, d time.Duration) {
	i.t.Helper()
	c.behind.Add(-int64(d))
	await(i.t, "keys that are confirmed", func() bool {
		return i.do(i.request("GET", "/.well-known/jwks.json", "", "")).Header.Get("Cache-Control") != "no-cache"
	})
}

// known is a relying party that nobody registered, at an issuer.
func (i *instance) known(clientID string) *party {
	i.t.Helper()
	provider, err := oidc.NewProvider(i.withIssuer(), i.url)
	if err != nil {
		i.t.Fatal(err)
	}
	return &party{i, provider, &oauth2.Config{
		ClientID: clientID, Endpoint: provider.Endpoint(), RedirectURL: "https://notes.example/cb", Scopes: []string{oidc.ScopeOpenID, "agent", oidc.ScopeOfflineAccess},
	}}
}

// events are the records of one action in an organization's log, newest first.
func (i *instance) events(organization, action string) []event {
	i.t.Helper()
	var log struct{ Records []event }
	i.must(i.admin("GET", "/audit?action="+action+"&organizationId="+organization, nil), 200).json(i.t, &log)
	return log.Records
}

type event struct {
	Actor   struct{ Kind, ID string }
	Details map[string]any
}

// The whole way to a relying party nobody registered, for agents of two organizations: what each gets, what the log of each says, and what ends it.
func TestSignInToADocument(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t)
	organizations := map[string]string{}
	id := h.serve("/notes", nil)
	p := i.known(id)
	for _, slug := range []string{"acme", "other"} {
		organizations[slug] = i.organization(slug)
		agent, _, token := i.signer(organizations[slug], "reader")
		verifier := oauth2.GenerateVerifier()
		code := p.code(token, "s", verifier, oidc.Nonce("n"))
		other := i.known(h.serve("/other", nil))
		i.oauthRefused("by another document", other.redeem(code, verifier), 400, "invalid_grant")
		got := i.must(p.redeem(code, verifier), 200)
		idToken, err := p.provider.VerifierContext(p.withIssuer(), &oidc.Config{ClientID: id}).Verify(p.withIssuer(), got.field("id_token"))
		if err != nil || idToken.Subject != agent || idToken.Nonce != "n" {
			t.Fatalf("%+v, %v", idToken, err)
		}
		_, claims := i.verified(got.field("access_token"))
		if claims["sub"] != agent || claims["client_id"] != id || claims["aud"] != i.url || claims["org_id"] != organizations[slug] || claims["scope"] != "openid agent offline_access" {
			t.Errorf("%v", claims)
		}
		i.must(i.info(got.field("access_token")), 200)

		created, issued := i.events(organizations[slug], "sign_in.create"), i.events(organizations[slug], "token.issue")
		if len(created) != 1 || created[0].Actor.ID != agent || created[0].Details["clientId"] != id {
			t.Errorf("%+v", created)
		}
		if issued[0].Actor.Kind != "client" || issued[0].Actor.ID != id || issued[0].Details["clientId"] != id || issued[0].Details["clientAuthentication"] != "none" {
			t.Errorf("%+v", issued[0])
		}

		next := i.must(p.refresh(got.field("refresh_token")), 200)
		i.oauthRefused("by another document", other.refresh(next.field("refresh_token")), 400, "invalid_grant")
		i.oauthRefused("a refresh token again", p.refresh(got.field("refresh_token")), 400, "invalid_grant")
		i.oauthRefused("after that", p.refresh(next.field("refresh_token")), 400, "invalid_grant")
		i.oauthRefused("its token", i.info(next.field("access_token")), 401, "invalid_token")
		if ended := i.events(organizations[slug], "sign_in.revoke"); len(ended) != 1 || ended[0].Actor.ID != id || ended[0].Details["reason"] != "refresh_token_reused" {
			t.Errorf("%+v", ended)
		}

		code = p.code(token, "s", verifier)
		got = i.must(p.redeem(code, verifier), 200)
		i.oauthRefused("a code again", p.redeem(code, verifier), 400, "invalid_grant")
		i.oauthRefused("its token", i.info(got.field("access_token")), 401, "invalid_token")

		got = p.signedIn(token)
		i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200)
		i.oauthRefused("of a suspended agent", p.refresh(got.field("refresh_token")), 400, "invalid_grant")
	}
	if n := h.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want one of each document", n)
	}
}

// What such a client may ask for: the scopes of OpenID Connect, and what the operator, the document and the agent all allow.
func TestWhatADocumentMayAskFor(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t)
	_, _, token := i.signer(i.organization("acme"), "reader")
	p := i.known(h.serve("/notes", nil))
	granted := func(scopes ...string) string {
		p.oauth.Scopes = scopes
		return p.signedIn(token).field("scope")
	}
	if got := granted("openid", "profile", "agent", "offline_access", "invoices:read", "invoices:write"); got != "openid profile agent offline_access invoices:read" {
		t.Errorf("granted %q", got)
	}
	p = i.known(h.serve("/less", map[string]any{"scope": "openid", "grant_types": []string{"authorization_code"}}))
	if got := granted("openid", "offline_access", "invoices:read"); got != "openid" {
		t.Errorf("granted %q", got)
	}
	if got := p.signedIn(token); got.field("refresh_token") != "" {
		t.Errorf("a refresh token it does not want: %s", got.body)
	}
	p.oauth.Scopes = []string{"openid"}
	if _, claims := i.verified(p.signedIn(token, oauth2.SetAuthURLParam("resource", "svc://payments")).field("access_token")); claims["aud"] != "svc://payments" {
		t.Errorf("%v", claims)
	}
	for name, tt := range map[string]struct{ parameter, value, code string }{
		"an audience that the operator does not list": {"resource", "svc://ledger", "invalid_target"},
		"no PKCE":                 {"code_challenge", "", "invalid_request"},
		"PKCE in the clear":       {"code_challenge_method", "plain", "invalid_request"},
		"a scope of nobody's":     {"scope", "invoices:write", "invalid_scope"},
		"nobody asked for a code": {"response_type", "token", "unsupported_response_type"},
	} {
		back, a := i.follow(p.link(tt.parameter, tt.value), token)
		if back == nil || back.Host != "notes.example" || back.Query().Get("error") != tt.code || back.Query().Get("iss") != i.url {
			t.Errorf("%s: %v %s", name, back, a.body)
		}
	}
	must := i.known(h.serve("/strict", map[string]any{"require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true}))
	if back, a := i.follow(must.link(), token); back.Query().Get("error") != "invalid_request" {
		t.Errorf("not pushed: %v %s", back, a.body)
	}
	verifier := oauth2.GenerateVerifier()
	back, _ := i.follow(must.pushed(i.must(must.pushedByName(verifier), 201).field("request_uri")), token)
	a := must.redeem(back.Query().Get("code"), verifier)
	if a.StatusCode != 400 || a.Header.Get("DPoP-Nonce") == "" {
		t.Errorf("without a proof: %s %s", a.Status, a.body)
	}
}

// pushedByName pushes as a client that proves nothing.
func (p *party) pushedByName(verifier string, change ...string) answer {
	p.t.Helper()
	r := p.pushing(verifier, append([]string{"client_id", p.oauth.ClientID}, change...)...)
	r.Header.Del("Authorization")
	return p.do(r)
}

// A client with keys proves itself by them wherever clients do, and by nothing else. Each assertion is used once, whatever organization its agents are of.
func TestDocumentByKey(t *testing.T) {
	t.Parallel()
	i, h, c := startDocuments(t)
	agent, secret, _ := i.signer(i.organization("acme"), "reader")
	first, second, stranger := newHolder(t, jose4.ES256), newHolder(t, jose4.EdDSA), newHolder(t, jose4.ES256)
	h.put("/keys", jwks(t, first))
	for path, member := range map[string]map[string]any{"/inline": {"jwks": jwks(t, first)}, "/by-url": {"jwks_uri": h.URL + "/keys"}} {
		token := i.token(agent, secret)
		id := h.serve(path, with2(member, "token_endpoint_auth_method", "private_key_jwt"))
		p := i.known(id)
		assert := func(key holder, changes ...any) []string {
			changes = append([]any{"iat", c.now().Unix(), "exp", c.now().Add(time.Minute).Unix()}, changes...)
			return []string{"client_assertion_type", jwtBearer, "client_assertion", key.assertion(t, id, i.url, changes...)}
		}
		ask := func(path string, proof []string, more ...string) answer {
			return i.over(nil, path, with(url.Values{}, append(more, proof...)...))
		}
		verifier := oauth2.GenerateVerifier()
		push := []string{
			"redirect_uri", p.oauth.RedirectURL, "response_type", "code", "scope", "openid offline_access", "state", "s",
			"code_challenge", oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method", "S256",
		}
		once := assert(first)
		back, a := i.follow(p.pushed(i.must(ask("/oauth2/par", once, push...), 201).field("request_uri")), token)
		if back == nil || back.Query().Get("code") == "" {
			t.Fatalf("%s: %s %s", path, a.Status, a.body)
		}
		redeem := []string{"grant_type", "authorization_code", "code", back.Query().Get("code"), "redirect_uri", p.oauth.RedirectURL, "code_verifier", verifier}
		for name, proof := range map[string][]string{
			"an assertion again":   once,
			"another key":          assert(stranger),
			"another client's":     {"client_assertion_type", jwtBearer, "client_assertion", first.assertion(t, h.URL+"/nobody", i.url, "iat", c.now().Unix(), "exp", c.now().Add(time.Minute).Unix())},
			"for somebody else":    assert(first, "aud", "https://other.example"),
			"an old one":           assert(first, "iat", c.now().Add(-2*time.Minute).Unix(), "exp", c.now().Add(-time.Minute).Unix()),
			"its name alone":       {"client_id", id},
			"a secret":             {"client_id", id, "client_secret", "aidp_guess"},
			"with no jti":          assert(first, "jti", nil),
			"an SVID of somewhere": {"client_id", id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "client_assertion", first.assertion(t, id, i.url)},
		} {
			i.oauthRefused(path+", "+name, ask("/oauth2/token", proof, redeem...), 401, "invalid_client")
		}
		certificate := certify(t, nil, func(*x509.Certificate) {})
		i.oauthRefused(path+", a certificate", i.over(certificate, "/oauth2/token", with(url.Values{}, append(redeem, "client_id", id)...)), 401, "invalid_client")
		got := i.must(ask("/oauth2/token", assert(first), redeem...), 200)

		i.must(ask("/oauth2/introspect", assert(first), "token", got.field("access_token")), 200)
		for _, of := range []string{"access_token", "refresh_token"} {
			if about := i.must(ask("/oauth2/introspect", assert(first), "token", got.field(of)), 200); about.field("client_id") != id {
				t.Errorf("%s of its own: %s", of, about.body)
			}
		}
		i.oauthRefused("asked by name alone", ask("/oauth2/introspect", []string{"client_id", id}, "token", got.field("access_token")), 401, "invalid_client")
		if about := i.must(ask("/oauth2/introspect", assert(first), "token", token), 200); string(about.body) != `{"active":false}` {
			t.Errorf("the agent's own token: %s", about.body)
		}

		// The keys of today are those that the document has today.
		changed := jwks(t, second)
		if h.put("/keys", changed); member["jwks"] != nil {
			h.serve(path, with2(map[string]any{"jwks": changed}, "token_endpoint_auth_method", "private_key_jwt"))
		}
		i.pass(c, 6*time.Minute) // key sets are remembered for five
		refresh := []string{"grant_type", "refresh_token", "refresh_token", got.field("refresh_token")}
		i.oauthRefused(path+", a key that was taken away", ask("/oauth2/token", assert(first), refresh...), 401, "invalid_client")
		got = i.must(ask("/oauth2/token", assert(second), refresh...), 200)
		i.must(ask("/oauth2/revoke", assert(second), "token", got.field("refresh_token")), 200)
		i.oauthRefused(path+", what was given back", ask("/oauth2/token", assert(second), "grant_type", "refresh_token", "refresh_token", got.field("refresh_token")), 400, "invalid_grant")
		h.put("/keys", jwks(t, first))
	}
}

// with2 is a document's members with one more.
func with2(members map[string]any, name string, value any) map[string]any {
	all := maps.Clone(members)
	all[name] = value
	return all
}

// A pushed request is the client's that pushed it, and is used by one sign-in, of an agent of whichever organization.
func TestPushedByADocument(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t, func(c *issuer.Config) { c.Tokens.DPoPNonce = "optional" })
	acme := i.organization("acme")
	_, _, token := i.signer(acme, "reader")
	_, _, foreign := i.signer(i.organization("other"), "reader")
	p, other, registered := i.known(h.serve("/notes", nil)), i.known(h.serve("/other", nil)), i.relyingParty(acme, nil)
	verifier := oauth2.GenerateVerifier()
	uri := i.must(p.pushedByName(verifier), 201).field("request_uri")
	for name, wrong := range map[string]*party{"another document's": other, "a registered client's": registered} {
		if back, a := i.follow(wrong.pushed(uri), token); back != nil || a.field("code") != "invalid_request_uri" {
			t.Errorf("as %s: %s %s", name, a.Status, a.body)
		}
	}
	if back, a := i.follow(p.pushed(i.must(registered.push(verifier), 201).field("request_uri")), token); back != nil || a.field("code") != "invalid_request_uri" {
		t.Errorf("a registered client's: %s %s", a.Status, a.body)
	}
	back, a := i.follow(p.pushed(uri), token)
	if back == nil || back.Query().Get("code") == "" {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	i.must(p.redeem(back.Query().Get("code"), verifier), 200)
	for _, again := range []string{token, foreign} {
		if back, a := i.follow(p.pushed(uri), again); back != nil || a.field("code") != "invalid_request_uri" {
			t.Errorf("again: %s %s", a.Status, a.body)
		}
	}
	i.oauthRefused("elsewhere", p.pushedByName(verifier, "redirect_uri", "https://evil.example/"), 400, "invalid_request")

	key := josetest.NewHolder()
	proof := key.Prove("POST", i.url+"/oauth2/par", "", time.Now(), "ath", nil)
	bound := func() answer {
		r := p.pushing(verifier, "client_id", p.oauth.ClientID)
		r.Header.Del("Authorization")
		r.Header.Set("DPoP", proof)
		return i.do(r)
	}
	var codes []string
	codeOf := func(token string, pushed answer) {
		back, a := i.follow(p.pushed(i.must(pushed, 201).field("request_uri")), token)
		if back == nil {
			t.Fatalf("%s %s", a.Status, a.body)
		}
		codes = append(codes, back.Query().Get("code"))
	}
	codeOf(token, bound())
	i.oauthRefused("with a proof again", bound(), 400, "invalid_dpop_proof")
	codeOf(foreign, p.pushedByName(verifier))
	// A proof is used once, also for tokens of agents of two organizations.
	proof = key.Prove("POST", i.url+"/oauth2/token", "", time.Now(), "ath", nil)
	redeem := func(code string) answer {
		form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.oauth.RedirectURL}, "code_verifier": {verifier}, "client_id": {p.oauth.ClientID}}
		r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
		r.Header.Set("DPoP", proof)
		a := i.do(r)
		i.secret(a.field("access_token"))
		i.secret(a.field("id_token"))
		return a
	}
	if a := i.must(redeem(codes[0]), 200); a.field("token_type") != "DPoP" {
		t.Errorf("%s", a.body)
	}
	i.oauthRefused("a proof for another organization", redeem(codes[1]), 400, "invalid_dpop_proof")
}

// A sign-in is to what the document said. When it says otherwise, or nothing, that is over.
func TestDocumentsChange(t *testing.T) {
	t.Parallel()
	i, h, c := startDocuments(t)
	organization := i.organization("acme")
	agent, secret, _ := i.signer(organization, "reader")
	for name, change := range map[string]map[string]any{
		"no refresh_token":   {"grant_types": []string{"authorization_code"}},
		"another redirect":   {"redirect_uris": []string{"https://notes.example/new"}},
		"moved to its front": {"redirect_uris": []string{"https://notes.example/cb2", "https://notes.example/cb/"}},
	} {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		p := i.known(h.serve(path, nil))
		got := p.signedIn(i.token(agent, secret))
		h.serve(path, change)
		got = i.must(p.refresh(got.field("refresh_token")), 200) // remembered
		i.pass(c, documentLife)
		i.oauthRefused(name, p.refresh(got.field("refresh_token")), 400, "invalid_grant")
		i.oauthRefused(name+": its token", i.info(got.field("access_token")), 401, "invalid_token")
		if ended := i.events(organization, "sign_in.revoke"); ended[0].Details["reason"] != "client_document_changed" || ended[0].Details["clientId"] != p.oauth.ClientID {
			t.Errorf("%s: %+v", name, ended)
		}
		h.serve(path, nil)
		i.pass(c, documentLife)
		i.oauthRefused(name+": changed back", p.refresh(got.field("refresh_token")), 400, "invalid_grant")
	}

	p := i.known(h.serve("/moving", nil))
	verifier, token := oauth2.GenerateVerifier(), i.token(agent, secret)
	p.code(token, "s", verifier)
	i.pass(c, documentLife-3*time.Second)
	code := p.code(token, "s", verifier)
	h.serve("/moving", map[string]any{"redirect_uris": []string{"https://notes.example/new"}})
	i.pass(c, 3*time.Second)
	i.oauthRefused("a code for where the client no longer is", p.redeem(code, verifier), 400, "invalid_grant")
	if ended := i.events(organization, "sign_in.revoke"); ended[0].Details["reason"] != "client_document_changed" {
		t.Errorf("%+v", ended)
	}

	gone := i.known(h.serve("/gone", nil))
	got := gone.signedIn(token)
	h.put("/gone", nil)
	i.pass(c, documentLife)
	i.oauthRefused("gone", gone.refresh(got.field("refresh_token")), 401, "invalid_client")
	if back, a := i.follow(gone.link(), token); back != nil || a.StatusCode != 400 || a.field("code") != "client_unknown" {
		t.Errorf("gone: %s %s", a.Status, a.body)
	}
	h.serve("/gone", nil)
	i.pass(c, documentLife)
	i.must(gone.refresh(got.field("refresh_token")), 200)
}

// Whatever is not a client here is one answer, and nothing of it is fetched or repeated.
func TestDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t)
	_, _, token := i.signer(i.organization("acme"), "reader")
	p := i.known(h.serve("/notes", nil))
	if back, a := i.follow(p.link("redirect_uri", "https://evil.example/canary"), token); back != nil || a.StatusCode != 400 || strings.Contains(string(a.body), "canary") {
		t.Errorf("a redirect that the document does not have: %s %s", a.Status, a.body)
	}
	fetches := h.fetches.Load()
	port := strings.TrimPrefix(h.URL, "https://127.0.0.1")
	for _, id := range []string{"https://localhost" + port + "/canary", "https://canary.example/a", h.URL + "/canary?a=b", h.URL + "/", "https:canary", "HTTPS://127.0.0.1" + port + "/canary"} {
		p.oauth.ClientID = id
		if back, a := i.follow(p.link(), token); back != nil || a.StatusCode != 400 || a.field("code") != "client_unknown" || strings.Contains(string(a.body), "canary") {
			t.Errorf("%s: %s %s", id, a.Status, a.body)
		}
		a := p.refresh("x")
		if i.oauthRefused(id, a, 401, "invalid_client"); strings.Contains(string(a.body), "canary") {
			t.Errorf("%s", a.body)
		}
		i.oauthRefused(id, p.pushedByName(oauth2.GenerateVerifier()), 401, "invalid_client")
	}
	if n := h.fetches.Load(); n != fetches {
		t.Errorf("%d fetches", n-fetches)
	}
	p.oauth.ClientID = h.URL + "/missing"
	for range 3 {
		i.oauthRefused("no document", p.refresh("x"), 401, "invalid_client")
	}
	if n := h.fetches.Load() - fetches; n != 1 {
		t.Errorf("%d fetches of what is not there", n)
	}

	none := start(t)
	_, _, token = none.signer(none.organization("acme"), "reader")
	p = none.known(h.serve("/notes", nil))
	if back, a := none.follow(p.link(), token); back != nil || a.field("code") != "client_unknown" {
		t.Errorf("where documents are not served: %s %s", a.Status, a.body)
	}
	none.oauthRefused("where documents are not served", p.refresh("x"), 401, "invalid_client")
	for where, served := range map[*instance]bool{i: true, none: false} {
		where.organization("meta")
		for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/o/meta/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/o/meta"} {
			var metadata map[string]any
			if where.must(where.do(where.request("GET", path, "", "")), 200).json(t, &metadata); (metadata["client_id_metadata_document_supported"] == true) != served {
				t.Errorf("%s: %v", path, metadata["client_id_metadata_document_supported"])
			}
		}
	}
}

// Strangers cannot make the issuer fetch without end: neither one of them by asking for what is not there, nor all of them at once.
func TestFetchingIsLimited(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t, func(c *issuer.Config) { c.Limits.FailuresOfSource = slow(5) })
	_, _, token := i.signer(i.organization("acme"), "reader")
	p := i.known(h.serve("/notes", nil))
	h.mu.Lock()
	h.wait = make(chan struct{})
	h.mu.Unlock()
	var all sync.WaitGroup
	statuses := make(chan int, 17)
	for n := range 17 {
		all.Go(func() {
			stranger := *p.oauth
			stranger.ClientID = h.serve("/slow-"+string(rune('a'+n)), nil)
			waiting := party{p.instance, p.provider, &stranger}
			a := i.do(i.request("GET", strings.TrimPrefix(waiting.link(), i.url), "", ""))
			if a.StatusCode == 503 && (a.Header.Get("Retry-After") == "" || strings.Contains(string(a.body), "slow")) {
				t.Errorf("%v %s", a.Header, a.body)
			}
			if statuses <- a.StatusCode; a.StatusCode == 503 {
				close(h.wait)
			}
		})
	}
	all.Wait()
	close(statuses)
	got := slices.Sorted(func(yield func(int) bool) {
		for s := range statuses {
			if !yield(s) {
				return
			}
		}
	})
	if busy := got[len(got)-1]; busy != 503 || got[len(got)-2] != 303 || h.fetches.Load() != 16 {
		t.Errorf("%v, %d fetches", got, h.fetches.Load())
	}

	h.mu.Lock()
	h.wait = nil
	h.mu.Unlock()
	before := h.fetches.Load()
	barred := 0
	for n := range 20 {
		p.oauth.ClientID = h.URL + "/missing-" + string(rune('a'+n))
		if _, a := i.follow(p.link(), token); a.StatusCode == 429 {
			barred++
		} else if a.field("code") != "client_unknown" {
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
	if n := h.fetches.Load() - before; n != 5 || barred != 15 {
		t.Errorf("%d fetches, %d barred", n, barred)
	}
}

// At an organization's issuer: its agents and no others, and codes and pushed requests of one issuer are nothing at another.
func TestDocumentsAtAnOrganization(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t)
	own := &instance{t: t, url: i.url + "/o/acme", client: i.client, db: i.db, cfg: i.cfg, now: i.now}
	agent, secret, token := i.signer(i.organization("acme"), "reader")
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"audiences": []string{own.url, i.url}}), 200)
	owned := own.must(own.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}, "resource": {own.url}}), 200).field("access_token")
	id := h.serve("/notes", nil)
	p, elsewhere := own.known(id), i.known(id)
	verifier := oauth2.GenerateVerifier()
	code := p.code(owned, "s", verifier)
	i.oauthRefused("its code at the instance's issuer", elsewhere.redeem(code, verifier), 400, "invalid_grant")
	got := own.must(p.redeem(code, verifier), 200)
	own.must(own.info(got.field("access_token")), 200)
	i.oauthRefused("its refresh token at the instance's issuer", elsewhere.refresh(got.field("refresh_token")), 400, "invalid_grant")
	own.must(p.refresh(got.field("refresh_token")), 200)
	if _, a := own.follow(p.link(), token); a.StatusCode != 401 {
		t.Errorf("by a token of the instance's issuer: %s %s", a.Status, a.body)
	}
	uri := own.must(p.pushedByName(verifier), 201).field("request_uri")
	if back, a := i.follow(elsewhere.pushed(uri), token); back != nil || a.field("code") != "invalid_request_uri" {
		t.Errorf("pushed at the organization's issuer: %s %s", a.Status, a.body)
	}
	if back, _ := own.follow(p.pushed(uri), owned); back == nil || back.Query().Get("code") == "" {
		t.Errorf("sent to %v", back)
	}
}

// A service that is called with a token of such a client calls on for the agent, and names the client among those who act. The client itself is told nothing of us elsewhere.
func TestTokensOfADocumentAreExchanged(t *testing.T) {
	t.Parallel()
	i, h, _ := startDocuments(t)
	d := i.delegation()
	i.must(i.admin("PATCH", "/agents/"+d.caller, map[string]any{"audiences": []string{i.url, "svc://payments", "svc://ledger"}}), 200)
	own := i.must(i.tokenRequest(d.caller, d.callerSecret, url.Values{"grant_type": {"client_credentials"}, "resource": {i.url}}), 200).field("access_token")
	p := i.known(h.serve("/notes", nil))
	i.must(i.admin("PATCH", "/agents/"+d.service, map[string]any{"audiences": []string{"svc://payments", "svc://ledger"}}), 200)
	called := p.signedIn(own, oauth2.SetAuthURLParam("resource", "svc://payments"))
	_, claims := i.verified(i.must(i.exchange(d, called.field("access_token"), "audience", "svc://payments"), 200).field("access_token"))
	act, _ := claims["act"].(map[string]any)
	before, _ := act["act"].(map[string]any)
	if act["sub"] != d.service || before["sub"] != p.oauth.ClientID {
		t.Errorf("%v", claims)
	}
	i.oauthRefused("beyond what the client was granted", i.exchange(d, called.field("access_token"), "audience", "svc://ledger"), 400, "invalid_target")

	key := newHolder(t, jose4.ES256)
	id := h.serve("/key", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(t, key)})
	i.oauthRefused("an assertion about the agent", i.over(nil, "/oauth2/token", url.Values{
		"grant_type": {exchangeGrant}, "requested_token_type": {"urn:ietf:params:oauth:token-type:id-jag"}, "audience": {"https://partner.example"}, "subject_token": {"x"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}, "client_assertion_type": {jwtBearer}, "client_assertion": {key.assertion(t, id, i.url)},
	}), 400, "unauthorized_client")
}
