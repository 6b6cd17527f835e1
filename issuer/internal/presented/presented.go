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
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
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
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}

// Judge says what a token of ours is worth at this moment. tokenstate.Judge implements it.
type Judge interface {
	Check(ctx context.Context, issuer issuers.Issuer, text string) (*tokenstate.Token, error)
}

// Gate limits how often a source presents tokens that are not good. ratelimit.Gate is one; the name of the client is "".
type Gate interface {
	Admit(ctx context.Context, client string) error
	Failed(ctx context.Context, client string)
}

// Checker checks the tokens presented to the issuer's endpoints.
type Checker struct {
	judge  Judge
	agents Agents
	proofs *dpop.Checker
	gate   Gate
	now    func() time.Time
}

// New returns a Checker.
func New(j Judge, a Agents, proofs *dpop.Checker, gate Gate, now func() time.Time) *Checker {
	return &Checker{judge: j, agents: a, proofs: proofs, gate: gate, now: now}
}

// Token is a good token for the issuer, whose subject is an active agent, presented by somebody who holds what it is bound to.
type Token struct {
	Agent          agents.Agent // its subject
	Credential     agentid.Credential
	CredentialKind string // of the credential it was issued for
	ClientID       string
	Scopes         []string
	IssuedAt       time.Time
	Delegated      bool   // somebody acts for the subject
	Held           bool   // possession of a key was proven in this very request
	NextNonce      string // for the client's next proof; "" for none

	confirmation tokens.Confirmation
}

// Own reports whether the token is the subject's own: nobody else got it, and nobody acts for it.
func (t *Token) Own() bool { return t.ClientID == t.Agent.ID.String() && !t.Delegated }

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
	if err := c.gate.Admit(r.Context(), ""); err != nil {
		return nil, err
	}
	t, err := c.check(r, path, scheme, text)
	if e, ok := errors.AsType[*oauth.Error](err); ok && e.Code == InvalidToken {
		c.gate.Failed(r.Context(), "")
	}
	return t, err
}

func (c *Checker) check(r *http.Request, path, scheme, text string) (*Token, error) {
	ctx := r.Context()
	issuer, now := issuers.From(ctx), c.now()
	judged, err := c.judge.Check(ctx, issuer, text)
	if errors.Is(err, tokenstate.ErrInactive) {
		return nil, refuse(err)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	t, err := read(judged, issuer)
	if err != nil {
		return nil, refuse(err)
	}
	if err := c.confirm(r, issuer.URL(path), scheme, text, t, now); err != nil {
		return nil, err
	}
	return t, c.describe(ctx, t)
}

// confirm wants proof of what the token is bound to, and that a token that is not bound is not presented as if it were.
func (c *Checker) confirm(r *http.Request, uri, scheme, text string, t *Token, now time.Time) error {
	bound := t.confirmation.KeyThumbprint != ""
	if bound != (scheme == dpopScheme) { // RFC 9449 s7.1, s7.2: no downgrade
		return refuse(errors.New("presented by the wrong scheme"))
	}
	if want := t.confirmation.CertificateSHA256; want != "" {
		if certificateThumbprint(r.TLS) != want {
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
	case proof.Thumbprint != t.confirmation.KeyThumbprint:
		return refuse(errors.New("the proof is of another key"))
	}
	err = c.agents.UseUp(r.Context(), t.Agent.OrganizationID, proof.Use)
	if _, used := issuance.AsUsed(err); used {
		return asRefusal(&oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The DPoP proof was used before."})
	}
	if err != nil {
		return unavailable(err)
	}
	t.Held, t.NextNonce = true, proof.NextNonce
	return nil
}

// describe adds what the database says about the agent now.
func (c *Checker) describe(ctx context.Context, t *Token) error {
	agent, err := c.agents.Get(ctx, t.Agent.ID)
	if problem.KindOf(err) == problem.NotFound {
		return refuse(err)
	}
	if err != nil {
		return unavailable(err)
	}
	if agent.OrganizationID != t.Agent.OrganizationID || agent.Status != agents.Active {
		return refuse(errors.New("the agent is not active"))
	}
	credentials, err := c.agents.Credentials(ctx, agent.ID)
	if err != nil {
		return unavailable(err)
	}
	at := slices.IndexFunc(credentials, func(k agents.Credential) bool { return k.ID == t.Credential })
	if at < 0 {
		return refuse(errors.New("the credential is gone"))
	}
	t.Agent, t.CredentialKind = agent, credentials[at].Kind
	return nil
}

func unavailable(err error) *oauth.Error {
	if problem.KindOf(err) == problem.Internal {
		return oauth.Internal(err)
	}
	return oauth.Unavailable(err)
}

// certificateThumbprint is x5t#S256 (RFC 8705 s3.1) of the certificate whose key the other end of the connection proved to have, "" without one.
func certificateThumbprint(connection *tls.ConnectionState) string {
	if connection == nil || len(connection.PeerCertificates) == 0 {
		return ""
	}
	digest := sha256.Sum256(connection.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
