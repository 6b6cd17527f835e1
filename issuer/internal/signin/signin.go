// Package signin lets agents sign in to relying parties (package clients): OpenID Connect Core 1.0 with the authorization code flow, where the subject is a program.
//
//	relying party ─► pushed request (RFC 9126), or none ─► the URL goes to the agent ─► the agent follows it with its own credential ─► code ─► relying party
//	relying party ─► token endpoint: code, PKCE ─► access token, ID token, refresh token
//
// There is no page, no cookie and nobody to ask. An agent is authenticated by each request itself and by nothing that lingers, so following the URL with its
// credential is at once its login and its consent; and no page of a stranger can make it do so, as it could make a browser.
package signin

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// Lifetimes. An agent can sign in again at any time without a person, so nothing has to last.
const (
	CodeLifetime    = 60 * time.Second // RFC 6749 s4.1.2 allows ten minutes
	PushedLifetime  = 60 * time.Second // RFC 9126 s2.2
	RefreshIdleMax  = 12 * time.Hour   // a refresh token that is not used dies
	RefreshTotalMax = 24 * time.Hour   // of a sign-in, however often it is refreshed
)

// liveTokensMax is how many access tokens of one sign-in may be alive at once: what has to be remembered to revoke them.
const liveTokensMax = 32

// The scopes of OpenID Connect. They are about the ID token and /agent-info and need no mention in an agent's record.
const (
	OpenID        = "openid"
	Profile       = "profile"        // name, updated_at
	AgentScope    = "agent"          // org_id, agent
	OfflineAccess = "offline_access" // a refresh token, when the client's record allows it
)

// Scopes is what discovery lists.
func Scopes() []string { return []string{OpenID, Profile, AgentScope, OfflineAccess} }

// SignIn is one agent at one relying party: at first a code, then the family of its refresh tokens.
type SignIn struct {
	ID             agentid.SignIn
	OrganizationID agentid.Organization // of the agent
	Client         string               // client_id
	Agent          agentid.Agent
	Credential     agentid.Credential // the agent authenticated with it; the sign-in dies with it
	Issuer         string
	Scopes         []string
	Audience       []string        // of its access tokens
	Details        json.RawMessage // RFC 9396, as they were asked for; nil for none
	Authentication tokens.Authentication
	Nonce          string
	RedirectURI    string

	CodeChallenge string // S256; "" only for a client that need not use PKCE
	CodeHash      []byte
	CodeKey       string // dpop_jkt, RFC 9449 s10; "" for none
	CodeExpiresAt time.Time
	RedeemedAt    time.Time // zero until then

	RefreshHash      []byte // nil when there is none
	RefreshExpiresAt time.Time
	Confirmation     tokens.Confirmation // what the refresh tokens of a public client are bound to
	Tokens           []issuance.SignInToken
	CreatedAt        time.Time
	ExpiresAt        time.Time // of everything: also of what has to be known to see a code or token that comes back
	RevokedAt        time.Time
}

// LiveTokens are the access tokens of the sign-in that have not expired.
func (s SignIn) LiveTokens(now time.Time) []issuance.SignInToken {
	return slices.DeleteFunc(slices.Clone(s.Tokens), func(t issuance.SignInToken) bool { return !t.ExpiresAt.After(now) })
}

// PushedRequest is a pushed authorization request, RFC 9126. It is found by its key, for its client and at its issuer alone.
type PushedRequest struct {
	OrganizationID agentid.Organization // of the client; zero when it has none
	Client         string               // client_id
	Issuer         string
	Key            [32]byte // keyed hash of the request_uri
	Parameters     string   // as a query
	ExpiresAt      time.Time
}

// Store keeps pushed requests and sign-ins.
type Store interface {
	// PushRequest changes nothing that lasts: what comes of it is recorded with the sign-in.
	// NotFound when the client is gone.
	PushRequest(ctx context.Context, p PushedRequest) error
	// PushedRequest gives the parameters back; NotFound when there is none that is unexpired. It can be read until a sign-in used it up.
	PushedRequest(ctx context.Context, p PushedRequest) (string, error)
	// CreateSignIn stores the sign-in with its audit row, and uses the pushed request up. NotFound when the agent was suspended since it authenticated, its credential
	// is gone, or the client was deleted; issuance.UsedError when another sign-in has used the pushed request. That of a client without an organization is used up
	// whatever becomes of the sign-in.
	CreateSignIn(ctx context.Context, actor audit.Actor, s SignIn, pushed *[32]byte) error
	// OrganizationOfSignIn finds a sign-in to a client without an organization; NotFound when it is to another client.
	OrganizationOfSignIn(ctx context.Context, client string, id agentid.SignIn) (agentid.Organization, error)
	SignIn(ctx context.Context, org agentid.Organization, id agentid.SignIn) (SignIn, error)
	// SignInGood reports whether a token could be recorded for a sign-in now: the agent is active, neither it nor its organization was revoked since it authenticated, and the
	// credential it used is there and unexpired.
	SignInGood(ctx context.Context, s SignIn) (bool, error)
	// SignedIn reports whether an agent signed in to a client by an authentication of this time or later. It is asked about the last minute.
	SignedIn(ctx context.Context, org agentid.Organization, client string, agent agentid.Agent, at time.Time) (bool, error)
	// RevokeSignIn ends a sign-in: nothing of it can be redeemed any more, and its access tokens are on the revocation list. Once; nothing happens after.
	RevokeSignIn(ctx context.Context, actor audit.Actor, org agentid.Organization, id agentid.SignIn, reason string) error
}

// signInOf finds a sign-in where it can only be: in the client's organization, or in that of the agent when the client has none. That it is to this client is for the
// caller to see.
func signInOf(ctx context.Context, store Store, org agentid.Organization, client string, id agentid.SignIn) (SignIn, error) {
	if org.IsZero() {
		var err error
		if org, err = store.OrganizationOfSignIn(ctx, client, id); err != nil {
			return SignIn{}, err
		}
	}
	return store.SignIn(ctx, org, id)
}
