// Package servertls is the TLS of our listeners: which versions and ciphers, and a certificate, key and client authorities that follow their
// files. There is one way of doing it, for the issuer and for the sidecar.
package servertls

import "crypto/tls"

// Config is TLS 1.3, and 1.2 with forward secrecy and authenticated encryption only (RFC 9325 s4.2.1; for HTTP/2 RFC 9113 s9.2.2).
func Config(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: certificate,
		MinVersion:     tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
