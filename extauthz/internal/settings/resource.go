package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
)

// Resource is what clients are told about the service behind Envoy (RFC 9728): where to get tokens for it, and for what.
// It is served to everybody, and every challenge names where.
type Resource struct {
	// Identifier is the service's address as clients know it: https, a host, perhaps a path.
	Identifier           string   `yaml:"identifier"`
	AuthorizationServers []string `yaml:"authorizationServers"` // the configured issuers if unsaid
	ScopesSupported      []string `yaml:"scopesSupported"`
	Name                 string   `yaml:"name"`          // for people
	Documentation        string   `yaml:"documentation"` // URL, for people, as are the next two
	Policy               string   `yaml:"policy"`
	Terms                string   `yaml:"terms"`
}

const (
	authorizationServersMax = 32
	scopesSupportedMax      = 100
	resourceNameBytesMax    = 200
)

// validateResource also tries whether the whole fits into an answer.
func (c *Config) validateResource(r *config.Report) {
	if c.Resource == nil {
		return
	}
	resource := c.PublishedResource()
	if err := checkResourceIdentifier(resource.Identifier); err != nil {
		r.Errorf("resource.identifier", "%v", err)
	} else if _, err := resource.Document(); err != nil {
		r.Errorf("resource", "%v", err)
	}
	resource.validateLists(r, len(c.Resource.AuthorizationServers) == 0)
	if len(resource.Name) > resourceNameBytesMax || strings.ContainsFunc(resource.Name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.Errorf("resource.name", "want at most %d bytes of text on one line", resourceNameBytesMax)
	}
	for _, page := range []struct{ field, address string }{
		{"documentation", resource.Documentation}, {"policy", resource.Policy}, {"terms", resource.Terms},
	} {
		if page.address == "" {
			continue
		}
		if _, err := checkAddress(page.address); err != nil {
			r.Errorf("resource."+page.field, "%v", err)
		}
	}
}

func (p *Resource) validateLists(r *config.Report, issuers bool) {
	switch n := len(p.AuthorizationServers); {
	case n > authorizationServersMax:
		r.Errorf("resource.authorizationServers", "has %d entries, at most %d are accepted", n, authorizationServersMax)
	case !issuers:
		validateList(r, "resource.authorizationServers", p.AuthorizationServers, checkServer)
	default:
		for i, s := range p.AuthorizationServers {
			if err := checkServer(s); err != nil {
				r.Errorf("resource.authorizationServers", "is required, because issuers[%d].issuer is no address a client could go to", i)
				break
			}
		}
	}
	if n := len(p.ScopesSupported); n > scopesSupportedMax {
		r.Errorf("resource.scopesSupported", "has %d entries, at most %d are accepted", n, scopesSupportedMax)
	} else if n > 0 {
		validateList(r, "resource.scopesSupported", p.ScopesSupported, checkScope)
	}
}

// PublishedResource is the section with its defaults, nil when there is none.
func (c *Config) PublishedResource() *Resource {
	if c.Resource == nil {
		return nil
	}
	r := *c.Resource
	if len(r.AuthorizationServers) == 0 {
		for i := range c.Issuers {
			r.AuthorizationServers = append(r.AuthorizationServers, c.Issuers[i].Issuer)
		}
	}
	return &r
}

// checkAddress accepts what a client may be sent to: https, or http on its own machine.
func checkAddress(s string) (*url.URL, error) {
	want := errors.New("want an address such as https://orders.example/, or http:// on loopback")
	if s == "" {
		return nil, errors.New("is required")
	}
	if len(s) > identifierBytesMax {
		return nil, fmt.Errorf("has %d bytes, at most %d are accepted", len(s), identifierBytesMax)
	}
	u, err := url.Parse(s)
	if err != nil || !isVisible(s) || strings.ContainsAny(s, `"\<>`) || u.Host == "" || u.Hostname() == "" || u.User != nil {
		return nil, want
	}
	if loopback, err := netip.ParseAddr(u.Hostname()); u.Scheme == "https" ||
		u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && loopback.IsLoopback()) {
		return u, nil
	}
	return nil, want
}

// checkServer is RFC 8414 s2: an issuer has neither query nor fragment.
func checkServer(s string) error {
	if _, err := checkAddress(s); err != nil {
		return err
	}
	if strings.ContainsAny(s, "?#") {
		return errors.New("want an address without query and fragment")
	}
	return nil
}

// checkResourceIdentifier is RFC 9728 s1.2, narrowed to paths that have one spelling.
func checkResourceIdentifier(s string) error {
	u, err := checkAddress(s)
	switch {
	case err != nil:
		return err
	case strings.ContainsAny(s, "?#") || u.Path != "" && !isPlainPath(u.Path) || strings.Contains(s, "%"):
		return errors.New("want a path such as /mcp or none, without query, fragment, escapes, // or dot segments")
	}
	return nil
}

func checkScope(s string) error {
	if !checkresp.IsScopeToken(s) {
		return errors.New("want visible ASCII without spaces, quotation marks and backslashes")
	}
	return nil
}

// Document is what clients get (RFC 9728 s2). It fits into an answer.
func (p *Resource) Document() ([]byte, error) {
	contents, err := json.Marshal(struct { // RFC 9728 s2
		Resource             string           `json:"resource"`
		AuthorizationServers []string         `json:"authorization_servers,omitempty"`
		ScopesSupported      []string         `json:"scopes_supported,omitempty"`
		BearerMethods        []string         `json:"bearer_methods_supported"`
		ProofAlgorithms      []jose.Algorithm `json:"dpop_signing_alg_values_supported"`
		Name                 string           `json:"resource_name,omitempty"`
		Documentation        string           `json:"resource_documentation,omitempty"`
		Policy               string           `json:"resource_policy_uri,omitempty"`
		Terms                string           `json:"resource_tos_uri,omitempty"`
	}{
		p.Identifier, p.AuthorizationServers, p.ScopesSupported,
		[]string{"header"},
		jose.ProofAlgorithms(),
		p.Name, p.Documentation, p.Policy, p.Terms,
	})
	switch {
	case err != nil:
		return nil, err
	case len(contents) > checkresp.DocumentBytesMax:
		return nil, fmt.Errorf("makes a document of %d bytes, at most %d fit into an answer", len(contents), checkresp.DocumentBytesMax)
	}
	return contents, nil
}
