package clientmetadata

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// RedirectURICharsMax bounds one redirect URI, of whoever it is.
const RedirectURICharsMax = 500

// responseParameters are what an answer of ours adds to a redirect URI (RFC 6749 s4.1.2, RFC 9207): a query that has one would give the client two.
var responseParameters = []string{"code", "state", "iss", "error", "error_description", "error_uri"}

// checkRedirects holds redirect_uris to RedirectProblem, and to the grant that needs them.
func (m *Metadata) checkRedirects() error {
	if m.Wants(AuthorizationCode) && len(m.RedirectURIs) == 0 {
		return invalidRedirect("redirect_uris is needed for authorization_code.") // RFC 7591 s2
	}
	if !m.Wants(AuthorizationCode) && len(m.RedirectURIs) > 0 {
		return invalidRedirect("redirect_uris are for authorization_code alone.")
	}
	for _, text := range m.RedirectURIs {
		if wrong := RedirectProblem(text, m.ApplicationType == Native); wrong != "" {
			return invalidRedirect("One of redirect_uris " + wrong + ".")
		}
	}
	return nil
}

// RedirectProblem says why a redirect URI is refused, "" when it is not: one rule for every client, whoever registered it. A code sent to any other place than the
// client's own is a code given away, so nothing that two readers could take for different places is accepted. It is RFC 6749 s3.1.2, RFC 8252 s7 and OpenID Connect
// Dynamic Client Registration 1.0 s2 (application_type).
func RedirectProblem(s string, native bool) string {
	if len(s) > RedirectURICharsMax {
		return fmt.Sprintf("must be at most %d characters", RedirectURICharsMax)
	}
	for _, b := range []byte(s) {
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"<>\^`+"`{|}*", b) >= 0 { // not in RFC 3986, or a wildcard somebody means
			return "must be a URI (RFC 3986) without wildcards"
		}
	}
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() {
		return "must be an absolute URI"
	}
	if strings.Contains(s, "#") || u.User != nil {
		return "must not have a fragment or user information" // RFC 6749 s3.1.2
	}
	if wrong := placeProblem(u, native); wrong != "" {
		return wrong
	}
	return partsProblem(u, s)
}

// placeProblem is about who gets the code.
func placeProblem(u *url.URL, native bool) string {
	switch {
	case u.Scheme == "https" && u.Hostname() != "":
		return ""
	case !native:
		return "must be https with a host"
	case u.Scheme == "http" && Loopback(u.Hostname()):
		return ""
	case strings.Contains(u.Scheme, "."): // RFC 8252 s7.1: a scheme named after a domain of the application's owner
		return ""
	}
	return "must be https, http on a loopback address, or a private-use scheme with a dot"
}

// partsProblem is about what cannot work, or means something else when it is used.
func partsProblem(u *url.URL, s string) string {
	if u.String() != s {
		return "must be written with a scheme in lower case and well-formed escapes"
	}
	host := u.Hostname()
	if strings.Contains(host, "..") || strings.HasPrefix(host, ".") {
		return "must not have an empty label in its host"
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); strings.HasSuffix(u.Host, ":") || u.Port() != "" && (err != nil || port == 0) {
		return "must have a port of 1 to 65535, or none"
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return "must not have . or .. in its path" // a browser takes them out
		}
	}
	for pair := range strings.FieldsFuncSeq(u.RawQuery, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || slices.Contains(responseParameters, name) {
			return "must not have a parameter in its query that the answer adds: " + strings.Join(responseParameters, ", ")
		}
	}
	return ""
}

// Loopback is RFC 8252 s7.3, and the name that native clients use although s8.3 advises against it.
func Loopback(host string) bool {
	return host == "127.0.0.1" || host == "::1" || host == "localhost"
}

func invalidRedirect(description string) error {
	return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: description}
}
