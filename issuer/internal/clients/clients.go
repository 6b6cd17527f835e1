// Package clients holds relying parties: the OAuth clients that agents sign in to. An agent is a client too, of its own (package agents), and is never one of
// these: its id begins with agt_, theirs with cli_, so that a client_id says which of the two it names before anything is looked up.
//
// A relying party that is registered belongs to one organization, and the agents of that organization can sign in to it; to those of any other it does not exist. One
// that is known by the document behind its client_id (package clientdocument) belongs to none, and is there for all. Neither holds authority of its own: it gets no token but by a sign-in, and with it never more than both its record and the agent's allow.
package clients

import (
	"context"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Type of an application, OpenID Connect Dynamic Client Registration 1.0 s2. It decides what a redirect URI may be.
type Type string

// The types: a server behind an https URL, or a program that listens on a loopback port or owns a private-use scheme (RFC 8252 s7).
const (
	Web    Type = "web"
	Native Type = "native"
)

// Client is one relying party.
type Client struct {
	ID             agentid.Client
	Document       string // the URL that is its client_id; "" for a client that is registered. With it, ID and OrganizationID are zero
	OrganizationID agentid.Organization
	Name           string // 1 to 100 characters, unique in the organization
	Type           Type
	Authentication credentials.Method // the one it proves itself by wherever clients authenticate
	RedirectURIs   []string           // 1 to 10, compared as strings but for the port of a loopback address (RFC 8252 s7.3)
	Scopes         []string           // of the agents' scopes, those it may ask for; the scopes of OpenID Connect need no mention
	Audiences      []string           // resources it may ask tokens for (RFC 8707); may be empty

	RefreshTokens bool // it may keep a sign-in going without the agent
	RequirePushed bool // require_pushed_authorization_requests, RFC 9126 s6
	RequireDPoP   bool // dpop_bound_access_tokens, RFC 9449 s5.2
	// RequireCertificate binds its access tokens to its TLS client certificate, and without one it gets none (tls_client_certificate_bound_access_tokens, RFC 8705 s3.4).
	RequireCertificate bool
	PKCEOptional       bool // for an old client with a secret that cannot do PKCE; refused for None
	CreatedAt          time.Time
	UpdatedAt          time.Time
	Version            int64
}

// ClientID is the OAuth client_id.
func (c Client) ClientID() string {
	if c.Document != "" {
		return c.Document
	}
	return c.ID.String()
}

// Organization is whose client it is; zero for one that is nobody's.
func (c Client) Organization() agentid.Organization { return c.OrganizationID }

// Admits reports whether agents of an organization can sign in to the client.
func (c Client) Admits(org agentid.Organization) bool {
	return c.Document != "" || c.OrganizationID == org
}

// Public reports whether the client has nothing to prove itself with.
func (c Client) Public() bool { return c.Authentication == credentials.None }

// Changes is what differs from before, as details of an audit record; of a new client (before is zero) what it has.
func (c Client) Changes(before Client) map[string]any {
	changes := audit.NewDifferences(before.ID.IsZero())
	audit.Compare(changes, "name", before.Name, c.Name)
	audit.Compare(changes, "type", before.Type, c.Type)
	audit.Compare(changes, "authentication", before.Authentication, c.Authentication)
	audit.CompareLists(changes, "redirectUris", before.RedirectURIs, c.RedirectURIs)
	audit.CompareLists(changes, "scopes", before.Scopes, c.Scopes)
	audit.CompareLists(changes, "audiences", before.Audiences, c.Audiences)
	audit.Compare(changes, "refreshTokens", before.RefreshTokens, c.RefreshTokens)
	audit.Compare(changes, "requirePushedRequests", before.RequirePushed, c.RequirePushed)
	audit.Compare(changes, "requireDPoP", before.RequireDPoP, c.RequireDPoP)
	audit.Compare(changes, "requireCertificate", before.RequireCertificate, c.RequireCertificate)
	audit.Compare(changes, "pkceOptional", before.PKCEOptional, c.PKCEOptional)
	return changes.Details
}

// Store keeps relying parties and their credentials; contracts as agents.Store. A method that takes a client's id alone finds its organization first.
type Store interface {
	// CreateClient answers Conflict when the name is taken, NotFound when there is no such organization. first is its first credential, nil with None; hash that of
	// a secret.
	CreateClient(ctx context.Context, actor audit.Actor, c Client, first *Credential, hash []byte) (Client, error)
	Client(ctx context.Context, id agentid.Client) (Client, error)
	Clients(ctx context.Context, org agentid.Organization, after agentid.Client, limit int) ([]Client, error)
	// UpdateClient locks the row, applies change and writes it with Version+1. Id, organization and time of creation stay as they are. Conflict when the
	// authentication becomes one that needs another kind of credential while the client has any.
	UpdateClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*Client) error) (Client, error)
	// DeleteClient takes the client's sign-ins and credentials along: its refresh tokens and codes stop working with it.
	DeleteClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error

	// CreateClientCredential refuses (Conflict) a kind that is not that of the client's authentication, and a third credential that is unexpired at c.CreatedAt.
	CreateClientCredential(ctx context.Context, actor audit.Actor, c Credential, hash []byte) (Credential, error)
	ClientCredentials(ctx context.Context, client agentid.Client) ([]Credential, error)
	// RotateClientCredential is agents.Store.RotateCredential.
	RotateClientCredential(ctx context.Context, actor audit.Actor, old agentid.Credential, next Credential, nextHash []byte, overlapUntil time.Time) (Credential, error)
	DeleteClientCredential(ctx context.Context, actor audit.Actor, client agentid.Client, id agentid.Credential) error

	// RelyingPartyForAuthentication is agents.Store.ClientForAuthentication: one query that costs the same whether there is such a client or not.
	RelyingPartyForAuthentication(ctx context.Context, id agentid.Client, now time.Time) (Client, []credentials.Registered, error)
	// ClientCredentialUsed notes that a credential was used, to the minute. It never goes back.
	ClientCredentialUsed(ctx context.Context, c Client, id agentid.Credential, at time.Time) error
}
