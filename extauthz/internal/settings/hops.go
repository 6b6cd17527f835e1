package settings

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/possession"
	"github.com/agentidp/agentidp/internal/config"
)

// TrustedHop is a proxy between the clients and Envoy, known by its own certificate. It ends the clients' TLS connections, so
// what tokens are bound to is compared with what it says in x-forwarded-client-cert. Of everybody else that header is never
// believed, and never forwarded.
type TrustedHop struct {
	Principal         string `yaml:"principal"`         // the first URI name of its certificate, which Envoy verified
	CertificateSHA256 string `yaml:"certificateSha256"` // hexadecimal, with or without colons
}

const trustedHopsMax = 32

func (c *Config) validateHops(r *config.Report) {
	if len(c.TrustedHops) > trustedHopsMax {
		r.Errorf("trustedHops", "has %d entries, at most %d are accepted", len(c.TrustedHops), trustedHopsMax)
	}
	for i, h := range c.TrustedHops {
		field := fmt.Sprintf("trustedHops[%d]", i)
		if h.Principal == "" && h.CertificateSHA256 == "" {
			r.Errorf(field, "want principal, certificateSha256 or both")
		}
		if h.Principal != "" && (checkIdentifier(h.Principal) != nil || !strings.Contains(h.Principal, "://")) {
			r.Errorf(field+".principal", "want a URI as in the hop's certificate, such as spiffe://example.org/gateway")
		}
		if _, err := h.thumbprint(); err != nil {
			r.Errorf(field+".certificateSha256", "%v", err)
		}
	}
}

// thumbprint is the SHA-256 of the hop's certificate as tokens name theirs (RFC 8705 s3.1).
func (h *TrustedHop) thumbprint() (string, error) {
	if h.CertificateSHA256 == "" {
		return "", nil
	}
	digest, err := hex.DecodeString(strings.ReplaceAll(h.CertificateSHA256, ":", ""))
	if err != nil || len(digest) != 32 {
		return "", errors.New("want 64 hexadecimal digits, as openssl x509 -fingerprint -sha256 prints them")
	}
	return base64.RawURLEncoding.EncodeToString(digest), nil
}

// Possession is how proofs are judged. c must be valid.
func (c *Config) Possession() possession.Config {
	p := c.DPoP.possession()
	for _, h := range c.TrustedHops {
		thumbprint, _ := h.thumbprint()
		p.Hops = append(p.Hops, possession.Hop{Principal: h.Principal, CertificateSHA256: thumbprint})
	}
	return p
}
