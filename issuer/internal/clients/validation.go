package clients

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// RedirectURIsMax bounds the redirect URIs of a client; clientmetadata.RedirectURICharsMax each of them.
const RedirectURIsMax = clientmetadata.RedirectURIsMax

// check says what is wrong with a relying party, the first problem only.
func check(c *Client) error {
	if c.OrganizationID.IsZero() {
		return fields.Invalid("/organizationId", "organization_missing", "must name an organization")
	}
	if err := fields.CheckName("/name", c.Name); err != nil {
		return err
	}
	if c.Type != Web && c.Type != Native {
		return fields.Invalid("/type", "type_unknown", "must be web or native")
	}
	if !slices.Contains(credentials.Methods(), c.Authentication) {
		return fields.Invalid("/authentication", "authentication_unknown", "is no method that relying parties authenticate by")
	}
	if c.Public() && c.PKCEOptional {
		// RFC 9700 s2.1.1: for a public client nothing else protects the code.
		return fields.Invalid("/pkceOptional", "pkce_required", "a client that authenticates by none must use PKCE")
	}
	if err := checkRedirectURIs(c); err != nil {
		return err
	}
	if err := fields.CheckScopes("/scopes", c.Scopes); err != nil {
		return err
	}
	return fields.CheckAudiences("/audiences", c.Audiences)
}

func checkRedirectURIs(c *Client) error {
	const field = "/redirectUris"
	if n := len(c.RedirectURIs); n < 1 || n > RedirectURIsMax {
		return fields.Invalid(field, "redirect_uris_count", fmt.Sprintf("must have 1 to %d entries", RedirectURIsMax))
	}
	for i, uri := range c.RedirectURIs {
		at := fmt.Sprintf("%s/%d", field, i)
		if wrong := redirectProblem(uri, c.Type); wrong != "" {
			return fields.Invalid(at, "redirect_uri_format", wrong)
		}
		if slices.Contains(c.RedirectURIs[:i], uri) {
			return fields.Invalid(at, "duplicate_entry", "is in the list already")
		}
	}
	return nil
}

// redirectProblem says why a redirect URI is refused, "" when it is not.
func redirectProblem(s string, t Type) string { return clientmetadata.RedirectProblem(s, t == Native) }

// Redirects reports whether uri is one of the client's: equal as a string, but for the port of a native client's loopback address, which the operating system
// chose a moment ago (RFC 8252 s7.3).
func (c Client) Redirects(uri string) bool {
	if slices.Contains(c.RedirectURIs, uri) {
		return true
	}
	if c.Type != Native || redirectProblem(uri, Native) != "" {
		return false
	}
	asked, ok := withoutLoopbackPort(uri)
	return ok && slices.ContainsFunc(c.RedirectURIs, func(registered string) bool {
		other, ok := withoutLoopbackPort(registered)
		return ok && other == asked
	})
}

// withoutLoopbackPort cuts the port out of an http loopback URI and leaves every other byte as it is.
func withoutLoopbackPort(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || !clientmetadata.Loopback(u.Hostname()) {
		return "", false
	}
	if u.Port() == "" {
		return uri, true
	}
	return strings.Replace(uri, ":"+u.Port(), "", 1), true
}
