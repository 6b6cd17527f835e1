package issuer_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// The modules of the FAPI 2.0 Security Profile plan for client credentials, with Envoy and extauthz as the protected resource, each a subtest of its name. Those about
// client assertions are in assertion_test.go. docs/conformance.md lists them all.

// fapi is an issuer, a resource, and agents with keys and with a certificate.
type fapi struct {
	*instance
	*edge
	t           *testing.T
	key         holder
	certificate *signer
	byKey, byC  string
}

func startFAPI(t *testing.T, more string) *fapi {
	t.Helper()
	i := start(t)
	f := &fapi{instance: i, t: t, key: newHolder(t, jose4.PS256)}
	organization := i.organization("acme")
	f.byKey, f.byC = i.agent(organization, "by-key"), i.agent(organization, "by-certificate")
	f.certificate = certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "agent"} })
	i.register(f.byKey, "private_key_jwt", map[string]any{"jwks": jwks(t, f.key)})
	i.register(f.byC, "self_signed_tls_client_auth", map[string]any{"certificateThumbprint": f.certificate.thumbprint()})
	f.edge = i.edge(more)
	return f
}

// dpop is a token of the agent with keys, bound to a key.
func (f *fapi) dpop(h *josetest.Holder) string {
	f.t.Helper()
	// As the conformance suite does: a request that is repeated with a nonce (RFC 9449 s8) has the same assertion.
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {f.key.assertion(f.t, f.byKey, f.instance.url)}}
	for nonce := ""; ; {
		proof := h.Prove("POST", f.instance.url+"/oauth2/token", "", time.Now(), "ath", nil, "nonce", emptyIsNil(nonce))
		a := f.by(nil, form, withProof(proof))
		if a.field("error") == "use_dpop_nonce" && nonce == "" {
			nonce = a.Header.Get("DPoP-Nonce")
			continue
		}
		f.must(a, 200)
		if a.field("token_type") != "DPoP" {
			f.t.Fatalf("%s", a.body)
		}
		return a.field("access_token")
	}
}

func withProof(proof string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("DPoP", proof) }
}

func emptyIsNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// proven asks the resource with a proof, and again when it wants a nonce.
func (f *fapi) proven(h *josetest.Holder, token, scheme string, changes ...any) answer {
	f.t.Helper()
	prove := func(more ...any) answer {
		return f.get(nil, "Authorization", scheme+" "+token, "DPoP", h.Prove("GET", f.edge.url, token, time.Now(), append(changes, more...)...))
	}
	a := prove()
	if nonce := a.Header.Get("DPoP-Nonce"); nonce != "" && a.StatusCode == http.StatusUnauthorized {
		return prove("nonce", nonce)
	}
	return a
}

// The happy flows of the four certification profiles: two ways to authenticate, two ways to be bound; and what a bound token is worth without what it is bound to.
func TestFAPIHappyFlow(t *testing.T) {
	t.Parallel()
	f := startFAPI(t, "")
	h := josetest.NewHolder()
	token := f.dpop(h)
	t.Run("happy flow: private_key_jwt, DPoP", func(t *testing.T) {
		if a := f.proven(h, token, "DPoP"); a.StatusCode != http.StatusOK || f.seen.Load() != f.byKey {
			t.Errorf("%s %s, the service saw %v", a.Status, a.body, f.seen.Load())
		}
	})
	t.Run("token type header case: DPoP", func(t *testing.T) {
		for _, scheme := range []string{"dpop", "DPOP", "dPoP"} {
			if a := f.proven(h, token, scheme); a.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s", scheme, a.Status, a.body)
			}
		}
	})
	t.Run("happy flow: private_key_jwt, mTLS", func(t *testing.T) {
		f.happyBound(t, f.byKey, url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {f.key.assertion(t, f.byKey, f.instance.url)}})
	})
	t.Run("happy flow: mTLS, mTLS", func(t *testing.T) { f.happyBound(t, f.byC, url.Values{"client_id": {f.byC}}) })
	t.Run("happy flow: mTLS, DPoP", func(t *testing.T) {
		holder := josetest.NewHolder()
		form := url.Values{"client_id": {f.byC}}
		prove := func(changes ...any) func(*http.Request) {
			return func(r *http.Request) {
				r.Header.Set("DPoP", holder.Prove("POST", f.instance.url+"/oauth2/token", "", time.Now(), append(changes, "ath", nil)...))
			}
		}
		nonce := f.must(f.by(f.certificate, form, prove()), 400).Header.Get("DPoP-Nonce")
		bound := f.must(f.by(f.certificate, form, prove("nonce", nonce)), 200).field("access_token")
		if a := f.proven(holder, bound, "DPoP"); a.StatusCode != http.StatusOK {
			t.Errorf("%s %s", a.Status, a.body)
		}
		if a := f.edge.get(nil, "Authorization", "DPoP "+bound); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("holder of key required: without a proof: %s", a.Status)
		}
	})
}

// happyBound gets the agent a token that is bound to the certificate, and presents it with and without.
func (f *fapi) happyBound(t *testing.T, agent string, form url.Values) {
	t.Helper()
	f.must(f.admin("PATCH", "/agents/"+agent, map[string]any{"tlsClientCertificateBoundAccessTokens": true}), 200)
	defer func() {
		f.must(f.admin("PATCH", "/agents/"+agent, map[string]any{"tlsClientCertificateBoundAccessTokens": false}), 200)
	}()
	bound := f.must(f.by(f.certificate, form), 200).field("access_token")
	for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
		if a := f.get(f.with(f.certificate), "Authorization", scheme+" "+bound); a.StatusCode != http.StatusOK || f.seen.Load() != agent {
			t.Errorf("token type header case: %s: %s %s", scheme, a.Status, a.body)
		}
	}
	other := certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "agent"} })
	for name, by := range map[string]*http.Client{
		"holder of key required: no certificate": nil, "holder of key required: another certificate": f.with(other),
	} {
		t.Run(name, func(t *testing.T) {
			if a := f.get(by, "Authorization", "Bearer "+bound); a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.Header.Get("WWW-Authenticate"), "invalid_token") {
				t.Errorf("%s %s", a.Status, a.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

// Module: what the metadata has to say, and what it must not.
func TestFAPIDiscovery(t *testing.T) {
	t.Parallel()
	root := certify(t, nil, authority("root"))
	i := start(t, func(c *issuer.Config) { c.TLS.ClientCA = root.file(t) })
	var all map[string]any
	i.must(i.do(i.request("GET", "/.well-known/openid-configuration", "", "")), 200).json(t, &all)
	list := func(name string) (l []string) {
		values, _ := all[name].([]any)
		for _, v := range values {
			l = append(l, fmt.Sprint(v))
		}
		return l
	}
	for name, wanted := range map[string][]string{
		"grant_types_supported":                            {"client_credentials"},
		"token_endpoint_auth_methods_supported":            {"private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"},
		"token_endpoint_auth_signing_alg_values_supported": {"PS256", "ES256", "EdDSA"},
		"dpop_signing_alg_values_supported":                {"PS256", "ES256", "EdDSA"},
		"code_challenge_methods_supported":                 {"S256"},
	} {
		t.Run("discovery: "+name, func(t *testing.T) {
			for _, want := range wanted {
				if !slices.Contains(list(name), want) {
					t.Errorf("%s has no %s: %v", name, want, all[name])
				}
			}
		})
	}
	for name, refused := range map[string]string{ // FAPI 2.0 Security Profile s5.4
		"dpop_signing_alg_values_supported": "RS256", "token_endpoint_auth_signing_alg_values_supported": "none", "response_types_supported": "token", "code_challenge_methods_supported": "plain",
	} {
		t.Run("discovery: "+name+" without "+refused, func(t *testing.T) {
			if slices.Contains(list(name), refused) {
				t.Errorf("%s has %s", name, refused)
			}
		})
	}
	for _, flag := range []string{"tls_client_certificate_bound_access_tokens", "authorization_response_iss_parameter_supported"} {
		t.Run("discovery: "+flag, func(t *testing.T) {
			if all[flag] != true {
				t.Errorf("%s is %v", flag, all[flag])
			}
		})
	}
}

// Proofs that are ten seconds early or late are good; those that are a minute early are not. nbf and exp in a proof mean nothing (RFC 9449 s4.3). The clock is read
// when a proof is made, so that what arrives is ten seconds early to the second.
func TestFAPIProofTimes(t *testing.T) {
	t.Parallel()
	f := startFAPI(t, "dpop: {nonce: required}\n")
	h := josetest.NewHolder()
	token := f.dpop(h)
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	for name, tc := range map[string]struct {
		iat    time.Duration // ago
		more   []any
		status int
	}{
		"DPoP iat 10 s early":       {-10 * time.Second, nil, 200},
		"DPoP iat 10 s late":        {10 * time.Second, nil, 200},
		"DPoP nbf and exp":          {0, []any{"nbf", ago(5 * time.Second), "exp", ago(-time.Minute)}, 200},
		"DPoP nbf and exp, not now": {0, []any{"nbf", ago(-time.Hour), "exp", ago(time.Hour)}, 200},
		"DPoP iat a minute early":   {-time.Minute, nil, 401},
		"DPoP iat an hour late":     {time.Hour, nil, 401},
		"DPoP iat an hour early":    {-time.Hour, nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			if a := f.proven(h, token, "DPoP", append(tc.more, "iat", ago(tc.iat))...); a.StatusCode != tc.status {
				t.Errorf("resource: %s %s", a.Status, a.body)
			}
			form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {f.key.assertion(t, f.byKey, f.instance.url)}}
			ask := func(changes ...any) answer {
				changes = append(append(changes, tc.more...), "ath", nil, "iat", ago(tc.iat))
				return f.by(nil, form, withProof(h.Prove("POST", f.instance.url+"/oauth2/token", "", time.Now(), changes...)))
			}
			a := ask()
			if nonce := a.Header.Get("DPoP-Nonce"); nonce != "" {
				a = ask("nonce", nonce)
			}
			if want := map[int]int{200: 200, 401: 400}[tc.status]; a.StatusCode != want || want == 400 && a.field("error") != "invalid_dpop_proof" {
				t.Errorf("token endpoint: %s %s", a.Status, a.body)
			}
		})
	}
	t.Run("DPoP RS256 at the token endpoint", func(t *testing.T) {
		claims := `{"jti":"` + rand.Text() + `","htm":"POST","htu":"` + f.instance.url + `/oauth2/token","iat":` + strconv.FormatInt(ago(0), 10) + `}`
		a := f.by(nil, url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {f.key.assertion(t, f.byKey, f.instance.url)}}, withProof(rsaProof(t, "RS256", claims)))
		wantRefused(t, "RS256", a, 400, "invalid_dpop_proof")
	})
}

// Module: the negative set for proofs, at the resource. Each is refused with 401 and a DPoP challenge.
func TestFAPIProofNegatives(t *testing.T) {
	t.Parallel()
	f := startFAPI(t, "dpop: {nonce: required}\n")
	h, thief := josetest.NewHolder(), josetest.NewHolder()
	token := f.dpop(h)
	nonce := f.get(nil, "Authorization", "DPoP "+token, "DPoP", h.Prove("GET", f.edge.url, token, time.Now())).Header.Get("DPoP-Nonce")
	if nonce == "" {
		t.Fatal("no nonce was given")
	}
	prove := func(changes ...any) string {
		return h.Prove("GET", f.edge.url, token, time.Now(), append([]any{"nonce", nonce}, changes...)...)
	}
	_, payload, _ := strings.Cut(prove(), ".")
	payload, _, _ = strings.Cut(payload, ".")
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	// fresh is the good payload with a jti of its own.
	fresh := func() string {
		var c map[string]any
		if err := json.Unmarshal(claims, &c); err != nil {
			t.Fatal(err)
		}
		c["jti"] = rand.Text()
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	jwk := string(h.JWK())
	header := func(typ, alg, key string) string {
		return "{" + strings.Trim(strings.Join([]string{typ, alg, key}, ","), ",") + "}"
	}
	const typ, alg = `"typ":"dpop+jwt"`, `"alg":"ES256"`
	key := `"jwk":` + jwk
	private := strings.TrimSuffix(jwk, "}") + `,"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
	good := prove()
	unsigned := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(fresh())) + "."
	}
	for name, proofs := range map[string][]string{
		"none at all":         {},
		"typ missing":         {h.Sign(header("", alg, key), fresh())},
		"typ JWT":             {h.Sign(header(`"typ":"JWT"`, alg, key), fresh())},
		"alg missing":         {h.Sign(header(typ, "", key), fresh())},
		"alg of another kind": {h.Sign(header(typ, `"alg":"EdDSA"`, key), fresh())},
		"alg none":            {unsigned(header(typ, `"alg":"none"`, key))},
		"alg HS256":           {h.Sign(header(typ, `"alg":"HS256"`, key), fresh())},
		"RS256":               {rsaProof(t, "RS256", fresh())},
		"jwk missing":         {h.Sign(header(typ, alg, ""), fresh())},
		"jwk with d":          {h.Sign(header(typ, alg, `"jwk":`+private), fresh())},
		"jwk of another":      {h.Sign(header(typ, alg, `"jwk":`+string(thief.JWK())), fresh())},
		"jti missing":         {prove("jti", nil)},
		"jti empty":           {prove("jti", "")},
		"htm missing":         {prove("htm", nil)},
		"htm of another":      {prove("htm", "POST")},
		"htu missing":         {prove("htu", nil)},
		"htu of another path": {prove("htu", f.edge.url+"/1")},
		"htu of another host": {prove("htu", "https://other.example/accounts")},
		"iat missing":         {prove("iat", nil)},
		"iat in the past":     {prove("iat", time.Now().Add(-10*time.Minute).Unix())},
		"iat in the future":   {prove("iat", time.Now().Add(10*time.Minute).Unix())},
		"ath missing":         {prove("ath", nil)},
		"ath of another":      {prove("ath", base64.RawURLEncoding.EncodeToString(make([]byte, 32)))},
		"nonce missing":       {prove("nonce", nil)},
		"nonce of another":    {prove("nonce", "x"+nonce)},
		"signature changed":   {good[:len(good)-4] + "AAAA"},
		"another's key":       {thief.Prove("GET", f.edge.url, token, time.Now(), "nonce", nonce)},
		"not a JWT":           {"x"},
		"two":                 {prove(), prove()},
		"two in one":          {prove() + ", " + prove()},
	} {
		t.Run("DPoP negative: "+name, func(t *testing.T) {
			headers := []string{"Authorization", "DPoP " + token}
			for _, p := range proofs {
				headers = append(headers, "DPoP", p)
			}
			a := f.get(nil, headers...)
			twice := strings.HasPrefix(name, "two") // RFC 9449 s4.3: a malformed request, before anybody is anybody
			if a.StatusCode != http.StatusUnauthorized && (!twice || a.StatusCode != http.StatusBadRequest) {
				t.Errorf("%s %s", a.Status, a.body)
			}
			if challenge := a.Header.Get("WWW-Authenticate"); a.StatusCode == 401 && !strings.Contains(challenge, "DPoP ") {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
	// A bound token is no bearer token, with a proof or without; and a bearer token is not made better by a proof.
	for name, headers := range map[string][]string{
		"Bearer":              {"Authorization", "Bearer " + token},
		"Bearer with a proof": {"Authorization", "Bearer " + token, "DPoP", prove()},
	} {
		t.Run("DPoP negative: "+name, func(t *testing.T) {
			if a := f.get(nil, headers...); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s %s", a.Status, a.body)
			}
		})
	}
	t.Run("DPoP negative: used twice", func(t *testing.T) {
		if a := f.get(nil, "Authorization", "DPoP "+token, "DPoP", good); a.StatusCode != http.StatusOK {
			t.Errorf("the good proof: %s %s", a.Status, a.body)
		}
		if a := f.get(nil, "Authorization", "DPoP "+token, "DPoP", good); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("used twice: %s", a.Status)
		}
	})
}

// rsaProof is signed by an RSA key.
func rsaProof(t *testing.T, alg, payload string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(jose4.JSONWebKey{Key: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"typ":"dpop+jwt","alg":"` + alg + `","jwk":` + string(public) + `}`
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// What is asked for a nonce was not looked at: the same assertion does for the repeated request, and for no other.
func TestAssertionOutlivesTheNonceChallenge(t *testing.T) {
	t.Parallel()
	f := startFAPI(t, "")
	h := josetest.NewHolder()
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {f.key.assertion(t, f.byKey, f.instance.url)}}
	ask := func(nonce string) answer {
		return f.by(nil, form, withProof(h.Prove("POST", f.instance.url+"/oauth2/token", "", time.Now(), "ath", nil, "nonce", emptyIsNil(nonce))))
	}
	for range 2 {
		wantRefused(t, "without a nonce", ask(""), 400, "use_dpop_nonce")
	}
	nonce := ask("").Header.Get("DPoP-Nonce")
	f.must(ask(nonce), 200)
	wantRefused(t, "used", ask(nonce), 401, "invalid_client")
}
