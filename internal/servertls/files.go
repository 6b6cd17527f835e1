package servertls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/smallfile"
)

const fileBytesMax = 1 << 20 // a certificate with its chain, or the authorities of a large mesh

// Files names where a server's certificate is.
type Files struct {
	Cert     string // the certificate and its chain, PEM
	Key      string // its private key, PEM
	ClientCA string // roots, PEM: clients must show a certificate of one of them. Empty: they need none
}

// contents are the files as they were read.
type contents struct{ cert, key, clientCA []byte }

func (c contents) equal(d contents) bool {
	return bytes.Equal(c.cert, d.cert) && bytes.Equal(c.key, d.key) && bytes.Equal(c.clientCA, d.clientCA)
}

func (f Files) read() (c contents, err error) {
	for _, file := range []struct {
		name string
		into *[]byte
	}{{f.Cert, &c.cert}, {f.Key, &c.key}, {f.ClientCA, &c.clientCA}} {
		if file.name == "" && file.into == &c.clientCA {
			continue
		}
		if *file.into, err = smallfile.Read(file.name, fileBytesMax); err != nil {
			return contents{}, err
		}
	}
	return c, nil
}

// parse judges what was read. Its errors name the file.
func (f Files) parse(c contents, now time.Time) (*material, error) {
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	if now.After(pair.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s: the certificate ended at %s", f.Cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	m := &material{pair: pair}
	if f.ClientCA == "" {
		return m, nil
	}
	m.clients = x509.NewCertPool()
	for rest := c.clientCA; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: holds a %s; want certificates alone", f.ClientCA, block.Type)
		}
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.ClientCA, err)
		}
		m.clients.AddCert(root)
		if root.NotAfter.After(m.clientsUntil) {
			m.clientsUntil = root.NotAfter
		}
	}
	if now.After(m.clientsUntil) {
		return nil, fmt.Errorf("%s: holds no certificate that has not ended", f.ClientCA)
	}
	return m, nil
}
