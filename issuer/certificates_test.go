package issuer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/issuer"
)

func serverTLS(t *testing.T, certificate, key string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// signer is a certificate and its key: an authority, or a client.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	chain       [][]byte
}

// certify makes a certificate. Without by it signs itself.
func certify(t *testing.T, by *signer, change func(*x509.Certificate)) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certifyKey(t, by, key, change)
}

func certifyKey(t *testing.T, by *signer, key *ecdsa.PrivateKey, change func(*x509.Certificate)) *signer {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	change(template)
	parent, private := template, crypto.Signer(key)
	if by != nil {
		parent, private = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{certificate: made, key: key, chain: [][]byte{der}}
	if by != nil && by.certificate.Subject.CommonName != "root" {
		s.chain = append(s.chain, by.chain...)
	}
	return s
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.KeyUsage, c.ExtKeyUsage = pkix.Name{CommonName: name}, true, x509.KeyUsageCertSign, nil
	}
}

func (s *signer) thumbprint() string {
	digest := sha256.Sum256(s.certificate.Raw)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// file writes the certificate as PEM.
func (s *signer) file(t *testing.T) config.Path {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Path(name)
}

// by asks for a token over a connection with a client certificate, the body naming the client.
func (i *instance) by(s *signer, form url.Values, change ...func(*http.Request)) answer {
	i.t.Helper()
	own := &instance{t: i.t, url: i.url, client: client(i.t, i.authority)}
	transport := own.client.Transport.(*http.Transport)
	defer transport.CloseIdleConnections()
	if s != nil {
		// Not by Certificates: that list is searched for one that the server's hints fit.
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: s.chain, PrivateKey: s.key}, nil
		}
	}
	form.Set("grant_type", "client_credentials")
	r := own.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", form.Encode())
	for _, c := range change {
		c(r)
	}
	a := own.do(r)
	i.secret(a.field("access_token"))
	return a
}

func TestTLSClientAuth(t *testing.T) {
	t.Parallel()
	root, rogue := certify(t, nil, authority("root")), certify(t, nil, authority("root"))
	middle := certify(t, root, authority("middle"))
	i := start(t, func(c *issuer.Config) { c.TLS.ClientCA = root.file(t) })
	organization := i.organization("acme")
	subject := pkix.Name{CommonName: "payer, of bills", Organization: []string{"Acme Ltd."}, Country: []string{"DE"}}
	uri, err := url.Parse("urn:agent:payer")
	if err != nil {
		t.Fatal(err)
	}
	full := func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.URIs = subject, []string{"other.example", "payer.example"}, []*url.URL{uri}
		c.IPAddresses, c.EmailAddresses = []net.IP{net.ParseIP("192.0.2.7")}, []string{"payer@acme.example"}
	}
	payer := certify(t, middle, full)
	for member, name := range map[string]string{
		"subjectDn": `CN=payer\, of bills,O=Acme Ltd.,C=DE`, "sanDns": "payer.example", "sanUri": "urn:agent:payer", "sanIp": "192.0.2.7", "sanEmail": "payer@acme.example",
	} {
		agent := i.agent(organization, member)
		credential := i.register(agent, "tls_client_auth", map[string]any{member: name})
		of := url.Values{"client_id": {agent}}
		a := i.must(i.by(payer, of), 200)
		if _, claims := i.verified(a.field("access_token")); claims["credential_id"] != credential {
			t.Errorf("%s: %v", member, claims)
		}
		for what, s := range map[string]*signer{
			"no certificate":       nil,
			"of another authority": certify(t, rogue, full),
			"signed by itself":     certify(t, nil, full),
			"with no names":        certify(t, root, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "payer"} }),
			"for servers":          certify(t, root, func(c *x509.Certificate) { full(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			"that has ended":       certify(t, root, func(c *x509.Certificate) { full(c); c.NotAfter = time.Now().Add(-time.Minute) }),
		} {
			wantRefused(t, member+", certificate "+what, i.by(s, url.Values{"client_id": {agent}}), 401, "invalid_client")
		}
	}
	// A header is not a certificate.
	agent := i.agent(organization, "headers")
	i.register(agent, "tls_client_auth", map[string]any{"sanDns": "payer.example"})
	wantRefused(t, "a certificate in headers", i.by(nil, url.Values{"client_id": {agent}}, func(r *http.Request) {
		text := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: payer.certificate.Raw})))
		for _, name := range []string{"X-Forwarded-Client-Cert", "Client-Cert", "X-SSL-Client-Cert", "X-Client-Cert"} {
			r.Header.Set(name, text)
		}
	}), 401, "invalid_client")
	wantRefused(t, "an agent without such a credential", i.by(payer, url.Values{"client_id": {i.agent(organization, "bare")}}), 401, "invalid_client")
	wantRefused(t, "no client_id", i.by(payer, url.Values{}), 401, "invalid_client")
	// Beside a secret the certificate proves nothing, and hinders nothing.
	secretly := i.agent(organization, "secretly")
	_, secret := i.credential(secretly)
	i.must(i.by(payer, url.Values{"client_id": {secretly}, "client_secret": {secret}}), 200)
	wantRefused(t, "a wrong secret beside a good certificate", i.by(payer, url.Values{"client_id": {agent}, "client_secret": {"aidp_wrong"}}), 401, "invalid_client")
}

func TestSelfSignedTLSClientAuth(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	own := certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "payer"} })
	renewed := certifyKey(t, nil, own.key, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "payer"} })
	copied := certify(t, nil, func(c *x509.Certificate) {
		c.Subject, c.SerialNumber = own.certificate.Subject, own.certificate.SerialNumber
	})
	ended := certifyKey(t, nil, own.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })

	byThumbprint, byKey := i.agent(organization, "thumbprint"), i.agent(organization, "key")
	i.register(byThumbprint, "self_signed_tls_client_auth", map[string]any{"certificateThumbprint": own.thumbprint()})
	i.register(byKey, "self_signed_tls_client_auth", map[string]any{"jwks": jwks(t, holder{jose4.ES256, own.key, "tls"})})
	for name, tt := range map[string]struct {
		agent  string
		signer *signer
		status int
	}{
		"the certificate":                  {byThumbprint, own, 200},
		"renewed, by thumbprint":           {byThumbprint, renewed, 401},
		"another of the same name":         {byThumbprint, copied, 401},
		"its key":                          {byKey, own, 200},
		"renewed, by key":                  {byKey, renewed, 200},
		"another of the same name, by key": {byKey, copied, 401},
		"its key, but ended":               {byKey, ended, 401},
	} {
		if a := i.by(tt.signer, url.Values{"client_id": {tt.agent}}); a.StatusCode != tt.status {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
	// A certificate without its key proves nothing: TLS itself ends the connection.
	thief := &signer{certificate: own.certificate, key: copied.key, chain: own.chain}
	stealing := client(t, i.authority)
	transport := stealing.Transport.(*http.Transport)
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: thief.chain, PrivateKey: thief.key}, nil
	}
	r := i.request("POST", "/oauth2/token", "application/x-www-form-urlencoded", url.Values{"grant_type": {"client_credentials"}, "client_id": {byThumbprint}}.Encode())
	if response, err := stealing.Do(r); err == nil {
		response.Body.Close()
		t.Errorf("a stolen certificate: %s", response.Status)
	}
}

// domain is a SPIFFE trust domain with a file of its bundle.
type domain struct {
	root *signer
	jwt  holder
	file config.Path
}

func newDomain(t *testing.T) *domain {
	t.Helper()
	d := &domain{root: certify(t, nil, authority("root")), jwt: newHolder(t, jose4.ES256)}
	text, err := json.Marshal(map[string]any{"spiffe_sequence": 1, "spiffe_refresh_hint": 60, "keys": []any{
		jose4.JSONWebKey{Key: d.jwt.private.Public(), KeyID: d.jwt.kid, Use: "jwt-svid"},
		jose4.JSONWebKey{Key: d.root.key.Public(), Use: "x509-svid", Certificates: []*x509.Certificate{d.root.certificate}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "bundle.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d.file = config.Path(name)
	return d
}

// svid is an X.509-SVID.
func (d *domain) svid(t *testing.T, ids ...string) *signer {
	t.Helper()
	return certify(t, d.root, func(c *x509.Certificate) {
		for _, id := range ids {
			u, err := url.Parse(id)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
	})
}

func TestSPIFFE(t *testing.T) {
	t.Parallel()
	d, other := newDomain(t), newDomain(t)
	i := start(t, func(c *issuer.Config) {
		c.SPIFFE = []issuer.TrustDomain{
			{TrustDomain: "example.org", Bundle: issuer.SPIFFEBundle{File: d.file}}, {TrustDomain: "other.org", Bundle: issuer.SPIFFEBundle{File: other.file}},
		}
	})
	const id = "spiffe://example.org/ns/acme/payer"
	organization := i.organization("acme")
	agent := i.agent(organization, "payer")
	byJWT := i.register(agent, "spiffe_jwt", map[string]any{"spiffeId": id})
	byX509 := i.register(agent, "spiffe_x509", map[string]any{"spiffeId": id})

	claims := func(changes ...any) map[string]any {
		all := map[string]any{"sub": id, "aud": i.url, "exp": time.Now().Add(5 * time.Minute).Unix(), "iat": time.Now().Unix()}
		for n := 0; n < len(changes); n += 2 {
			all[changes[n].(string)] = changes[n+1]
		}
		return all
	}
	present := func(h holder, c map[string]any, more ...string) answer {
		return i.assert(h.sign(t, c, map[jose4.HeaderKey]any{"kid": h.kid, "typ": "JWT"}),
			append([]string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "client_id", agent}, more...)...)
	}
	svid := d.jwt.sign(t, claims(), map[jose4.HeaderKey]any{"kid": d.jwt.kid})
	for range 2 { // a workload uses an SVID until it expires
		a := i.must(i.assert(svid, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe", "client_id", agent), 200)
		if _, got := i.verified(a.field("access_token")); got["credential_id"] != byJWT {
			t.Errorf("%v", got)
		}
	}
	for name, a := range map[string]answer{
		"another workload":              present(d.jwt, claims("sub", "spiffe://example.org/ns/acme/other")),
		"another domain's key":          present(other.jwt, claims()),
		"another domain":                present(other.jwt, claims("sub", "spiffe://other.org/ns/acme/payer")),
		"another audience":              present(d.jwt, claims("aud", "https://other.example.com")),
		"expired":                       present(d.jwt, claims("exp", time.Now().Add(-time.Minute).Unix(), "iat", nil)),
		"another agent":                 present(d.jwt, claims(), "client_id", i.agent(organization, "bare")),
		"sent as private_key_jwt":       present(d.jwt, claims(), "client_assertion_type", jwtBearer, "client_id", ""),
		"an authority's key as a JWT's": present(holder{jose4.ES256, d.root.key, d.jwt.kid}, claims()),
	} {
		wantRefused(t, name, a, 401, "invalid_client")
	}
	wantRefused(t, "no client_id", present(d.jwt, claims(), "client_id", ""), 400, "invalid_request")

	of := url.Values{"client_id": {agent}}
	a := i.must(i.by(d.svid(t, id), of), 200)
	if _, got := i.verified(a.field("access_token")); got["credential_id"] != byX509 {
		t.Errorf("%v", got)
	}
	for name, s := range map[string]*signer{
		"another workload":          d.svid(t, "spiffe://example.org/ns/acme/other"),
		"two ids":                   d.svid(t, id, "spiffe://example.org/b"),
		"no id":                     d.svid(t),
		"the id, by another domain": other.svid(t, id),
		"the id, signed by itself":  certify(t, nil, func(c *x509.Certificate) { u, _ := url.Parse(id); c.URIs = []*url.URL{u} }),
		"an authority": certify(t, d.root, func(c *x509.Certificate) {
			u, _ := url.Parse(id)
			c.URIs, c.IsCA = []*url.URL{u}, true
		}),
		"one that may sign revocations": certify(t, d.root, func(c *x509.Certificate) {
			u, _ := url.Parse(id)
			c.URIs, c.KeyUsage = []*url.URL{u}, x509.KeyUsageDigitalSignature|x509.KeyUsageCRLSign
		}),
		"an ended one": certify(t, d.root, func(c *x509.Certificate) {
			c.NotAfter = time.Now().Add(-time.Minute)
			u, _ := url.Parse(id)
			c.URIs = []*url.URL{u}
		}),
	} {
		wantRefused(t, "X.509-SVID: "+name, i.by(s, of), 401, "invalid_client")
	}
	var metadata struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	i.must(i.do(i.request("GET", "/.well-known/openid-configuration", "", "")), 200).json(t, &metadata)
	if n := len(metadata.Methods); n != 7 || metadata.Methods[n-1] != "spiffe_x509" {
		t.Errorf("%v", metadata.Methods)
	}
}
