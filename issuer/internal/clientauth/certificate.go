package clientauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/dn"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

// certificate is the client certificate of the connection. TLS has proven that the client holds its key, and nothing about whose it is: which of the methods it is
// used by is decided by what is registered for client_id. A header in which a proxy repeats a certificate is never looked at: whoever reaches us could write one.
type certificate struct {
	id    string
	chain []*x509.Certificate
}

func (c certificate) client() string { return c.id }

// check implements checked.
func (c certificate) check(ctx context.Context, t *Trust, registered []credentials.Registered) (proven, error) {
	var reasons []error
	for _, r := range registered {
		reason := c.matches(ctx, t, r)
		if reason == nil {
			return proven{r.Credential, credentials.Method(r.Kind), nil}, nil
		}
		if errors.Is(reason, errOtherMethod) {
			continue
		}
		reasons = append(reasons, reason)
	}
	if len(reasons) == 0 {
		_ = c.matchesName(t, credentials.Registration{}) // nothing matches it: a client without certificates, or none at all, is refused after the same work
	}
	for _, reason := range reasons {
		if errors.Is(reason, errUnknown) {
			return proven{}, unavailable(reason)
		}
	}
	return proven{}, refused(errors.Join(reasons...))
}

var (
	errOtherMethod = errors.New("not a credential for certificates")
	errUnknown     = errors.New("cannot be verified now")
	errOther       = errors.New("not the registered certificate")
)

// matches says why the certificate does not prove a credential.
func (c certificate) matches(ctx context.Context, t *Trust, r credentials.Registered) error {
	switch r.Kind {
	case credentials.KindTLS:
		return c.matchesName(t, r.Registration)
	case credentials.KindSelfSignedTLS:
		return c.matchesKey(ctx, t, r.Registration)
	case credentials.KindSPIFFEX509:
		id, err := spiffe.ParseID(r.Registration.SPIFFEID)
		if err != nil {
			return err
		}
		if err := t.Bundles.Verify(id, c.chain); errors.Is(err, spiffe.ErrNoBundle) {
			return errors.Join(errUnknown, err)
		} else if err != nil {
			return err
		}
		return nil
	}
	return errOtherMethod
}

// matchesName is tls_client_auth (RFC 8705 s2.1): signed by an authority of the operator's, for clients, and with the registered name.
func (c certificate) matchesName(t *Trust, r credentials.Registration) error {
	if t.Authorities == nil {
		return errOtherMethod
	}
	intermediates := x509.NewCertPool()
	for _, further := range c.chain[1:] {
		intermediates.AddCert(further)
	}
	leaf := c.chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.Authorities(), Intermediates: intermediates, CurrentTime: t.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return err
	}
	if !named(leaf, r) {
		return errOther
	}
	return nil
}

// named compares the one name that is registered (RFC 8705 s2.1.2). Names are compared as they are written, but for the case of host names.
func named(leaf *x509.Certificate, r credentials.Registration) bool {
	switch {
	case r.SubjectDN != "":
		want, err := dn.Parse(r.SubjectDN)
		got, ok := dn.OfCertificate(leaf.RawSubject)
		return err == nil && ok && want.Equal(got)
	case r.SANDNS != "":
		return slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.ToLower(name) == r.SANDNS })
	case r.SANURI != "":
		for _, u := range leaf.URIs {
			if u.String() == r.SANURI {
				return true
			}
		}
		return false
	case r.SANIP != "":
		want := net.ParseIP(r.SANIP)
		return slices.ContainsFunc(leaf.IPAddresses, want.Equal)
	case r.SANEmail != "":
		return slices.Contains(leaf.EmailAddresses, r.SANEmail)
	}
	return false
}

// matchesKey is self_signed_tls_client_auth (RFC 8705 s2.2): the certificate itself, or its key, is what is registered. Who signed it says nothing, so its chain is not
// looked at; that it has ended counts all the same.
func (c certificate) matchesKey(ctx context.Context, t *Trust, r credentials.Registration) error {
	leaf := c.chain[0]
	if now := t.Now(); now.Before(leaf.NotBefore.Add(-time.Second)) || now.After(leaf.NotAfter) {
		return errors.New("the certificate has ended, or has not begun")
	}
	if r.CertificateThumbprint != "" {
		digest := sha256.Sum256(leaf.Raw)
		if subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(digest[:])), []byte(r.CertificateThumbprint)) != 1 {
			return errOther
		}
		return nil
	}
	thumbprint, ok := jose.Thumbprint(leaf.PublicKey)
	if !ok {
		return errors.New("the certificate's key is of a kind that is not accepted")
	}
	keys, err := t.keysOf(ctx, r, "")
	if err != nil {
		return errors.Join(errUnknown, err)
	}
	for _, k := range keys.Keys() {
		if k.Thumbprint() == thumbprint {
			return nil
		}
	}
	return errOther
}
