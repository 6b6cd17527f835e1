package issuer_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/url"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/issuer"
)

// over posts a form over a connection with a client certificate, if there is one.
func (i *instance) over(s *signer, path string, form url.Values) answer {
	i.t.Helper()
	own := &instance{t: i.t, url: i.url, client: client(i.t, i.authority)}
	transport := own.client.Transport.(*http.Transport)
	defer transport.CloseIdleConnections()
	if s != nil {
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: s.chain, PrivateKey: s.key}, nil
		}
	}
	a := own.do(own.request("POST", path, "application/x-www-form-urlencoded", form.Encode()))
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		i.secret(a.field(name))
	}
	return a
}

// with is a form with further parameters.
func with(form url.Values, more ...string) url.Values {
	all := url.Values{}
	for name, values := range form {
		all[name] = values
	}
	for n := 0; n < len(more); n += 2 {
		all.Set(more[n], more[n+1])
	}
	return all
}

// credentialOf is one of a relying party's credentials as the API shows it.
type credentialOf struct {
	ID, ClientID, Kind    string
	ExpiresAt, LastUsedAt string
	Registration          map[string]any
}

func (p *party) credentials() []credentialOf {
	p.t.Helper()
	var list struct{ Credentials []credentialOf }
	p.must(p.admin("GET", "/clients/"+p.oauth.ClientID+"/credentials", nil), 200).json(p.t, &list)
	return list.Credentials
}

// asks introspects a token by the given secret, and says whether the client was let in.
func (p *party) asks(secret string) bool {
	p.t.Helper()
	r := p.request("POST", "/oauth2/introspect", "application/x-www-form-urlencoded", "token=x")
	r.SetBasicAuth(p.oauth.ClientID, secret)
	a := p.do(r)
	if a.StatusCode != 200 && (a.StatusCode != 401 || a.field("error") != "invalid_client") {
		p.t.Errorf("%s %s", a.Status, a.body)
	}
	return a.StatusCode == 200
}

// Several credentials at once, each with its end and its last use; rotation with an overlap; deletion.
func TestCredentialsOfRelyingParties(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	p := i.relyingParty(organization, nil)
	first := p.credentials()
	if len(first) != 1 || first[0].Kind != "client_secret" || first[0].ClientID != p.oauth.ClientID || first[0].LastUsedAt != "" || first[0].Registration != nil {
		t.Fatalf("%+v", first)
	}
	if !p.asks(p.oauth.ClientSecret) || p.credentials()[0].LastUsedAt == "" {
		t.Errorf("no last use in %+v", p.credentials())
	}
	path := "/clients/" + p.oauth.ClientID + "/credentials"
	var second struct {
		Credential   credentialOf
		ClientSecret string
	}
	i.must(i.admin("POST", path+"/"+first[0].ID+"/rotate", map[string]any{"overlapSeconds": 600}), 201).json(t, &second)
	if !p.asks(p.oauth.ClientSecret) || !p.asks(i.secret(second.ClientSecret)) || p.credentials()[0].ExpiresAt == "" {
		t.Error("both work until the overlap is over")
	}
	for name, tt := range map[string]struct {
		a      answer
		status int
		code   string
	}{
		"a third":              {i.admin("POST", path, nil), 409, "too_many_credentials"},
		"a lifetime too short": {i.admin("POST", path, map[string]any{"lifetimeSeconds": 1}), 400, "out_of_range"},
		"a registration":       {i.admin("POST", path, map[string]any{"registration": map[string]any{"sanDns": "a.example"}}), 400, "registration_unexpected"},
		"a kind":               {i.admin("POST", path, map[string]any{"kind": "client_secret"}), 400, "unknown_field"},
		"an overlap too long":  {i.admin("POST", path+"/"+second.Credential.ID+"/rotate", map[string]any{"overlapSeconds": 9_000_000}), 400, "out_of_range"},
		"nobody's":             {i.admin("DELETE", path+"/crd_0199f6c4aabb7ccd9eef001122334455", nil), 404, "credential_not_found"},
		"of nobody":            {i.admin("GET", "/clients/cli_0199f6c4aabb7ccd9eef001122334455/credentials", nil), 404, "client_not_found"},
		"another method":       {i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"authentication": "private_key_jwt"}), 409, "credentials_of_other_kind"},
		"none":                 {i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"authentication": "none"}), 400, "authentication_fixed"},
		"no such method":       {i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"authentication": "x"}), 400, "authentication_unknown"},
	} {
		if tt.a.StatusCode != tt.status || tt.a.field("code") != tt.code {
			t.Errorf("%s: %s %s", name, tt.a.Status, tt.a.body)
		}
	}
	i.must(i.admin("DELETE", path+"/"+first[0].ID, nil), 204)
	if p.asks(p.oauth.ClientSecret) || !p.asks(second.ClientSecret) {
		t.Error("a deleted secret works, or another does not")
	}
	i.must(i.admin("DELETE", path+"/"+second.Credential.ID, nil), 204)
	h := newHolder(t, jose4.ES256)
	i.must(i.admin("PATCH", "/clients/"+p.oauth.ClientID, map[string]any{"authentication": "private_key_jwt"}), 200)
	i.must(i.admin("POST", path, map[string]any{"registration": map[string]any{"jwks": jwks(t, h)}}), 201)
	if got := p.credentials(); len(got) != 1 || got[0].Kind != "private_key_jwt" || got[0].Registration["jwks"] == nil {
		t.Errorf("%+v", got)
	}
	public := i.relyingParty(organization, map[string]any{"name": "public", "authentication": "none"})
	if got := public.credentials(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if a := i.admin("POST", "/clients/"+public.oauth.ClientID+"/credentials", nil); a.StatusCode != 409 || a.field("code") != "client_has_no_credentials" {
		t.Errorf("%s %s", a.Status, a.body)
	}
	base := map[string]any{"organizationId": organization, "name": "bad", "redirectUris": []string{callback}}
	for name, tt := range map[string]struct {
		change map[string]any
		code   string
	}{
		"no registration":       {map[string]any{"authentication": "private_key_jwt"}, "registration_missing"},
		"none, registered":      {map[string]any{"authentication": "none", "registration": map[string]any{}}, "registration_unexpected"},
		"of another kind":       {map[string]any{"authentication": "self_signed_tls_client_auth", "registration": map[string]any{"sanDns": "a.example"}}, "other_kind"},
		"no authority here":     {map[string]any{"authentication": "tls_client_auth", "registration": map[string]any{"sanDns": "a.example"}}, "kind_not_served"},
		"a method nobody knows": {map[string]any{"authentication": "client_secret_jwt"}, "authentication_unknown"},
	} {
		body := map[string]any{}
		for _, m := range []map[string]any{base, tt.change} {
			for k, v := range m {
				body[k] = v
			}
		}
		if a := i.admin("POST", "/clients", body); a.StatusCode != 400 || a.field("code") != tt.code {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
}

// One assertion, one use, at whichever endpoint; and only by the method that the client is registered for.
func TestRelyingPartyByPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	h := newHolder(t, jose4.EdDSA)
	p := i.relyingParty(organization, map[string]any{"authentication": "private_key_jwt", "registration": map[string]any{"jwks": jwks(t, h)}})
	id := p.oauth.ClientID
	proof := func(assertion string) url.Values {
		return url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {assertion}, "token": {"x"}}
	}
	once := h.assertion(t, id, i.url)
	i.must(i.over(nil, "/oauth2/introspect", proof(once)), 200)
	wantRefused(t, "again, elsewhere", i.over(nil, "/oauth2/token", with(proof(once), "grant_type", "refresh_token", "refresh_token", "x")), 401, "invalid_client")
	i.must(i.over(nil, "/oauth2/revoke", proof(h.assertion(t, id, i.url))), 200)
	pushed := i.over(nil, "/oauth2/par", with(proof(h.assertion(t, id, i.url)), "redirect_uri", callback, "response_type", "code", "scope", "openid",
		"code_challenge", oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier()), "code_challenge_method", "S256"))
	i.must(pushed, 201)
	wantRefused(t, "a code of nobody, by a good client", i.over(nil, "/oauth2/token", with(proof(h.assertion(t, id, i.url)), "grant_type", "authorization_code", "code", "x")), 400, "invalid_grant")

	var first answer
	unknown := "cli_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"
	for name, form := range map[string]url.Values{
		"another's key":             proof(newHolder(t, jose4.EdDSA).assertion(t, id, i.url)),
		"an unknown client":         proof(h.assertion(t, unknown, i.url)),
		"the endpoint as audience":  proof(h.assertion(t, id, i.url+"/oauth2/token")),
		"a secret":                  with(proof(""), "client_assertion_type", "", "client_id", id, "client_secret", "aidp_wrong"),
		"a secret, unknown client":  with(proof(""), "client_assertion_type", "", "client_id", unknown, "client_secret", "aidp_wrong"),
		"an agent's SVID":           with(proof(h.assertion(t, id, i.url)), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "client_id", id),
		"expired":                   proof(h.assertion(t, id, i.url, "exp", 1)),
		"without jti":               proof(h.assertion(t, id, i.url, "jti", nil)),
		"iss of another client":     proof(h.assertion(t, id, i.url, "iss", unknown)),
		"an assertion for a secret": proof(h.assertion(t, i.relyingParty(organization, map[string]any{"name": "secretive"}).oauth.ClientID, i.url)),
		"an assertion for none":     proof(h.assertion(t, i.relyingParty(organization, map[string]any{"name": "open", "authentication": "none"}).oauth.ClientID, i.url)),
	} {
		a := i.over(nil, "/oauth2/introspect", form)
		wantRefused(t, name, a, 401, "invalid_client")
		if first.Response == nil {
			first = a
		}
		if string(a.body) != string(first.body) {
			t.Errorf("%s: %s, want %s", name, a.body, first.body)
		}
	}
	wantRefused(t, "nothing", i.over(nil, "/oauth2/introspect", url.Values{"client_id": {id}, "token": {"x"}}), 401, "invalid_client")
	wantRefused(t, "two methods", i.over(nil, "/oauth2/introspect", with(proof(h.assertion(t, id, i.url)), "client_secret", "x")), 400, "invalid_request")
}

// RFC 8705 s2 and s3 of relying parties; s4: what a client without a credential is given is bound to its certificate, refresh tokens too.
func TestRelyingPartyByCertificate(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	own := certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "party"} })
	renewed := certifyKey(t, nil, own.key, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "party"} })
	other := certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "party"} })
	byKey := i.relyingParty(organization, map[string]any{
		"name": "by-key", "authentication": "self_signed_tls_client_auth", "requireCertificate": true,
		"registration": map[string]any{"jwks": jwks(t, holder{jose4.ES256, own.key, "tls"})},
	})
	public := i.relyingParty(organization, map[string]any{"name": "public", "authentication": "none", "requireCertificate": true})
	bound := func(p *party, form url.Values, s *signer) answer {
		t.Helper()
		a := i.must(i.over(s, "/oauth2/token", with(form, "client_id", p.oauth.ClientID)), 200)
		_, claims := i.verified(a.field("access_token"))
		if cnf, _ := claims["cnf"].(map[string]any); cnf["x5t#S256"] != s.thumbprint() {
			t.Errorf("%s: bound to %v", p.oauth.ClientID, claims["cnf"])
		}
		return a
	}
	code := func(p *party) url.Values {
		verifier := oauth2.GenerateVerifier()
		return url.Values{"grant_type": {"authorization_code"}, "code": {p.code(token, "s", verifier)}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	}
	refresh := func(a answer) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.field("refresh_token")}}
	}
	redeem := code(byKey)
	for name, s := range map[string]*signer{"another certificate": other, "no certificate": nil} {
		wantRefused(t, name, i.over(s, "/oauth2/token", with(redeem, "client_id", byKey.oauth.ClientID)), 401, "invalid_client")
	}
	// A client that proves itself anew each time may renew its certificate.
	bound(byKey, refresh(bound(byKey, refresh(bound(byKey, redeem, own)), renewed)), own)

	first := code(public)
	wantRefused(t, "public without a certificate", i.over(nil, "/oauth2/token", with(first, "client_id", public.oauth.ClientID)), 400, "invalid_request")
	next := refresh(bound(public, first, own))
	for name, s := range map[string]*signer{"another's certificate": other, "the same key in another": renewed} {
		wantRefused(t, name, i.over(s, "/oauth2/token", with(next, "client_id", public.oauth.ClientID)), 400, "invalid_grant")
	}
	third := refresh(bound(public, next, own))
	i.must(i.admin("PATCH", "/clients/"+public.oauth.ClientID, map[string]any{"requireCertificate": false}), 200)
	wantRefused(t, "still bound", i.over(nil, "/oauth2/token", with(third, "client_id", public.oauth.ClientID)), 400, "invalid_grant")
}

// RFC 6749 s5.2: who is authenticated and asks for the wrong grant is unauthorized_client, and has not guessed at anything.
func TestGrantsOfTheOtherKindOfClient(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Limits.FailuresOfClient = issuer.RateLimit{PerMinute: 1, Burst: 1} })
	organization := i.organization("acme")
	agent := i.agent(organization, "agent")
	_, secret := i.credential(agent)
	p := i.relyingParty(organization, nil)
	public := i.relyingParty(organization, map[string]any{"name": "public", "authentication": "none"})
	const exchange, bearer = "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for range 3 { // more often than one may fail
		for _, grant := range []string{"authorization_code", "refresh_token"} {
			wantRefused(t, "an agent by "+grant, i.tokenRequest(agent, secret, url.Values{"grant_type": {grant}, "code": {"x"}}), 400, "unauthorized_client")
		}
		for _, grant := range []string{"client_credentials", exchange, bearer} {
			wantRefused(t, "a relying party by "+grant, i.tokenRequest(p.oauth.ClientID, p.oauth.ClientSecret, url.Values{"grant_type": {grant}}), 400, "unauthorized_client")
			wantRefused(t, "a public one by "+grant, i.over(nil, "/oauth2/token", url.Values{"grant_type": {grant}, "client_id": {public.oauth.ClientID}}), 400, "unauthorized_client")
		}
		for id, secret := range map[string]string{agent: secret, p.oauth.ClientID: p.oauth.ClientSecret} {
			wantRefused(t, "an unknown grant", i.tokenRequest(id, secret, url.Values{"grant_type": {"password"}}), 400, "unsupported_grant_type")
		}
	}
	for range 3 {
		wantRefused(t, "an agent that pushes a request", i.over(nil, "/oauth2/par", url.Values{"client_id": {agent}, "client_secret": {secret}}), 400, "unauthorized_client")
	}
	i.must(i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}}), 200)
	if !p.asks(p.oauth.ClientSecret) {
		t.Error("the relying party was taken for one that guesses")
	}
	// A guess is one whatever it asks for.
	wantRefused(t, "a wrong secret", i.tokenRequest(p.oauth.ClientID, "aidp_wrong", url.Values{"grant_type": {"client_credentials"}}), 401, "invalid_client")
	wantRefused(t, "a wrong secret", i.tokenRequest(agent, "aidp_wrong", url.Values{"grant_type": {"refresh_token"}}), 401, "invalid_client")
}

// A workload that is a relying party proves itself by its SVIDs, as an agent does.
func TestRelyingPartyBySPIFFE(t *testing.T) {
	t.Parallel()
	d := newDomain(t)
	i := start(t, func(c *issuer.Config) {
		c.SPIFFE = []issuer.TrustDomain{{TrustDomain: "example.org", Bundle: issuer.SPIFFEBundle{File: d.file}}}
	})
	organization := i.organization("acme")
	const id = "spiffe://example.org/ns/acme/dashboard"
	party := func(by string) url.Values {
		p := i.relyingParty(organization, map[string]any{"name": by, "authentication": by, "registration": map[string]any{"spiffeId": id}})
		return url.Values{"client_id": {p.oauth.ClientID}, "token": {"x"}}
	}
	byX509, byJWT := party("spiffe_x509"), party("spiffe_jwt")
	i.must(i.over(d.svid(t, id), "/oauth2/introspect", byX509), 200)
	wantRefused(t, "another workload", i.over(d.svid(t, id+"2"), "/oauth2/introspect", byX509), 401, "invalid_client")
	wantRefused(t, "by the method of another", i.over(d.svid(t, id), "/oauth2/introspect", byJWT), 401, "invalid_client")
	svid := d.jwt.sign(t, map[string]any{"sub": id, "aud": i.url, "exp": time.Now().Add(time.Minute).Unix()}, map[jose4.HeaderKey]any{"kid": d.jwt.kid})
	proof := []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "client_assertion", svid}
	for range 2 { // until it expires
		i.must(i.over(nil, "/oauth2/introspect", with(byJWT, proof...)), 200)
	}
	wantRefused(t, "a JWT-SVID by the method of another", i.over(nil, "/oauth2/introspect", with(byX509, proof...)), 401, "invalid_client")
}
