package clientauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// ledger is a store with one agent whose keys are registered, and what was used up.
type ledger struct {
	agents.Store
	agent      agents.Agent
	registered []credentials.Registered
	usesErr    error

	mu      sync.Mutex
	queries int
	used    map[[32]byte]bool
}

func (l *ledger) ClientForAuthentication(_ context.Context, id agentid.Agent, _ time.Time) (agents.Agent, []credentials.Registered, error) {
	l.queries++
	if id != l.agent.ID {
		return agents.Agent{}, nil, &problem.Error{Kind: problem.NotFound}
	}
	return l.agent, l.registered, nil
}

func (l *ledger) UseUp(_ context.Context, _ agentid.Organization, use issuance.SingleUse) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.usesErr != nil {
		return l.usesErr
	}
	if l.used[use.Key] {
		return &issuance.UsedError{Purpose: use.Purpose}
	}
	l.used[use.Key] = true
	return nil
}

// keyed is an agent with a P-256 key.
type keyed struct {
	*ledger
	key  *ecdsa.PrivateKey
	auth *clientauth.AgentAuthenticator
}

func newKeyed(t *testing.T, source clientauth.KeySource) *keyed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(jose4.JSONWebKeySet{Keys: []jose4.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := credentials.Registration{Keys: doc, Algorithms: []string{"ES256"}}
	if source != nil {
		r = credentials.Registration{KeysURL: "https://client.example/jwks.json", Algorithms: []string{"ES256"}}
	}
	l := &ledger{
		agent:      agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization](), Status: agents.Active},
		registered: []credentials.Registered{{Credential: agentid.New[agentid.Credential](), Kind: credentials.KindPrivateKeyJWT, Registration: r}},
		used:       make(map[[32]byte]bool),
	}
	service, err := agents.NewService(l, []byte(strings.Repeat("k", 32)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return &keyed{l, key, clientauth.NewAgentAuthenticator(service, clientauth.Trust{Keys: source, Now: time.Now}, open{})}
}

func (k *keyed) sign(t *testing.T, client string) string {
	t.Helper()
	signer, err := jose4.NewSigner(jose4.SigningKey{Algorithm: jose4.ES256, Key: k.key}, &jose4.SignerOptions{ExtraHeaders: map[jose4.HeaderKey]any{"kid": "k"}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": client, "sub": client, "aud": issuerID, "jti": rand.Text(), "exp": time.Now().Add(time.Minute).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func (k *keyed) authenticate(t *testing.T, issuer issuers.Issuer, assertion string, change ...func(*http.Request)) (clientauth.AuthenticatedAgent, *oauth.Error) {
	t.Helper()
	form := url.Values{"client_assertion_type": {jwtBearer}, "client_assertion": {assertion}}
	r := httptest.NewRequest("POST", "/oauth2/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	parsed, err := oauth.ReadForm(r)
	if err != nil {
		t.Fatal(err)
	}
	client, err := k.auth.Authenticate(r.WithContext(issuers.With(r.Context(), issuer)), parsed)
	failure, ok := errors.AsType[*oauth.Error](err)
	if err != nil && !ok {
		t.Fatalf("%T", err)
	}
	return client, failure
}

var instance = issuers.Issuer{ID: issuerID}

func TestAssertion(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, nil)
	text := k.sign(t, k.agent.ID.String())
	client, err := k.authenticate(t, instance, text)
	if err != nil || client.Agent.ID != k.agent.ID || client.Credential != k.registered[0].Credential || client.Method != credentials.PrivateKeyJWT {
		t.Errorf("%+v, %v", client, err)
	}
	if _, err := k.authenticate(t, instance, text); err == nil || err.Code != oauth.InvalidClient {
		t.Errorf("used twice: %v", err)
	}
	// A certificate beside it is not a second method: tokens may be bound to it.
	withCertificate := func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte("x")}}}
	}
	if _, err := k.authenticate(t, instance, k.sign(t, k.agent.ID.String()), withCertificate); err != nil {
		t.Error(err)
	}
}

// The answer for a client that does not exist, one that is not active, and a wrong signature is the same, after one query and one signature each; and none of
// them uses anything up.
func TestRefusedAssertionsAreAlike(t *testing.T) {
	t.Parallel()
	stranger := newKeyed(t, nil)
	for name, tt := range map[string]struct {
		change func(*keyed)
		sign   func(k *keyed) string
	}{
		"unknown client":  {nil, func(k *keyed) string { return k.sign(t, agentid.New[agentid.Agent]().String()) }},
		"impossible id":   {nil, func(k *keyed) string { return k.sign(t, "nobody") }},
		"wrong signature": {nil, func(k *keyed) string { return stranger.sign(t, k.agent.ID.String()) }},
		"suspended":       {func(k *keyed) { k.agent.Status = agents.Suspended }, func(k *keyed) string { return k.sign(t, k.agent.ID.String()) }},
		"secret only":     {func(k *keyed) { k.registered[0].Kind = credentials.KindClientSecret }, func(k *keyed) string { return k.sign(t, k.agent.ID.String()) }},
		"key for mTLS":    {func(k *keyed) { k.registered[0].Kind = credentials.KindSelfSignedTLS }, func(k *keyed) string { return k.sign(t, k.agent.ID.String()) }},
	} {
		k := newKeyed(t, nil)
		if tt.change != nil {
			tt.change(k)
		}
		_, err := k.authenticate(t, instance, tt.sign(k))
		if err == nil || err.Code != oauth.InvalidClient || err.Description != "Client authentication failed." || err.Status != 0 {
			t.Errorf("%s: %v", name, err)
		}
		if k.queries != 1 || len(k.used) != 0 {
			t.Errorf("%s: %d queries, %d used up", name, k.queries, len(k.used))
		}
	}
}

// An agent is no client of another organization's issuer, whatever it can prove; and its assertion is not even used up there.
func TestOtherOrganizationsIssuer(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, nil)
	other := issuers.Issuer{ID: issuerID, Organization: agentid.New[agentid.Organization]()}
	text := k.sign(t, k.agent.ID.String())
	if _, err := k.authenticate(t, other, text); err == nil || err.Code != oauth.InvalidClient || len(k.used) != 0 {
		t.Errorf("%v", err)
	}
	if _, err := k.authenticate(t, issuers.Issuer{ID: issuerID, Organization: k.agent.OrganizationID}, text); err != nil {
		t.Errorf("its own: %v", err)
	}
	if _, err := k.authenticate(t, issuers.Issuer{ID: issuerID + "/o/acme", Organization: k.agent.OrganizationID}, k.sign(t, k.agent.ID.String())); err == nil {
		t.Error("an assertion for the instance was accepted by the organization's issuer")
	}
}

// When it cannot be found out whether an assertion was used before, nobody gets in.
func TestOutagesLetNobodyIn(t *testing.T) {
	t.Parallel()
	k := newKeyed(t, nil)
	k.usesErr = errors.New("connection refused")
	if _, err := k.authenticate(t, instance, k.sign(t, k.agent.ID.String())); err == nil || err.Code != oauth.TemporarilyUnavailable {
		t.Errorf("%v", err)
	}
	k = newKeyed(t, unreachable{})
	if _, err := k.authenticate(t, instance, k.sign(t, k.agent.ID.String())); err == nil || err.Code != oauth.TemporarilyUnavailable || len(k.used) != 0 {
		t.Errorf("%v", err)
	}
}

type unreachable struct{}

func (unreachable) Keys(context.Context, string, string) (*jose.KeySet, error) {
	return nil, errors.New("connection refused")
}

func TestMethodsAreThoseServed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		trust clientauth.Trust
		want  string
	}{
		"nothing configured": {clientauth.Trust{}, "client_secret_basic client_secret_post private_key_jwt self_signed_tls_client_auth"},
		"authorities": {
			clientauth.Trust{Authorities: func() *x509.CertPool { return nil }},
			"client_secret_basic client_secret_post private_key_jwt tls_client_auth self_signed_tls_client_auth",
		},
	} {
		if got := strings.Join(clientauth.NewAgentAuthenticator(nil, tt.trust, open{}).Methods(), " "); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
