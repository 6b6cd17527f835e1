// Package issuers knows as whom a request is answered: the instance's issuer, or the issuer of one organization at /o/{slug}. Each has its own
// identifier, keys and metadata, so a token of one never verifies as another's.
//
// A handler takes the Issuer from the request's context (From) and needs nothing else: what it signs is signed with Issuer.Keys and says Issuer.ID, what it
// accepts (aud of an assertion, iss of a token that is introspected) is Issuer.ID, the URLs it tells are Issuer.URL, and before it believes in a client it asks
// Issuer.Admits. Resolve has put it there before any handler runs, and has answered 404 where there is no such issuer. An operation that also exists per organization
// has a second path in the contract, /o/{slug}/…, whose method calls the first one's.
package issuers

import (
	"context"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// Keys are the signing keys of one issuer as they are now. keys.Ring implements it.
type Keys interface {
	Signer(use keys.Use) (*jose.SigningKey, error)
	KeySet() keys.Published
}

// Issuer is one issuer. The zero value signs nothing and admits nobody.
type Issuer struct {
	// ID is the iss of its tokens, and the audience of what is addressed to it: compared as a string.
	ID string
	// Organization it belongs to; zero for the instance's issuer.
	Organization agentid.Organization
	Keys         Keys

	closed bool // the instance's, where organizations have issuers of their own and no other
}

// URL of an endpoint, which begins with a slash.
func (i Issuer) URL(path string) string { return i.ID + path }

// Admits reports whether agents of an organization are clients of this issuer. To any other issuer they are unknown: the answer is that to a client that does not exist.
func (i Issuer) Admits(org agentid.Organization) bool {
	switch {
	case i.ID == "" || i.closed || org.IsZero():
		return false
	case i.Organization.IsZero():
		return true
	}
	return i.Organization == org
}

type contextKey struct{}

// With returns a context whose From is i.
func With(ctx context.Context, i Issuer) context.Context {
	return context.WithValue(ctx, contextKey{}, i)
}

// From is the issuer that a request addresses; the zero Issuer outside of a request.
func From(ctx context.Context) Issuer {
	i, _ := ctx.Value(contextKey{}).(Issuer)
	return i
}
