// Package localca is a certificate authority for one machine: it lets a development system and tests speak TLS as production does.
//
// Its keys never leave the folder they were made in, its certificates name loopback only unless told otherwise, and nothing asks a system trust store to believe it.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const (
	authorityLifetime = 5 * 365 * 24 * time.Hour
	// leafLifetime stays below the 398 days browsers accept.
	leafLifetime = 90 * 24 * time.Hour
	// clockSkew is how far behind another clock of the same machine (a container's, a VM's) may be.
	clockSkew  = 5 * time.Minute
	serialBits = 127
)

// Loopback names this machine to itself.
func Loopback() []string { return []string{"localhost", "127.0.0.1", "::1"} }

// Pair is a certificate and its private key, PEM.
type Pair struct{ Certificate, Key []byte }

// Authority signs server certificates.
type Authority struct {
	Pair
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New makes an ECDSA P-256 authority that may sign server certificates and nothing that could sign others.
func New(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "AgentIdP development CA", Organization: []string{"AgentIdP development, this machine only"}},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, // RFC 5280 4.2.1.9
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	return Load(pair)
}

// Load reads an authority from its PEM form.
func Load(pair Pair) (*Authority, error) {
	certificate, err := parseCertificate(pair.Certificate)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(pair.Key)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return &Authority{Pair: pair, certificate: certificate, key: key}, nil
}

// Server makes a server certificate for names, which are host names and IP addresses.
func (a *Authority) Server(now time.Time, names ...string) (Pair, error) {
	if len(names) == 0 {
		return Pair{}, errors.New("a server certificate needs a name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(leafLifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, a.certificate, key, a.key)
}

// serves reports whether pair is a certificate of this authority that names all of names and lasts at least until then.
func (a *Authority) serves(pair Pair, until time.Time, names ...string) bool {
	leaf, err := parseCertificate(pair.Certificate)
	if err != nil || leaf.CheckSignatureFrom(a.certificate) != nil || until.After(leaf.NotAfter) {
		return false
	}
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	block, _ := pem.Decode(pair.Key)
	if block == nil {
		return false
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return false
	}
	private, ok := key.(*ecdsa.PrivateKey)
	return ok && private.PublicKey.Equal(leaf.PublicKey)
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (Pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return Pair{}, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1)) // RFC 5280 4.1.2.2: positive
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return Pair{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return nil, errors.New("not exactly one PEM certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return certificate, nil
}
