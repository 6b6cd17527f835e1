package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/issuer"
)

// prove is a token request with a proof. Changes to its claims are as in josetest.
func (i *instance) prove(id, secret string, h *josetest.Holder, form url.Values, changes ...any) answer {
	i.t.Helper()
	return i.present(id, secret, h.Prove("POST", i.url+"/oauth2/token", "", time.Now(), append([]any{"ath", nil}, changes...)...), form)
}

func (i *instance) present(id, secret, proof string, form url.Values) answer {
	i.t.Helper()
	r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	r.SetBasicAuth(id, secret)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	a := i.do(r)
	i.secret(a.field("access_token"))
	return a
}

var clientCredentials = url.Values{"grant_type": {"client_credentials"}}

// RFC 9449 s5 and s8: the nonce is asked for, then the token is bound to the key.
func TestTokenIsBoundToAKey(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.agent(organization, "a")
	_, secret := i.credential(agent)
	h := josetest.NewHolder()

	first := i.must(i.prove(agent, secret, h, clientCredentials), 400)
	nonce := first.Header.Get("DPoP-Nonce")
	if first.field("error") != "use_dpop_nonce" || nonce == "" {
		t.Fatalf("%s, nonce %q", first.body, nonce)
	}
	a := i.must(i.prove(agent, secret, h, clientCredentials, "nonce", nonce), 200)
	if a.field("token_type") != "DPoP" || a.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("%s, nonce %q", a.body, a.Header.Get("DPoP-Nonce"))
	}
	_, claims := i.verified(a.field("access_token"))
	cnf, _ := claims["cnf"].(map[string]any)
	if len(cnf) != 1 || cnf["jkt"] != h.Thumbprint() {
		t.Errorf("cnf %v, want %s", cnf, h.Thumbprint())
	}
	var log struct {
		Records []struct{ Details map[string]any }
	}
	i.must(i.admin("GET", "/audit?action=token.issue&organizationId="+organization, nil), 200).json(t, &log)
	if len(log.Records) != 1 || log.Records[0].Details["keyThumbprint"] != h.Thumbprint() {
		t.Errorf("recorded %+v", log)
	}

	bearer := i.must(i.tokenRequest(agent, secret, clientCredentials), 200)
	if _, claims := i.verified(bearer.field("access_token")); claims["cnf"] != nil || bearer.field("token_type") != "Bearer" {
		t.Errorf("without a proof: %s, %v", bearer.body, claims)
	}
	if a := i.prove(agent, secret, h, clientCredentials, "htu", i.url+"/oauth2/other"); a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_dpop_proof" {
		t.Errorf("a proof for another endpoint: %s %s", a.Status, a.body)
	}
}

// Of many requests with one proof, at two processes that share the database, one gets a token.
func TestProofIsUsedOnce(t *testing.T) {
	t.Parallel()
	i := start(t)
	j := i.beside()
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	j.secret(secret)
	h := josetest.NewHolder()
	nonce := i.prove(agent, secret, h, clientCredentials).Header.Get("DPoP-Nonce")
	proof := h.Prove("POST", i.url+"/oauth2/token", "", time.Now(), "ath", nil, "nonce", nonce)
	const requests = 8
	answers := make(chan answer, requests)
	var wg sync.WaitGroup
	for n := range requests {
		wg.Go(func() {
			at := i
			if n%2 == 1 {
				at = j
			}
			for { // a busy issuer says so, and has used nothing up
				if a := at.present(agent, secret, proof, clientCredentials); a.StatusCode != http.StatusServiceUnavailable || t.Context().Err() != nil {
					answers <- a
					return
				}
			}
		})
	}
	wg.Wait()
	close(answers)
	tokens := 0
	for a := range answers {
		switch {
		case a.StatusCode == http.StatusOK:
			tokens++
		case a.field("error") != "invalid_dpop_proof":
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
	if tokens != 1 {
		t.Errorf("%d tokens for one proof", tokens)
	}
}

// An agent whose tokens are to be bound gets no other.
func TestBoundTokensCanBeRequired(t *testing.T) {
	t.Parallel()
	i := start(t, func(c *issuer.Config) { c.Tokens.DPoPNonce = "optional" })
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"dpopBoundAccessTokens": true}), 200)
	if a := i.tokenRequest(agent, secret, clientCredentials); a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_dpop_proof" {
		t.Errorf("without a proof: %s %s", a.Status, a.body)
	}
	i.must(i.prove(agent, secret, josetest.NewHolder(), clientCredentials), 200)
	var updated struct{ TlsClientCertificateBoundAccessTokens, DpopBoundAccessTokens bool }
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"tlsClientCertificateBoundAccessTokens": true}), 200).json(t, &updated)
	if !updated.DpopBoundAccessTokens || !updated.TlsClientCertificateBoundAccessTokens {
		t.Errorf("%+v", updated)
	}
	if a := i.prove(agent, secret, josetest.NewHolder(), clientCredentials); a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_request" {
		t.Errorf("without a certificate: %s %s", a.Status, a.body)
	}
}

// RFC 8707 s2, RFC 9396: several resources, and details that are passed on as they are.
func TestResourcesAndDetails(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	details := `[{"type":"payment","amount":{"currency":"EUR","value":12.50}},{"type":"x"}]`
	a := i.must(i.tokenRequest(agent, secret, url.Values{
		"grant_type": {"client_credentials"}, "resource": {"svc://ledger", "svc://payments", "svc://ledger"}, "authorization_details": {details},
	}), 200)
	_, claims := i.verified(a.field("access_token"))
	aud, _ := claims["aud"].([]any)
	if len(aud) != 2 || aud[0] != "svc://ledger" || aud[1] != "svc://payments" {
		t.Errorf("aud %v", claims["aud"])
	}
	granted, _ := claims["authorization_details"].([]any)
	if len(granted) != 2 || granted[0].(map[string]any)["type"] != "payment" {
		t.Errorf("authorization_details %v", claims["authorization_details"])
	}
	var answered struct {
		Details []map[string]any `json:"authorization_details"`
	}
	if a.json(t, &answered); len(answered.Details) != 2 {
		t.Errorf("answered %s", a.body)
	}
	for name, bad := range map[string]string{
		"no JSON": "x", "no list": `{"type":"a"}`, "empty": "[]", "no object": `["a"]`, "no type": `[{}]`, "a type that is no string": `[{"type":1}]`, "a member twice": `[{"type":"a","type":"b"}]`,
	} {
		a := i.tokenRequest(agent, secret, url.Values{"grant_type": {"client_credentials"}, "authorization_details": {bad}})
		if a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_authorization_details" {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
}

// RFC 8705 s3: the token is bound to the certificate of the connection, whoever made it.
func TestTokenIsBoundToACertificate(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"tlsClientCertificateBoundAccessTokens": true}), 200)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	transport := i.client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	defer transport.CloseIdleConnections()
	plain := i.client
	i.client = &http.Client{Transport: transport}
	a := i.must(i.tokenRequest(agent, secret, clientCredentials), 200)
	i.client = plain
	_, claims := i.verified(a.field("access_token"))
	digest := sha256.Sum256(der)
	cnf, _ := claims["cnf"].(map[string]any)
	if len(cnf) != 1 || cnf["x5t#S256"] != base64.RawURLEncoding.EncodeToString(digest[:]) || a.field("token_type") != "Bearer" {
		t.Errorf("cnf %v, %s", cnf, a.body)
	}
	if a := i.tokenRequest(agent, secret, clientCredentials); a.StatusCode != http.StatusBadRequest || a.field("error") != "invalid_request" {
		t.Errorf("without a certificate: %s %s", a.Status, a.body)
	}
}
