package possession

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// ForwardedHeader is where a proxy that ends TLS connections says whose certificate it saw. Any client can write it.
const ForwardedHeader = "x-forwarded-client-cert"

// Hop is a proxy in front of Envoy, known by the certificate of its own connection to Envoy. What is set must hold; a Hop
// without anything set is nobody.
type Hop struct {
	Principal         string // as Envoy reports it, such as spiffe://example.org/gateway
	CertificateSHA256 string // base64url, as in x5t#S256
}

// peer is who is at the other end of the TLS connection that the caller made. An empty field is nobody's.
type peer struct{ certificateSHA256, spiffeID string }

// Believes reports whether the certificate header of a request comes from a hop that is trusted, and can be read in one way
// only. Otherwise it must not be shown to anybody who might believe it.
func (c *Checker) Believes(r *checkreq.Request) bool {
	if len(c.hops) == 0 {
		return false
	}
	header, ok := r.Headers.Get(ForwardedHeader)
	if !ok || !c.isHop(&r.Source) {
		return false
	}
	_, ok = parseForwarded(header)
	return ok
}

func (c *Checker) isHop(p *checkreq.Peer) bool {
	certificate := ""
	for _, h := range c.hops {
		if h.CertificateSHA256 != "" && certificate == "" {
			certificate = certificateSHA256(p.Certificate)
		}
		switch {
		case h == Hop{}, h.Principal != "" && h.Principal != p.Principal, h.CertificateSHA256 != "" && h.CertificateSHA256 != certificate:
		default:
			return true
		}
	}
	return false
}

// checkPeer compares what a token is bound to with the connection, or with what the hop says that made the connection. A hop
// that says nothing saw no certificate: its own is not its clients'.
func (c *Checker) checkPeer(r *checkreq.Request, certificate, spiffeID string) (reason Reason, detail string) {
	var actual peer
	if len(c.hops) > 0 && c.isHop(&r.Source) {
		if header, ok := r.Headers.Get(ForwardedHeader); ok {
			if actual, ok = parseForwarded(header); !ok {
				return ReasonForwarded, "the proxy's account of the client certificate cannot be read in one way only"
			}
		}
	} else {
		actual.spiffeID = r.Source.Principal
		if certificate != "" {
			actual.certificateSHA256 = certificateSHA256(r.Source.Certificate)
		}
	}
	switch {
	case certificate != "" && certificate != actual.certificateSHA256:
		return ReasonCertificate, "the token is bound to a client certificate other than the connection's"
	case spiffeID != "" && spiffeID != actual.spiffeID:
		return ReasonPrincipal, "the token is bound to a workload other than the connection's"
	}
	return "", ""
}

// parseForwarded reads the header as Envoy writes it, and accepts nothing that a client could have had a part in:
//
//   - exactly one element. A hop that appends to what it was sent makes two of a forged one. "The last is the hop's" would
//     not do: Envoy does not quote alternative names, so a name with a comma in it makes an element of its own.
//   - each key once, but those that repeat (By, URI, DNS), and Hash always: a name with a semicolon in it adds nothing.
//   - the certificate, where it is sent, is the one of the hash.
//   - the workload from the certificate; without it from the only URI, and not where DNS names are sent, which could
//     bring a URI along.
func parseForwarded(header string) (peer, bool) {
	var pairs forwardedPairs
	for rest, more := header, true; more; {
		var key, value string
		var ok bool
		if key, value, rest, more, ok = nextPair(rest); !ok || !pairs.add(key, value) {
			return peer{}, false
		}
	}
	digest, err := hex.DecodeString(pairs.hash)
	if err != nil || len(digest) != sha256.Size {
		return peer{}, false
	}
	p := peer{certificateSHA256: base64.RawURLEncoding.EncodeToString(digest)}
	switch {
	case pairs.certificate != "":
		der := certificateDER(pairs.certificate)
		if der == nil || sha256.Sum256(der) != [sha256.Size]byte(digest) {
			return peer{}, false
		}
		p.spiffeID = onlyURI(der)
	case len(pairs.uris) == 1 && !pairs.dns:
		p.spiffeID = pairs.uris[0]
	}
	return p, true
}

// onlyURI is the URI name of a certificate that has exactly one, as those of workloads have (X.509-SVID s2).
func onlyURI(der []byte) string {
	certificate, err := x509.ParseCertificate(der)
	if err != nil || len(certificate.URIs) != 1 {
		return ""
	}
	return certificate.URIs[0].String()
}

// forwardedPairs are the parts of an element that count.
type forwardedPairs struct {
	seen              [4]bool // Hash, Cert, Chain, Subject
	hash, certificate string
	uris              []string
	dns               bool
}

func (p *forwardedPairs) add(key, value string) bool {
	once := -1
	switch strings.ToLower(key) {
	case "by":
	case "uri":
		p.uris = append(p.uris, value)
	case "dns":
		p.dns = true
	case "hash":
		once, p.hash = 0, value
	case "cert":
		once, p.certificate = 1, value
	case "chain":
		once = 2
	case "subject":
		once = 3
	default:
		return false
	}
	if once < 0 {
		return true
	}
	first := !p.seen[once]
	p.seen[once] = true
	return first
}

// nextPair cuts key=value off the front of an element. A quoted value ends the pair with its closing quotation mark, and
// nothing may be between that and the semicolon; a value that is not quoted has none of the characters that need quotes.
// A comma outside of quotes would begin another element, and is refused.
func nextPair(s string) (key, value, rest string, more, ok bool) {
	key, s, ok = strings.Cut(s, "=")
	if !ok {
		return
	}
	if !strings.HasPrefix(s, `"`) {
		value, rest, more = strings.Cut(s, ";")
		return key, value, rest, more, !strings.ContainsAny(value, "\",\\ \t")
	}
	var unquoted strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			if i++; i == len(s) {
				return key, "", "", false, false
			}
			unquoted.WriteByte(s[i])
		case '"':
			rest, more = strings.CutPrefix(s[i+1:], ";")
			return key, unquoted.String(), rest, more, more || rest == ""
		default:
			unquoted.WriteByte(s[i])
		}
	}
	return key, "", "", false, false
}
