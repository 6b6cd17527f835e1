package issuer

import (
	"fmt"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
)

// ClientDocuments says which hosts' OAuth Client ID Metadata Documents are believed, and what the clients they describe may ask of agents. Whoever writes a document
// on one of the hosts makes a relying party that agents of every organization can sign in to.
type ClientDocuments struct {
	Hosts        []string    `yaml:"hosts"`        // host or host:port; or "*" alone: every host with a public address
	CA           config.Path `yaml:"ca"`           // further roots, PEM
	AllowPrivate bool        `yaml:"allowPrivate"` // also ask addresses of private networks; not with "*"
	Scopes       []string    `yaml:"scopes"`       // of the agents' scopes, those such a client may ask for; the scopes of OpenID Connect need no mention
	Audiences    []string    `yaml:"audiences"`    // resources such a client may ask tokens for (RFC 8707)
}

func (c *ClientDocuments) config() clientdocument.Config {
	return clientdocument.Config{Hosts: c.Hosts, CAFile: string(c.CA), AllowPrivate: c.AllowPrivate, Scopes: c.Scopes, Audiences: c.Audiences}
}

func (c *ClientDocuments) validate(r *config.Report) {
	if c == nil {
		return
	}
	if member, err := c.config().Validate(); err != nil {
		r.Errorf("clientDocuments."+member, "%v", err)
	}
	checkRoots(r, "clientDocuments.ca", c.CA)
}

// openClientDocuments opens what resolves documents; nil when they are not served.
func (i *Issuer) openClientDocuments() (*clientdocument.Documents, error) {
	if i.cfg.ClientDocuments == nil {
		return nil, nil
	}
	cfg := i.cfg.ClientDocuments.config()
	cfg.Log, cfg.Now = i.env.Log, i.env.Now
	documents, err := clientdocument.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("clientDocuments: %w", err)
	}
	return documents, nil
}
