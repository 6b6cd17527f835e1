package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// The members of cnf that are understood. jkt and x5t#S256 are registered (RFC 7800 s6.2); for SPIFFE nothing is, so the
// name is ours, and says what the value is.
const (
	memberKeyThumbprint = "jkt"
	memberCertificate   = "x5t#S256"
	memberSPIFFE        = "spiffe_id"
)

const spiffeScheme = "spiffe://"

// readConfirmation reads what the token is bound to. RFC 7800 s3.1 lets a reader ignore members it does not know; one that
// did would take a token bound to something for one bound to less. So each member must be known and well-formed.
func (i *Identity) readConfirmation(claims map[string]any) *Refusal {
	v, bound := claims[claimConfirmation]
	if !bound {
		return nil
	}
	members, ok := v.(map[string]any)
	if !ok || len(members) == 0 {
		return refuse(ReasonConstrained, "the token is bound to something that is not said")
	}
	for name, value := range members {
		text, _ := value.(string)
		switch name {
		case memberKeyThumbprint:
			i.Binding.KeyThumbprint, ok = text, isDigest(text)
		case memberCertificate:
			i.Binding.CertificateSHA256, ok = text, isDigest(text)
		case memberSPIFFE:
			i.Binding.SPIFFEID, ok = text, strings.HasPrefix(text, spiffeScheme) && isIdentifier(text)
		default:
			return refuse(ReasonConstrained, "the token is bound to something that cannot be checked here")
		}
		if !ok {
			return refuse(ReasonConstrained, "what the token is bound to is malformed")
		}
	}
	switch {
	case i.Binding.KeyThumbprint != "":
		i.Confirmation = ConfirmationDPoP
	case i.Binding.CertificateSHA256 != "":
		i.Confirmation = ConfirmationMTLS
	default:
		i.Confirmation = ConfirmationSPIFFE
	}
	return nil
}

// isDigest accepts the one base64url spelling of a SHA-256.
func isDigest(s string) bool {
	if len(s) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && !strings.ContainsAny(s, "\r\n")
}
