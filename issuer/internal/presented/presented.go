// Package presented is what protects the issuer's own resources: access tokens that are presented to it (RFC 6750, RFC 9449 s7, RFC 8705 s3), checked as strictly as
// a sidecar would, and then against the database, which knows more and at once.
package presented

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// The schemes a token may be presented by.
const (
	bearerScheme = "Bearer"
	dpopScheme   = "DPoP"
)

// Agents looks agents up and remembers what may be used once.
type Agents interface {
	Get(ctx context.Context, id agentid.Agent) (agents.Agent, error)
	Credentials(ctx context.Context, agent agentid.Agent) ([]agents.Credential, error)
	UseUp(ctx context.Context, org agentid.Organization, use agents.SingleUse) error
}

// Checker checks the tokens presented to the issuer's endpoints.
type Checker struct {
	agents Agents
	proofs *dpop.Checker
	now    func() time.Time
}

// New returns a Checker.
func New(a Agents, proofs *dpop.Checker, now func() time.Time) *Checker {
	return &Checker{agents: a, proofs: proofs, now: now}
}

// Token is a good token, whose subject is an active agent, presented by somebody who holds what it is bound to.
type Token struct {
	*tokens.Verified
	Agent          agents.Agent // its subject
	CredentialKind string       // of the credential it was issued for
	Held           bool         // possession of a key was proven in this very request
	NextNonce      string       // for the client's next proof; "" for none
}

// Text finds the token of a request, by exactly one of the ways of RFC 6750 s2 and RFC 9449 s7.1: the Authorization header, or access_token of a form ("" for
// none). "" is a request without one. The third way, in the URL, is refused by RFC 9700 s4.3.2.
func Text(r *http.Request, posted string) (scheme, text string, err error) {
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) > 1, len(headers) == 1 && posted != "":
		return "", "", &oauth.Error{Code: oauth.InvalidRequest, Description: "A token must be presented once."}
	case posted != "":
		return bearerScheme, posted, nil
	case len(headers) == 0:
		return "", "", nil
	}
	name, text, _ := strings.Cut(headers[0], " ")
	for _, known := range []string{bearerScheme, dpopScheme} {
		if strings.EqualFold(name, known) && text != "" {
			return known, text, nil
		}
	}
	return "", "", &oauth.Error{Code: oauth.InvalidRequest, Description: "A token is presented as Bearer or DPoP."}
}

// Check judges the token that a request to the endpoint at path presents. Every error is an *oauth.Error for Refuse.
func (c *Checker) Check(r *http.Request, path, scheme, text string) (*Token, error) {
	ctx := r.Context()
	issuer, now := issuers.From(ctx), c.now()
	v, err := tokens.Verify(issuer, text, issuer.ID, now)
	if err != nil {
		return nil, refuse(err)
	}
	if !issuer.Admits(v.OrganizationID) {
		return nil, refuse(errors.New("the organization is not the issuer's"))
	}
	t := &Token{Verified: v}
	if err := c.confirm(r, issuer.URL(path), scheme, text, t, now); err != nil {
		return nil, err
	}
	return t, c.live(ctx, t, now)
}

// confirm wants proof of what the token is bound to, and that a token that is not bound is not presented as if it were.
func (c *Checker) confirm(r *http.Request, uri, scheme, text string, t *Token, now time.Time) error {
	bound := t.Confirmation.KeyThumbprint != ""
	if bound != (scheme == dpopScheme) { // RFC 9449 s7.1, s7.2: no downgrade
		return refuse(errors.New("presented by the wrong scheme"))
	}
	if want := t.Confirmation.CertificateSHA256; want != "" {
		if CertificateThumbprint(r.TLS) != want {
			return refuse(errors.New("presented without its certificate"))
		}
		t.Held = true
	}
	if !bound {
		return nil
	}
	proof, err := c.proofs.Check(r, uri, text, now)
	switch {
	case err != nil:
		return asRefusal(err)
	case proof == nil:
		return asRefusal(c.proofs.Demand(now))
	case proof.Thumbprint != t.Confirmation.KeyThumbprint:
		return refuse(errors.New("the proof is of another key"))
	}
	err = c.agents.UseUp(r.Context(), t.OrganizationID, proof.Use)
	if _, used := agents.AsUsed(err); used {
		return asRefusal(&oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The DPoP proof was used before."})
	}
	if err != nil {
		return oauth.Unavailable(err)
	}
	t.Held, t.NextNonce = true, proof.NextNonce
	return nil
}

// live asks the database what the token cannot say: whether its agent is active and its credential is still there.
func (c *Checker) live(ctx context.Context, t *Token, now time.Time) error {
	id, err := agentid.Parse[agentid.Agent](t.Subject)
	if err != nil {
		return refuse(err) // of somebody who is no agent of ours: nothing here is about them
	}
	agent, err := c.agents.Get(ctx, id)
	if problem.KindOf(err) == problem.NotFound {
		return refuse(err)
	}
	if err != nil {
		return oauth.Unavailable(err)
	}
	if agent.OrganizationID != t.OrganizationID || agent.Status != agents.Active || t.IssuedAt.Before(agent.TokensNotBefore) {
		return refuse(errors.New("the agent is not active, or was not since"))
	}
	credentials, err := c.agents.Credentials(ctx, id)
	if err != nil {
		return oauth.Unavailable(err)
	}
	at := slices.IndexFunc(credentials, func(k agents.Credential) bool { return k.ID == t.Credential })
	if at < 0 {
		return refuse(errors.New("the credential is gone"))
	}
	t.Agent, t.CredentialKind = agent, credentials[at].Kind
	return nil
}

// CertificateThumbprint is x5t#S256 (RFC 8705 s3.1) of the certificate whose key the other end of the connection proved to have, "" without one.
func CertificateThumbprint(connection *tls.ConnectionState) string {
	if connection == nil || len(connection.PeerCertificates) == 0 {
		return ""
	}
	digest := sha256.Sum256(connection.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
