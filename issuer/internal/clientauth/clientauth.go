// Package clientauth authenticates OAuth clients. A request proves itself by exactly one method: what it presents is looked at as a whole before anything of it
// is tried, so that a request using two methods is refused for that.
//
//	read: one proof ─► the client it names, an agent or a relying party ─► the credential registered for that proof ─► a client of this issuer? ─► used once
//
// A client that does not exist and one with the wrong credential get the same answer after about the same work.
package clientauth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

// AuthenticatedAgent is an agent with the credential that it proved to hold. Method says how; it is "" of an agent that did so in an earlier request.
type AuthenticatedAgent struct {
	agents.Agent
	Credential agentid.Credential
	Method     credentials.Method
}

// Agents are the registered agents. Its contract: every failed authentication is credentials.ErrAuthentication after the same work, whether the client exists or
// not; anything else is a failure of ours.
type Agents interface {
	AuthenticateSecret(ctx context.Context, clientID, secret string) (agents.Agent, agentid.Credential, error)
	Authenticate(ctx context.Context, clientID string, check credentials.Check) (agents.Agent, agentid.Credential, error)
	// UseUp fails with an issuance.UsedError for what was used before.
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}

// KeySource gives key sets that clients publish. clientkeys.Source is one.
type KeySource interface {
	Keys(ctx context.Context, url, kid string) (*jose.KeySet, error)
}

// Trust is what proofs are checked with besides what clients registered.
type Trust struct {
	Keys KeySource // nil: clients register their keys themselves
	// CheckKeysURL refuses URLs that Keys never asks. nil: none is known before.
	CheckKeysURL func(rawURL string) error
	// Authorities signs certificates of clients for tls_client_auth; it is asked at each request. nil: the method is not served.
	Authorities func() *x509.CertPool
	Bundles     *spiffe.Bundles // nil: the methods of SPIFFE are not served
	Now         func() time.Time
}

// AgentAuthenticator authenticates agents.
type AgentAuthenticator struct {
	agents Agents
	trust  Trust
	gate   Gate
}

// NewAgentAuthenticator returns one over the registered agents, behind a gate.
func NewAgentAuthenticator(a Agents, t Trust, g Gate) *AgentAuthenticator {
	return &AgentAuthenticator{a, t, g}
}

// Methods is every method served, for metadata.
func (a *AgentAuthenticator) Methods() []string {
	methods := []string{string(credentials.ClientSecretBasic), string(credentials.ClientSecretPost), string(credentials.PrivateKeyJWT)}
	if a.trust.Authorities != nil {
		methods = append(methods, string(credentials.TLS))
	}
	methods = append(methods, string(credentials.SelfSignedTLS))
	if a.trust.Bundles != nil {
		methods = append(methods, string(credentials.SPIFFEJWT), string(credentials.SPIFFEX509))
	}
	return methods
}

// Algorithms is token_endpoint_auth_signing_alg_values_supported (RFC 8414 s2): what some credential may be registered for.
func Algorithms() []string { return credentials.AssertionAlgorithms() }

// Admits says why a credential of a kind cannot be used here, so that none is registered that would never work.
func (a *AgentAuthenticator) Admits(kind string, r credentials.Registration) error {
	refuse := func(field, code, detail string) error {
		return &problem.Error{Kind: problem.Invalid, Field: field, Code: code, Detail: detail}
	}
	switch kind {
	case credentials.KindTLS:
		if a.trust.Authorities == nil {
			return refuse("/kind", "kind_not_served", "the issuer knows no certification authority of clients (tls.clientCA)")
		}
	case credentials.KindPrivateKeyJWT, credentials.KindSelfSignedTLS:
		if r.KeysURL != "" && a.trust.CheckKeysURL != nil && a.trust.CheckKeysURL(r.KeysURL) != nil {
			return refuse("/registration/jwksUri", "jwks_uri_unreachable", "must not be at an address that the issuer never asks (clientKeys)")
		}
	case credentials.KindSPIFFEJWT, credentials.KindSPIFFEX509:
		if id, err := spiffe.ParseID(r.SPIFFEID); err == nil && !a.trust.Bundles.Serves(id.TrustDomain) {
			return refuse("/registration/spiffeId", "trust_domain_unknown", "the issuer does not know this trust domain (spiffe)")
		}
	}
	return nil
}

// Authenticate returns the agent, or an *oauth.Error. A client assertion is used up by it, whatever becomes of the request.
func (a *AgentAuthenticator) Authenticate(r *http.Request, form oauth.Form) (AuthenticatedAgent, error) {
	p, err := read(r, form)
	if err != nil {
		return AuthenticatedAgent{}, err
	}
	return a.authenticate(r.Context(), p)
}

func (a *AgentAuthenticator) authenticate(ctx context.Context, p proof) (AuthenticatedAgent, error) {
	agent, credential, method, err := prove(ctx, p, &a.trust, a.agents.UseUp, a.gate, registry[agents.Agent]{
		bySecret: func(ctx context.Context, s secret) (agents.Agent, agentid.Credential, error) {
			return a.agents.AuthenticateSecret(ctx, s.id, s.value)
		},
		byCheck: a.agents.Authenticate,
	})
	return AuthenticatedAgent{agent, credential, method}, err
}

var errOtherOrganization = errors.New("no client of this issuer")

// asOAuth is the one place where the reason of a failure stops: it is for the operator's log (oauth.Error.Err), and not for who asked.
func asOAuth(err error) *oauth.Error {
	if failure, ok := errors.AsType[*oauth.Error](err); ok {
		return failure
	}
	_, used := issuance.AsUsed(err)
	switch {
	case errors.Is(err, credentials.ErrAuthentication):
		if err == credentials.ErrAuthentication { //nolint:errorlint // nothing more is known
			err = nil
		}
		return failed(err)
	case used:
		return failed(err)
	}
	return oauth.From(err)
}

// failed is one answer for every reason.
func failed(reason error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed.", Err: reason}
}
