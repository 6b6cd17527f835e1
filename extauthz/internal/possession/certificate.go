package possession

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
)

// certificateSHA256 is the thumbprint (RFC 8705 s3.1) of the peer certificate as Envoy passes it, URL-encoded PEM, or ""
// when there is none. Envoy made it from the handshake, in which the client proved to have its private key. What a header
// says about certificates (x-forwarded-client-cert) is not looked at: this edge ends the TLS connection, or the token
// cannot be used.
func certificateSHA256(urlEncodedPEM string) string {
	if urlEncodedPEM == "" {
		return ""
	}
	text, err := url.PathUnescape(urlEncodedPEM) // "+" stands for itself, in base64 too
	if err != nil {
		return ""
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return "" // Envoy sends the leaf alone; of several none is chosen
	}
	digest := sha256.Sum256(block.Bytes)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
