// Package clients holds relying parties: the OAuth clients that agents sign in to. An agent is a client too, of its own (package agents), and is never one of
// these: its id begins with agt_, theirs with cli_, so that a client_id says which of the two it names before anything is looked up.
//
// A relying party belongs to one organization, and the agents of that organization can sign in to it; to those of any other it does not exist. It holds no
// authority of its own: it gets no token but by a sign-in, and with it never more than both its record and the agent's allow.
package clients

import (
	"context"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Type of an application, OpenID Connect Dynamic Client Registration 1.0 s2. It decides what a redirect URI may be.
type Type string

// The types: a server behind an https URL, or a program that listens on a loopback port or owns a private-use scheme (RFC 8252 s7).
const (
	Web    Type = "web"
	Native Type = "native"
)

// Authentication is how a relying party proves itself at the token endpoint, by its name in metadata (RFC 7591 s2).
type Authentication string

// The methods. A client of None proves nothing but what PKCE proves.
const (
	None              Authentication = "none"
	ClientSecretBasic Authentication = "client_secret_basic"
	ClientSecretPost  Authentication = "client_secret_post"
)

// Authentications is every method, for metadata and for registration.
func Authentications() []Authentication {
	return []Authentication{ClientSecretBasic, ClientSecretPost, None}
}

// Client is one relying party.
type Client struct {
	ID             agentid.Client
	OrganizationID agentid.Organization
	Name           string // 1 to 100 characters, unique in the organization
	Type           Type
	Authentication Authentication
	SecretHash     []byte   // keyed hash of its secret; nil with None
	RedirectURIs   []string // 1 to 10, compared as strings but for the port of a loopback address (RFC 8252 s7.3)
	Scopes         []string // of the agents' scopes, those it may ask for; the scopes of OpenID Connect need no mention
	Audiences      []string // resources it may ask tokens for (RFC 8707); may be empty

	RefreshTokens bool // it may keep a sign-in going without the agent
	RequirePushed bool // require_pushed_authorization_requests, RFC 9126 s6
	RequireDPoP   bool // dpop_bound_access_tokens, RFC 9449 s5.2
	PKCEOptional  bool // for an old client with a secret that cannot do PKCE; refused for None
	CreatedAt     time.Time
	UpdatedAt     time.Time
	Version       int64
}

// ClientID is the OAuth client_id.
func (c Client) ClientID() string { return c.ID.String() }

// Public reports whether the client cannot keep a secret.
func (c Client) Public() bool { return c.Authentication == None }

// Changes is what differs from before, as details of an audit record; of a new client (before is zero) what it has. A new secret is named, never shown.
func (c Client) Changes(before Client) map[string]any {
	changes := make(map[string]any)
	note := func(field string, changed bool, from, to any) {
		switch {
		case changed && before.ID.IsZero():
			changes[field] = to
		case changed:
			changes[field] = map[string]any{"from": from, "to": to}
		}
	}
	note("name", c.Name != before.Name, before.Name, c.Name)
	note("type", c.Type != before.Type, before.Type, c.Type)
	note("authentication", c.Authentication != before.Authentication, before.Authentication, c.Authentication)
	note("redirectUris", !slices.Equal(c.RedirectURIs, before.RedirectURIs), before.RedirectURIs, c.RedirectURIs)
	note("scopes", !slices.Equal(c.Scopes, before.Scopes), before.Scopes, c.Scopes)
	note("audiences", !slices.Equal(c.Audiences, before.Audiences), before.Audiences, c.Audiences)
	note("refreshTokens", c.RefreshTokens != before.RefreshTokens, before.RefreshTokens, c.RefreshTokens)
	note("requirePushedRequests", c.RequirePushed != before.RequirePushed, before.RequirePushed, c.RequirePushed)
	note("requireDPoP", c.RequireDPoP != before.RequireDPoP, before.RequireDPoP, c.RequireDPoP)
	note("pkceOptional", c.PKCEOptional != before.PKCEOptional, before.PKCEOptional, c.PKCEOptional)
	if !before.ID.IsZero() && !slices.Equal(c.SecretHash, before.SecretHash) {
		changes["secret"] = "replaced"
	}
	return changes
}

// Store keeps relying parties; contracts as agents.Store. A method that takes a client's id alone finds its organization first.
type Store interface {
	// CreateClient answers Conflict when the name is taken, NotFound when there is no such organization.
	CreateClient(ctx context.Context, actor audit.Actor, c Client) (Client, error)
	Client(ctx context.Context, id agentid.Client) (Client, error)
	Clients(ctx context.Context, org agentid.Organization, after agentid.Client, limit int) ([]Client, error)
	// UpdateClient locks the row, applies change and writes it with Version+1. Id, organization and time of creation stay as they are.
	UpdateClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64, change func(*Client) error) (Client, error)
	// DeleteClient takes the client's sign-ins along: its refresh tokens and codes stop working with it.
	DeleteClient(ctx context.Context, actor audit.Actor, id agentid.Client, version int64) error
}
