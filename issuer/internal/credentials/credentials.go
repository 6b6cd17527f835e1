// Package credentials says what OAuth clients of either kind, agents and relying parties, prove themselves with: the kinds there are, what is registered of each, and how
// a proof is held against it. Whose a credential is, and since when, is for packages agents and clients.
package credentials

import (
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// The kinds of credential. But for the client secret each has the name of its one authentication method.
const (
	KindClientSecret  = "client_secret"
	KindPrivateKeyJWT = "private_key_jwt"             // RFC 7523 s2.2
	KindTLS           = "tls_client_auth"             // RFC 8705 s2.1
	KindSelfSignedTLS = "self_signed_tls_client_auth" // RFC 8705 s2.2
	KindSPIFFEJWT     = "spiffe_jwt"                  // draft-ietf-oauth-spiffe-client-auth s3.1
	KindSPIFFEX509    = "spiffe_x509"                 // draft-ietf-oauth-spiffe-client-auth s3.2
)

// Registered is what an unexpired credential is checked against: the keyed hash of a client secret, else a registration.
type Registered struct {
	Credential   agentid.Credential
	Kind         string
	Hash         []byte // nil but for a client secret
	Registration Registration
	LastUsedAt   time.Time // of a relying party's, to the minute; that of an agent's is written with its tokens and not read here
}

const (
	// PerKindMax is how many unexpired credentials of one kind a client may have: the one in use and the one it is moving to.
	PerKindMax = 2
	// LifetimeMin keeps a credential from expiring before it can be delivered.
	LifetimeMin = time.Minute
	// LifetimeMax is what "long-lived" may mean at most.
	LifetimeMax = 10 * 365 * 24 * time.Hour
	// OverlapMax is how long a replaced secret may keep working.
	OverlapMax = 30 * 24 * time.Hour
)

// CheckLifetime says why a credential cannot be made to work for so long. 0 means no expiry.
func CheckLifetime(d time.Duration) error {
	if d != 0 && (d < LifetimeMin || d > LifetimeMax) {
		return fields.Invalid("/lifetimeSeconds", "lifetime_range", fmt.Sprintf("must be 0 (no expiry) or %d to %d", LifetimeMin/time.Second, LifetimeMax/time.Second))
	}
	return nil
}

// CheckOverlap says why a credential that is replaced cannot keep working for so long.
func CheckOverlap(d time.Duration) error {
	if d < 0 || d > OverlapMax {
		return fields.Invalid("/overlapSeconds", "overlap_range", fmt.Sprintf("must be 0 to %d", OverlapMax/time.Second))
	}
	return nil
}
