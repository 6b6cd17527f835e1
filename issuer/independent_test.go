package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/testkit"
	"github.com/agentidp/agentidp/issuer"
)

// The clients here are other people's, unmodified, from npm: issuer/testdata/clients has a file of scenarios for each. They get what setting.mjs describes.

// setting is what a client is told.
type setting struct {
	Issuer             string                  `json:"issuer"`
	OrganizationIssuer string                  `json:"organizationIssuer"`
	Control            string                  `json:"control"`
	Giver              settingGiver            `json:"giver"`
	InitialAccessToken string                  `json:"initialAccessToken"`
	PartyInitialToken  string                  `json:"partyInitialToken"` // registers relying parties
	Agents             settingAgents           `json:"agents"`
	Parties            map[string]settingParty `json:"parties"` // relying parties of the same organization
}

// settingGiver is where the relying party "secret" is given assertions for a partner: the token endpoint of a process that knows the partner.
type settingGiver struct {
	TokenEndpoint string `json:"tokenEndpoint"`
	Partner       string `json:"partner"`
	ClientID      string `json:"clientId"` // its name there
}

type settingParty struct {
	ID          string            `json:"id"`
	Secret      string            `json:"secret,omitempty"`
	RedirectURI string            `json:"redirectUri"`
	JWK         *jose4.JSONWebKey `json:"jwk,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Key         string            `json:"key,omitempty"`
	Thumbprint  string            `json:"thumbprint,omitempty"`
}

// settingAgents are agents of one organization, by what they prove themselves with.
type settingAgents struct {
	Secret       settingAgent            `json:"secret"`
	Subject      settingAgent            `json:"subject"` // may sign in
	Service      settingAgent            `json:"service"` // tokens can be meant for it
	Keys         map[string]settingAgent `json:"keys"`    // by algorithm
	Certificates map[string]settingAgent `json:"certificates"`
	Workload     settingAgent            `json:"workload"` // its JWT-SVIDs, by audience
}

type settingAgent struct {
	ID          string            `json:"id"`
	Secret      string            `json:"secret,omitempty"`
	Serves      string            `json:"serves,omitempty"`
	JWK         *jose4.JSONWebKey `json:"jwk,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Key         string            `json:"key,omitempty"`
	Thumbprint  string            `json:"thumbprint,omitempty"`
	Bound       bool              `json:"bound"` // its tokens are bound to the certificate
	SVIDs       map[string]string `json:"svids,omitempty"`
}

const partner = "https://partner.example"

// setting registers the agents.
func (i *instance) setting(root *signer) setting {
	i.t.Helper()
	organization := i.organization("acme")
	s := setting{Issuer: i.url, OrganizationIssuer: i.url + "/o/acme"}
	withSecret := func(name string) settingAgent {
		id := i.agent(organization, name)
		_, secret := i.credential(id)
		return settingAgent{ID: id, Secret: secret}
	}
	s.Agents.Secret, s.Agents.Service = withSecret("caller"), withSecret("service")
	s.Agents.Service.Serves = "svc://payments"
	i.must(i.admin("PATCH", "/agents/"+s.Agents.Service.ID, map[string]any{"serves": []string{s.Agents.Service.Serves}, "audiences": []string{"svc://ledger"}}), 200)

	s.Agents.Subject = withSecret("subject")
	i.must(i.admin("PATCH", "/agents/"+s.Agents.Subject.ID, map[string]any{"audiences": []string{s.Issuer, s.OrganizationIssuer, "svc://payments", partner}}), 200)
	_, s.InitialAccessToken = i.initialToken(organization, 10)
	s.PartyInitialToken = i.initialTokenFor(organization, []string{"relying_party"}, nil)
	s.Parties = map[string]settingParty{}
	for name, change := range map[string]map[string]any{
		"secret": {"audiences": []string{partner}, "scopes": []string{"invoices:read"}}, "pushed": {"requirePushedRequests": true}, "bound": {"requireDPoP": true}, "public": {"authentication": "none"}, "posted": {"authentication": "client_secret_post"},
	} {
		change["name"], change["redirectUris"] = name, []string{"https://" + name + ".example/cb"}
		p := i.relyingParty(organization, change)
		s.Parties[name] = settingParty{ID: p.oauth.ClientID, Secret: p.oauth.ClientSecret, RedirectURI: p.oauth.RedirectURL}
	}
	i.fapiParties(root, organization, s.Parties)

	giver := i.beside(func(c *issuer.Config) {
		c.Federation.Partners = []issuer.Partner{{Issuer: partner, OrganizationID: organization, Clients: []issuer.PartnerClient{{RelyingPartyID: s.Parties["secret"].ID, ClientID: "their-name"}}}}
	})
	s.Giver = settingGiver{giver.url + "/oauth2/token", partner, "their-name"}

	s.Agents.Keys = map[string]settingAgent{}
	for _, alg := range []jose4.SignatureAlgorithm{jose4.ES256, jose4.EdDSA, jose4.PS256, jose4.RS256} {
		h, id := newHolder(i.t, alg), i.agent(organization, "key-"+string(alg))
		i.register(id, "private_key_jwt", map[string]any{"jwks": jwks(i.t, h), "algorithms": []string{string(alg)}})
		s.Agents.Keys[string(alg)] = settingAgent{ID: id, JWK: &jose4.JSONWebKey{Key: h.private, KeyID: h.kid, Algorithm: string(alg)}}
	}

	s.Agents.Certificates = map[string]settingAgent{}
	own := certify(i.t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "own"} })
	issued := certify(i.t, root, func(c *x509.Certificate) {
		c.Subject, c.DNSNames = pkix.Name{CommonName: "issued"}, []string{"agent.example"}
	})
	for _, c := range []struct {
		method       string
		signer       *signer
		registration map[string]any
		bound        bool
	}{
		{"self_signed_tls_client_auth", own, map[string]any{"certificateThumbprint": own.thumbprint()}, false},
		{"tls_client_auth", issued, map[string]any{"sanDns": "agent.example"}, true},
	} {
		id := i.agent(organization, c.method)
		i.register(id, c.method, c.registration)
		i.must(i.admin("PATCH", "/agents/"+id, map[string]any{"tlsClientCertificateBoundAccessTokens": c.bound}), 200)
		certificate, key := c.signer.pem(i.t)
		s.Agents.Certificates[c.method] = settingAgent{ID: id, Certificate: certificate, Key: key, Thumbprint: c.signer.thumbprint(), Bound: c.bound}
	}
	return s
}

// workload adds an agent that proves itself by SVIDs of a trust domain, of both kinds.
func (i *instance) workload(s *setting, d *domain) {
	i.t.Helper()
	const spiffeID = "spiffe://example.org/ns/acme/workload"
	id := i.agent(i.field("/agents/"+s.Agents.Secret.ID, "organizationId"), "workload")
	for _, kind := range []string{"spiffe_jwt", "spiffe_x509"} {
		i.register(id, kind, map[string]any{"spiffeId": spiffeID})
	}
	svid := d.svid(i.t, spiffeID)
	certificate, key := svid.pem(i.t)
	s.Agents.Certificates["spiffe_x509"] = settingAgent{ID: id, Certificate: certificate, Key: key, Thumbprint: svid.thumbprint()}
	s.Agents.Workload = settingAgent{ID: id, SVIDs: map[string]string{}}
	for _, audience := range []string{s.Issuer, s.OrganizationIssuer} {
		claims := map[string]any{"sub": spiffeID, "aud": audience, "exp": time.Now().Add(5 * time.Minute).Unix(), "iat": time.Now().Unix()}
		s.Agents.Workload.SVIDs[audience] = d.jwt.sign(i.t, claims, map[jose4.HeaderKey]any{"kid": d.jwt.kid})
	}
}

// field is a member of what the admin API answers.
func (i *instance) field(path, name string) string {
	i.t.Helper()
	return i.must(i.admin("GET", path, nil), 200).field(name)
}

// parties are relying parties that nobody registered: one that has nothing to prove itself with, and one with a key.
func (h *documentHost) parties(to map[string]settingParty) {
	k := newHolder(h.t, jose4.ES256)
	const callback = "https://notes.example/cb"
	to["document"] = settingParty{ID: h.serve("/notes", nil), RedirectURI: callback}
	to["documentKey"] = settingParty{
		ID:          h.serve("/key", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(h.t, k), "dpop_bound_access_tokens": true}),
		RedirectURI: callback, JWK: &jose4.JSONWebKey{Key: k.private, KeyID: k.kid, Algorithm: string(k.alg)},
	}
}

// fapiParties are relying parties as the FAPI 2.0 Security Profile wants them: requests pushed, no secret, tokens bound to a key or to the certificate.
func (i *instance) fapiParties(root *signer, organization string, to map[string]settingParty) {
	i.t.Helper()
	h := newHolder(i.t, jose4.ES256)
	issued := certify(i.t, root, func(c *x509.Certificate) {
		c.Subject, c.DNSNames = pkix.Name{CommonName: "party"}, []string{"party.example"}
	})
	certificate, key := issued.pem(i.t)
	for name, tt := range map[string]struct {
		change map[string]any
		party  settingParty
	}{
		"key": {
			map[string]any{"authentication": "private_key_jwt", "registration": map[string]any{"jwks": jwks(i.t, h)}, "requireDPoP": true},
			settingParty{JWK: &jose4.JSONWebKey{Key: h.private, KeyID: h.kid, Algorithm: string(h.alg)}},
		},
		"certificate": {
			map[string]any{"authentication": "tls_client_auth", "registration": map[string]any{"sanDns": "party.example"}, "requireCertificate": true},
			settingParty{Certificate: certificate, Key: key, Thumbprint: issued.thumbprint()},
		},
	} {
		tt.change["name"], tt.change["redirectUris"], tt.change["requirePushedRequests"] = name, []string{"https://" + name + ".example/cb"}, true
		p := i.relyingParty(organization, tt.change)
		tt.party.ID, tt.party.RedirectURI = p.oauth.ClientID, p.oauth.RedirectURL
		to[name] = tt.party
	}
}

// pem is the chain and the key.
func (s *signer) pem(t *testing.T) (chain, key string) {
	t.Helper()
	for _, der := range s.chain {
		chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return chain, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// clock is behind at first and goes on in leaps, so that keys come of age in no time and what was issued before is still good.
type clock struct{ behind atomic.Int64 }

// leap is how far it goes each time: further than a key has to be published before it signs, when caches may be a minute old.
const leap = 4 * time.Minute

func (c *clock) now() time.Time { return time.Now().Add(-time.Duration(c.behind.Load())) }

func (c *clock) leap() { c.behind.Add(-int64(leap)) }

// startBehind is an issuer whose clock can leap some times before it is right.
func startBehind(t *testing.T, leaps int64, change ...func(*issuer.Config)) (*instance, *clock) {
	t.Helper()
	c := &clock{}
	c.behind.Store(leaps * int64(leap))
	return startAt(t, c.now, append(change, func(c *issuer.Config) {
		c.Tokens.Lifetime.Duration, c.Discovery.MaxAge.Duration = 15*time.Minute, time.Minute
	})...), c
}

// signingKeys are those of the instance, by their state.
func (i *instance) signingKeys(use string) map[string]string {
	i.t.Helper()
	var list struct {
		SigningKeys []struct{ ID, Use, State string }
	}
	i.must(i.admin("GET", "/signing-keys", nil), 200).json(i.t, &list)
	keys := map[string]string{}
	for _, k := range list.SigningKeys {
		if k.Use == use {
			keys[k.State] = k.ID
		}
	}
	return keys
}

// rotate is a planned rotation, done when it returns: all who read the keys before know the one that signs now.
func (i *instance) rotate(c *clock, use string, more ...string) {
	i.t.Helper()
	body := map[string]any{"use": use}
	for n := 0; n < len(more); n += 2 {
		body[more[n]] = more[n+1]
	}
	await(i.t, "a successor is published", func() bool { return i.signingKeys(use)["pending"] != "" })
	i.must(i.admin("POST", "/signing-keys/rotate", body), 200) // with another algorithm another successor
	next := i.signingKeys(use)["pending"]
	c.leap()
	i.must(i.admin("POST", "/signing-keys/rotate", body), 200)
	await(i.t, "the successor signs", func() bool { return i.signingKeys(use)["active"] == next })
}

// await asks again and again, until it is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in half a minute: %s", what)
		}
	}
}

// control lets scenarios have done to the issuer what no client can do.
func (i *instance) control(actions map[string]func()) string {
	i.t.Helper()
	mux := http.NewServeMux()
	for path, action := range actions {
		mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, _ *http.Request) {
			action()
			_, _ = w.Write([]byte("{}"))
		})
	}
	server := httptest.NewServer(mux)
	i.t.Cleanup(server.Close)
	return server.URL
}

// summary is how the test runner of Node.js ends.
var summary = regexp.MustCompile(`(?m)^# (tests|pass|fail|cancelled|skipped|todo) (\d+)$`)

// write puts the setting into a file.
func (s setting) write(t *testing.T, dir string) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "setting.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scenarios runs one file, each of whose tests must pass and none be left out.
func (i *instance) scenarios(file string, s setting) {
	t := i.t
	t.Helper()
	dir := t.TempDir()
	path := s.write(t, dir)
	// Where the files are, their packages must be.
	if err := os.CopyFS(filepath.Join(dir, "clients"), os.DirFS("testdata/clients")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(testkit.NodeModules(t), filepath.Join(dir, "clients/node_modules")); err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), testkit.Node(t), "--test-reporter=tap", filepath.Join(dir, "clients", file))
	node.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_EXTRA_CA_CERTS=" + i.authority, "SETTING=" + path}
	out, err := node.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	counts := map[string]string{}
	for _, m := range summary.FindAllStringSubmatch(string(out), -1) {
		counts[m[1]] = m[2]
	}
	if counts["tests"] == "0" || counts["tests"] == "" || counts["pass"] != counts["tests"] {
		t.Errorf("%v\n%s", counts, out)
	}
	t.Logf("%s: %s scenarios", file, counts["pass"])
}

func TestClientsFromNpm(t *testing.T) {
	t.Parallel()
	for file, leaps := range map[string]int64{"oauth4webapi.mjs": 0, "openid-client.mjs": 0, "jose.mjs": 2} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			root, d := certify(t, nil, authority("root")), newDomain(t)
			h := newDocumentHost(t)
			i, clock := startBehind(t, leaps, func(c *issuer.Config) {
				c.TLS.ClientCA, c.ClientDocuments = root.file(t), h.config()
				c.SPIFFE = []issuer.TrustDomain{{TrustDomain: "example.org", Bundle: issuer.SPIFFEBundle{File: d.file}}}
			})
			s := i.setting(root)
			i.workload(&s, d)
			h.parties(s.Parties)
			s.Control = i.control(map[string]func(){
				"rotate": func() { i.rotate(clock, "access_token") },
				"eddsa":  func() { i.rotate(clock, "access_token", "algorithm", "EdDSA") },
				"revoke": func() {
					i.must(i.admin("POST", "/signing-keys/rotate", map[string]any{"revokeKeyId": i.signingKeys("access_token")["active"]}), 200)
				},
			})
			i.scenarios(file, s)
		})
	}
}

// zitadel/oidc, as a relying party, a resource server and an exchanger: internal/tools/zitadel.
func TestClientFromZitadel(t *testing.T) {
	t.Parallel()
	root := certify(t, nil, authority("root"))
	i := start(t, func(c *issuer.Config) { c.TLS.ClientCA = root.file(t) })
	dir := t.TempDir()
	program := filepath.Join(dir, "zitadel")
	if out, err := exec.CommandContext(t.Context(), "go", "-C", "../internal/tools", "build", "-o", program, "./zitadel").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	client := exec.CommandContext(t.Context(), program, i.setting(root).write(t, dir))
	client.Env = []string{"SSL_CERT_FILE=" + i.authority}
	if out, err := client.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A relying party that runs go-oidc verifies ID tokens of before, during and after a rotation of the key they are signed with.
func TestGoOIDCThroughARotation(t *testing.T) {
	t.Parallel()
	i, clock := startBehind(t, 2)
	organization := i.organization("acme")
	agent, secret, _ := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	ctx := p.withIssuer()
	verifier := p.provider.VerifierContext(ctx, &oidc.Config{ClientID: p.oauth.ClientID, Now: clock.now})
	signIn := func() (idToken, kid string) {
		proof := oauth2.GenerateVerifier()
		got, err := p.oauth.Exchange(ctx, p.code(i.token(agent, secret), "state", proof), oauth2.VerifierOption(proof))
		if err != nil {
			t.Fatal(err)
		}
		i.secret(got.AccessToken)
		i.secret(got.RefreshToken)
		idToken, _ = got.Extra("id_token").(string)
		parsed, err := jose4.ParseSigned(i.secret(idToken), []jose4.SignatureAlgorithm{jose4.RS256})
		if err != nil {
			t.Fatal(err)
		}
		return idToken, parsed.Signatures[0].Header.KeyID
	}
	verified := func(when, idToken string) {
		t.Helper()
		if got, err := verifier.Verify(ctx, idToken); err != nil || got.Subject != agent {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
	}
	first, firstKey := signIn()
	verified("before", first)
	for n := range 2 {
		i.rotate(clock, "id_token")
		next, nextKey := signIn()
		if nextKey == firstKey {
			t.Errorf("rotation %d: signed with the same key", n)
		}
		verified("after", next)
		verified("from before", first)
	}
}
