// Package identity turns a token into a verified Identity against one Snapshot. It does no I/O: what is not in the
// snapshot is not known, and what is not known is refused, or cannot be decided when it is ours to know.
package identity

import (
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/internal/policy"
)

// Where an identity comes from.
const (
	OriginLocal     = "local"
	OriginFederated = "federated" // of an issuer that is configured as a partner's
)

// What a token is bound to. Of a token that is bound to several all must be proved; the first of dpop, mtls, spiffe is shown.
const (
	ConfirmationNone   = "none"   // whoever holds the token may use it
	ConfirmationDPoP   = "dpop"   // a key, proved with each request (RFC 9449)
	ConfirmationMTLS   = "mtls"   // a client certificate (RFC 8705)
	ConfirmationSPIFFE = "spiffe" // a workload identity of the connection
)

// Binding is what a token demands of whoever presents it (cnf, RFC 7800). What is empty is not demanded.
type Binding struct {
	KeyThumbprint     string // cnf.jkt: RFC 7638, base64url (RFC 9449 s6.1)
	CertificateSHA256 string // cnf["x5t#S256"]: of the DER, base64url (RFC 8705 s3.1)
	SPIFFEID          string // cnf.spiffe_id: of the peer, as it is
}

// Identity is who calls, as far as the token proves it. It is never changed after it was verified, and shared between
// requests.
type Identity struct {
	Subject        string // visible characters, at most 512 bytes
	OrganizationID string // visible ASCII, at most 512 bytes, as is ClientID
	Issuer         string
	Origin         string
	ClientID       string // may be empty
	Scopes         []string
	AgentName      string   // agent.name; may be empty, may hold any characters
	Actors         []string // sub of each link of the act chain, nearest first
	Confirmation   string
	Binding        Binding
	TokenID        string
	KeyID          string
	IssuedAt       int64 // seconds
	ExpiresAt      int64
	NotBefore      int64  // 0 when absent
	CredentialID   string // what the token was got with; empty when the issuer does not say
	PartnerID      string // whose issuer it is, by configuration; empty when local

	links    []link // what Actors say beside their sub, one each; nil when nothing
	document policy.Packed
	caller   checkresp.Caller
}

// Document is input.identity for policies (docs/policies.md#input), packed once per verified token.
func (i *Identity) Document() policy.Packed { return i.document }

// Caller is what the upstream is told about the identity, made once per verified token; nil for nobody.
func (i *Identity) Caller() *checkresp.Caller {
	if i == nil {
		return nil
	}
	return &i.caller
}
