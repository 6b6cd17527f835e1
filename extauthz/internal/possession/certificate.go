package possession

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
)

// certificateSHA256 is the thumbprint (RFC 8705 s3.1) of the peer certificate as Envoy passes it, URL-encoded PEM, or ""
// when there is none. Envoy made it from the handshake, in which the client proved to have its private key.
func certificateSHA256(urlEncodedPEM string) string {
	der := certificateDER(urlEncodedPEM)
	if der == nil {
		return ""
	}
	digest := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

// certificateDER decodes the one certificate of a URL-encoded PEM text, nil when there is not exactly one.
func certificateDER(urlEncodedPEM string) []byte {
	if urlEncodedPEM == "" {
		return nil
	}
	text, err := url.PathUnescape(urlEncodedPEM) // "+" stands for itself, in base64 too
	if err != nil {
		return nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil // Envoy sends the leaf alone; of several none is chosen
	}
	return block.Bytes
}
