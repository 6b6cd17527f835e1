package issuer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// holder is a client with a key pair; a library that is not ours makes its JWK and its assertions.
type holder struct {
	alg     jose4.SignatureAlgorithm
	private crypto.Signer
	kid     string
}

func newHolder(t *testing.T, alg jose4.SignatureAlgorithm) holder {
	t.Helper()
	h := holder{alg: alg, kid: "key-" + rand.Text()[:8]}
	var err error
	switch alg {
	case jose4.ES256:
		h.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose4.EdDSA:
		_, h.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		h.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// jwks is the public key set of some holders.
func jwks(t *testing.T, holders ...holder) map[string]any {
	t.Helper()
	var set jose4.JSONWebKeySet
	for _, h := range holders {
		set.Keys = append(set.Keys, jose4.JSONWebKey{Key: h.private.Public(), KeyID: h.kid, Algorithm: string(h.alg), Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// sign makes a JWT of claims; header changes it, nil values take a claim out.
func (h holder) sign(t *testing.T, claims map[string]any, header map[jose4.HeaderKey]any) string {
	t.Helper()
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	signer, err := jose4.NewSigner(jose4.SigningKey{Algorithm: h.alg, Key: h.private}, &jose4.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// assertion is a good client assertion, with changes: name, value, …
func (h holder) assertion(t *testing.T, client, audience string, changes ...any) string {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": client, "sub": client, "aud": audience, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for n := 0; n < len(changes); n += 2 {
		claims[changes[n].(string)] = changes[n+1]
	}
	return h.sign(t, claims, map[jose4.HeaderKey]any{"kid": h.kid})
}

// register gives an agent a credential and returns its id.
func (i *instance) register(agent, kind string, registration map[string]any) string {
	i.t.Helper()
	var created struct{ Credential struct{ ID string } }
	i.must(i.admin("POST", "/agents/"+agent+"/credentials", map[string]any{"kind": kind, "registration": registration}), 201).json(i.t, &created)
	return created.Credential.ID
}

// assert asks for a token with a client assertion. more are further parameters: name, value, …
func (i *instance) assert(assertion string, more ...string) answer {
	i.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {jwtBearer}, "client_assertion": {assertion}}
	for n := 0; n < len(more); n += 2 {
		form.Set(more[n], more[n+1])
	}
	return i.tokenRequest("", "", form)
}

// wantRefused compares an answer with what RFC 6749 s5.2 says.
func wantRefused(t *testing.T, name string, a answer, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.field("error") != code || a.field("access_token") != "" {
		t.Errorf("%s: %s %s, want %d %s", name, a.Status, a.body, status, code)
	}
}

func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	for _, alg := range []jose4.SignatureAlgorithm{jose4.ES256, jose4.EdDSA, jose4.PS256, jose4.RS256} {
		h, agent := newHolder(t, alg), i.agent(organization, string("agent-"+alg))
		credential := i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, h), "algorithms": []string{string(alg)}})
		for name, a := range map[string]answer{
			"":               i.assert(h.assertion(t, agent, i.url)),
			"with client_id": i.assert(h.assertion(t, agent, i.url), "client_id", agent),
			"with typ":       i.assert(h.sign(t, map[string]any{"iss": agent, "sub": agent, "aud": i.url, "jti": rand.Text(), "exp": time.Now().Add(time.Minute).Unix()}, map[jose4.HeaderKey]any{"typ": "client-authentication+jwt"})),
		} {
			i.must(a, 200)
			_, claims := i.verified(a.field("access_token"))
			if claims["sub"] != agent || claims["credential_id"] != credential {
				t.Errorf("%s %s: %v", alg, name, claims)
			}
		}
		// What the log of the organization says of it.
		if a := i.admin("GET", "/audit?action=token.issue&organizationId="+organization, nil); !strings.Contains(string(a.body), `"clientAuthentication":"private_key_jwt"`) {
			t.Errorf("%s", a.body)
		}
	}
}

// An OAuth library that is not ours sends the assertion, and uses the token.
func TestPrivateKeyJWTByAnIndependentClient(t *testing.T) {
	t.Parallel()
	i := start(t)
	h, agent := newHolder(t, jose4.ES256), i.agent(i.organization("acme"), "a")
	i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, h)})
	cfg := clientcredentials.Config{
		ClientID: agent, TokenURL: i.url + "/oauth2/token", AuthStyle: oauth2.AuthStyleInParams, Scopes: []string{"invoices:read"},
		EndpointParams: url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {h.assertion(t, agent, i.url)}},
	}
	token, err := cfg.Token(context.WithValue(t.Context(), oauth2.HTTPClient, i.client))
	if err != nil || token.Extra("scope") != "invoices:read" {
		t.Fatal(token, err)
	}
	i.secret(token.AccessToken)
}

// The negative modules of the FAPI 2.0 client credentials plan that are about client assertions, and what else could be tried.
func TestClientAssertionIsRefused(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	h, other, agent, stranger := newHolder(t, jose4.ES256), newHolder(t, jose4.ES256), i.agent(organization, "a"), i.agent(organization, "b")
	rs := newHolder(t, jose4.PS256)
	i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, h, rs)})
	i.register(stranger, "private_key_jwt", map[string]any{"jwks": jwks(t, other)})
	_, secret := i.credential(agent)
	now := time.Now()
	good := func(changes ...any) string { return h.assertion(t, agent, i.url, changes...) }
	rs256 := holder{jose4.RS256, rs.private, rs.kid}
	for name, assertion := range map[string]string{
		"RS256 client assertion":                    rs256.assertion(t, agent, i.url),
		"client assertion expired 5 min":            good("exp", now.Add(-5*time.Minute).Unix(), "iat", now.Add(-6*time.Minute).Unix()),
		"client assertion wrong aud":                good("aud", "https://other.example.com"),
		"the token endpoint as audience":            good("aud", i.url+"/oauth2/token"),
		"two audiences":                             good("aud", []string{i.url, "https://other.example.com"}),
		"no audience":                               good("aud", nil),
		"client assertion no sub":                   good("sub", nil),
		"no iss":                                    good("iss", nil),
		"iss of another client":                     good("iss", stranger),
		"no exp":                                    good("exp", nil),
		"exp an hour ahead":                         good("exp", now.Add(time.Hour).Unix()),
		"no jti":                                    good("jti", nil),
		"not valid yet":                             good("nbf", now.Add(2*time.Minute).Unix(), "exp", now.Add(4*time.Minute).Unix()),
		"signed by another client":                  other.assertion(t, agent, i.url),
		"signed by another key of the same kid":     holder{jose4.ES256, other.private, h.kid}.assertion(t, agent, i.url),
		"of a client that does not exist":           h.assertion(t, "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", i.url),
		"of something that is no client":            h.assertion(t, "somebody", i.url),
		"a client with keys, by a client of none's": h.assertion(t, stranger, i.url),
		"not a JWT":                                 "x",
		"unsigned":                                  "eyJhbGciOiJub25lIn0.e30.",
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, name, i.assert(assertion), 401, "invalid_client") })
	}
	first, second := i.assert(other.assertion(t, agent, i.url)), i.assert(h.assertion(t, "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", i.url))
	if string(first.body) != string(second.body) || first.Header.Get("WWW-Authenticate") != second.Header.Get("WWW-Authenticate") {
		t.Errorf("a wrong signature %s and an unknown client %s are told apart", first.body, second.body)
	}
	t.Run("client_id at token endpoint", func(t *testing.T) {
		wantRefused(t, "of another", i.assert(good(), "client_id", stranger), 400, "invalid_request")
	})
	t.Run("client assertion required", func(t *testing.T) {
		wantRefused(t, "client_id alone", i.assert("", "client_assertion_type", "", "client_id", agent), 401, "invalid_client")
	})
	wantRefused(t, "a secret beside it", i.assert(good(), "client_id", agent, "client_secret", secret), 400, "invalid_request")
	wantRefused(t, "an unknown type", i.assert(good(), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), 401, "invalid_client")
	wantRefused(t, "no type", i.assert(good(), "client_assertion_type", ""), 400, "invalid_request")
	wantRefused(t, "no assertion", i.assert(""), 400, "invalid_request")
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {jwtBearer}, "client_assertion": {good()}}
	wantRefused(t, "Basic beside it", i.tokenRequest(agent, secret, form), 400, "invalid_request")
	i.must(i.assert(good()), 200)
}

// One assertion, sent many times at once to two processes of the issuer, is good for one token.
func TestClientAssertionIsUsedOnce(t *testing.T) {
	t.Parallel()
	i := start(t)
	j := i.beside()
	h, agent := newHolder(t, jose4.ES256), i.agent(i.organization("acme"), "a")
	i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, h)})
	assertion := h.assertion(t, agent, i.url)
	var issued, refused, busy atomic.Int32
	var group sync.WaitGroup
	const senders = 16
	for n := range senders {
		process := []*instance{i, j}[n%2]
		group.Go(func() {
			a := process.assert(assertion)
			for ; a.StatusCode == http.StatusServiceUnavailable; a = process.assert(assertion) { // a busy machine; asked again, it is still one assertion
				busy.Add(1)
			}
			switch {
			case a.StatusCode == http.StatusOK:
				issued.Add(1)
			case a.StatusCode == http.StatusUnauthorized && a.field("error") == "invalid_client":
				refused.Add(1)
			default:
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
	group.Wait()
	// The one that used it up may be the one that found the database busy afterwards; then nobody gets a token.
	if n := issued.Load(); n > 1 || n == 0 && busy.Load() == 0 || n+refused.Load() != senders {
		t.Errorf("%d tokens, %d refusals, %d times busy", n, refused.Load(), busy.Load())
	}
	// Also one that got no token is used up: whoever saw it fail must not be able to send it again.
	assertion = h.assertion(t, agent, i.url)
	wantRefused(t, "unknown scope", i.assert(assertion, "scope", "nothing"), 400, "invalid_scope")
	wantRefused(t, "again, without it", i.assert(assertion), 401, "invalid_client")
	// A jti belongs to its client.
	other, jti := newHolder(t, jose4.ES256), rand.Text()
	second := i.agent(i.organization("other"), "b")
	i.register(second, "private_key_jwt", map[string]any{"jwks": jwks(t, other)})
	i.must(i.assert(h.assertion(t, agent, i.url, "jti", jti)), 200)
	i.must(i.assert(other.assertion(t, second, i.url, "jti", jti)), 200)
}

// The successor's key works at once, and the old one as long as the overlap says.
func TestKeyRotationOverlaps(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent, old, next, third := i.agent(i.organization("acme"), "a"), newHolder(t, jose4.ES256), newHolder(t, jose4.EdDSA), newHolder(t, jose4.ES256)
	credential := i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, old)})
	rotate := "/agents/" + agent + "/credentials/" + credential + "/rotate"
	i.must(i.admin("POST", rotate, map[string]any{"overlapSeconds": 3600}), 400) // with which key?
	a := i.must(i.admin("POST", rotate, map[string]any{"overlapSeconds": 3600, "registration": map[string]any{"jwks": jwks(t, next)}}), 201)
	if a.field("clientSecret") != "" || !strings.Contains(string(a.body), next.kid) {
		t.Errorf("%s", a.body)
	}
	i.must(i.assert(old.assertion(t, agent, i.url)), 200)
	i.must(i.assert(next.assertion(t, agent, i.url)), 200)
	i.must(i.admin("POST", rotate, map[string]any{"registration": map[string]any{"jwks": jwks(t, third)}}), 409) // a third
	i.must(i.admin("DELETE", "/agents/"+agent+"/credentials/"+credential, nil), 204)
	wantRefused(t, "the deleted key", i.assert(old.assertion(t, agent, i.url)), 401, "invalid_client")
	i.must(i.assert(next.assertion(t, agent, i.url)), 200)
}

// keyServer is a client's own: its key set can be replaced, its answers counted.
type keyServer struct {
	*httptest.Server
	set   atomic.Pointer[[]byte]
	asked atomic.Int32
	down  atomic.Bool
}

func (s *keyServer) publish(t *testing.T, holders ...holder) {
	t.Helper()
	text, err := json.Marshal(jwks(t, holders...))
	if err != nil {
		t.Fatal(err)
	}
	s.set.Store(&text)
}

func newKeyServer(t *testing.T) (*keyServer, string) {
	t.Helper()
	certificates := testkit.Certificates(t)
	s := &keyServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		if s.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(*s.set.Load())
	}))
	s.TLS = serverTLS(t, certificates.CertificateFile(), certificates.KeyFile())
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, certificates.AuthorityFile()
}

func TestKeysAtAURL(t *testing.T) {
	t.Parallel()
	server, authority := newKeyServer(t)
	i := start(t, func(c *issuer.Config) {
		c.ClientKeys = issuer.ClientKeys{CA: config.Path(authority), AllowPrivate: true}
	})
	h, agent := newHolder(t, jose4.ES256), i.agent(i.organization("acme"), "a")
	old := newHolder(t, jose4.RS256)
	server.publish(t, h, old)
	where := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/jwks.json"
	i.register(agent, "private_key_jwt", map[string]any{"jwksUri": where})
	for range 5 {
		i.must(i.assert(h.assertion(t, agent, i.url)), 200)
	}
	// What is published is not thereby accepted: RS256 was not named when the URL was registered.
	wantRefused(t, "RS256", i.assert(old.assertion(t, agent, i.url)), 401, "invalid_client")
	named := i.agent(i.organization("named"), "b")
	i.register(named, "private_key_jwt", map[string]any{"jwksUri": where, "algorithms": []string{"RS256"}})
	i.must(i.assert(old.assertion(t, named, i.url)), 200)
	wantRefused(t, "ES256", i.assert(h.assertion(t, named, i.url)), 401, "invalid_client")
	// Kids that nobody has do not make us ask again and again.
	for range 10 {
		stranger := newHolder(t, jose4.ES256)
		wantRefused(t, "unknown key", i.assert(stranger.sign(t, map[string]any{"sub": agent}, map[jose4.HeaderKey]any{"kid": "nobody"})), 401, "invalid_client")
	}
	if n := server.asked.Load(); n < 1 || n > 3 { // once, but for a machine so slow that the first answer is 30 s old
		t.Errorf("asked %d times, want once", n)
	}
	server.down.Store(true)
	i.must(i.assert(h.assertion(t, agent, i.url)), 200) // what is known is good while the server is away
}

// Without the operator's word the issuer asks no private address, whatever a registration says: the proof cannot be judged, so nobody gets in.
func TestKeysAtAPrivateAddressAreNotFetched(t *testing.T) {
	t.Parallel()
	server, authority := newKeyServer(t)
	i := start(t, func(c *issuer.Config) { c.ClientKeys.CA = config.Path(authority) })
	h, agent := newHolder(t, jose4.ES256), i.agent(i.organization("acme"), "a")
	server.publish(t, h)
	i.register(agent, "private_key_jwt", map[string]any{"jwksUri": strings.Replace(server.URL, "127.0.0.1", "localhost", 1)})
	wantRefused(t, "keys out of reach", i.assert(h.assertion(t, agent, i.url)), 503, "temporarily_unavailable")
	if server.asked.Load() != 0 {
		t.Error("the private address was asked")
	}
}

func TestRegistrationsAreChecked(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	h, rs := newHolder(t, jose4.ES256), newHolder(t, jose4.RS256)
	private, err := json.Marshal(jose4.JSONWebKey{Key: h.private, KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ body, field, code string }{
		"no registration":       {`{"kind":"private_key_jwt"}`, "/registration", "registration_missing"},
		"empty":                 {`{"kind":"private_key_jwt","registration":{}}`, "/registration", "registration_members"},
		"of another kind":       {`{"kind":"private_key_jwt","registration":{"spiffeId":"spiffe://example.org/a"}}`, "/registration/spiffeId", "other_kind"},
		"with a secret":         {`{"registration":{"spiffeId":"spiffe://example.org/a"}}`, "/registration", "registration_unexpected"},
		"unknown kind":          {`{"kind":"password","registration":{}}`, "/kind", "kind_unknown"},
		"private key":           {`{"kind":"private_key_jwt","registration":{"jwks":{"keys":[` + string(private) + `]}}}`, "/registration/jwks/keys/0/d", "unknown_field"},
		"no keys":               {`{"kind":"private_key_jwt","registration":{"jwks":{"keys":[]}}}`, "/registration/jwks/keys", "keys_count"},
		"broken key":            {`{"kind":"private_key_jwt","registration":{"jwks":{"keys":[{"kty":"EC","kid":"k","crv":"P-256","x":"AA","y":"AA"}]}}}`, "/registration/jwks/keys/0", "key_refused"},
		"jwks and jwksUri":      {`{"kind":"private_key_jwt","registration":{"jwks":{"keys":[]},"jwksUri":"https://a.example"}}`, "/registration", "registration_members"},
		"jwksUri by http":       {`{"kind":"private_key_jwt","registration":{"jwksUri":"http://a.example"}}`, "/registration/jwksUri", "jwks_uri_format"},
		"no CA for clients":     {`{"kind":"tls_client_auth","registration":{"sanDns":"a.example"}}`, "/kind", "kind_not_served"},
		"thumbprint":            {`{"kind":"self_signed_tls_client_auth","registration":{"certificateThumbprint":"abc"}}`, "/registration/certificateThumbprint", "thumbprint_format"},
		"no such domain":        {`{"kind":"spiffe_jwt","registration":{"spiffeId":"spiffe://example.org/a"}}`, "/registration/spiffeId", "trust_domain_unknown"},
		"no SPIFFE ID":          {`{"kind":"spiffe_x509","registration":{"spiffeId":"https://example.org/a"}}`, "/registration/spiffeId", "spiffe_id_format"},
		"unknown algorithm":     {`{"kind":"private_key_jwt","registration":{"jwksUri":"https://a.example","algorithms":["HS256"]}}`, "/registration/algorithms/0", "algorithm_unknown"},
		"lifetime out of range": {`{"lifetimeSeconds":1}`, "/lifetimeSeconds", "out_of_range"},
	} {
		a := i.admin("POST", "/agents/"+agent+"/credentials", tt.body)
		if a.StatusCode != 400 || a.field("code") != tt.code || !strings.Contains(string(a.body), `"`+tt.field+`"`) {
			t.Errorf("%s: %s %s, want %s at %s", name, a.Status, a.body, tt.code, tt.field)
		}
	}
	// RS256 only by name.
	a := i.admin("POST", "/agents/"+agent+"/credentials", map[string]any{"kind": "private_key_jwt", "registration": map[string]any{"jwks": jwks(t, rs)}})
	if a.StatusCode != 400 || a.field("code") != "key_algorithm" {
		t.Errorf("a key for RS256: %s", a.body)
	}
}
