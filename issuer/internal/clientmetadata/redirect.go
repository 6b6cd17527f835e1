package clientmetadata

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// checkRedirects holds redirect_uris to RFC 6749 s3.1.2, RFC 8252 s7 and s8.3, and OpenID Connect Dynamic Client Registration 1.0 s2: a web application has
// https, a native one also a loopback address or a scheme that can only be its own.
func (m *Metadata) checkRedirects() error {
	if m.Wants(AuthorizationCode) && len(m.RedirectURIs) == 0 {
		return invalidRedirect("redirect_uris is needed for authorization_code.") // RFC 7591 s2
	}
	if !m.Wants(AuthorizationCode) && len(m.RedirectURIs) > 0 {
		return invalidRedirect("redirect_uris are for authorization_code alone.")
	}
	for _, text := range m.RedirectURIs {
		if !redirectFits(text, m.ApplicationType) {
			return invalidRedirect("One of redirect_uris is not an absolute https URI without user information and fragment; native applications may also use " +
				"http://127.0.0.1, http://[::1] or a scheme with a dot in it.")
		}
	}
	return nil
}

func redirectFits(text, applicationType string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return false
		}
	}
	u, err := url.Parse(text)
	if err != nil || !u.IsAbs() || u.User != nil || strings.Contains(text, "#") || u.String() != text {
		return false
	}
	switch {
	case u.Scheme == "https":
		return u.Hostname() != "" && u.Opaque == ""
	case applicationType != Native:
		return false
	case u.Scheme == "http":
		a, err := netip.ParseAddr(u.Hostname()) // a name such as localhost may be anybody's, RFC 8252 s8.3
		return err == nil && a.IsLoopback() && a.Zone() == ""
	}
	return strings.Contains(u.Scheme, ".") // RFC 8252 s7.1
}

func invalidRedirect(description string) error {
	return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: description}
}
