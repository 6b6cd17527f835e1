package issuer

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/issuer/internal/clientkeys"
	"github.com/agentidp/agentidp/issuer/internal/federation"
)

// Federation is about other issuers: whose assertions are believed (RFC 7523), and to whom assertions are given (ID-JAG).
type Federation struct {
	Partners []Partner `yaml:"partners"`
}

// Partner is another issuer, for the agents of one organization.
type Partner struct {
	Issuer         string          `yaml:"issuer"` // exactly its iss
	OrganizationID string          `yaml:"organizationId"`
	JWKS           *PartnerKeys    `yaml:"jwks"`    // its keys; without them nothing it says is believed
	Scopes         []string        `yaml:"scopes"`  // the most a token may have that is made of its assertions
	Clients        []PartnerClient `yaml:"clients"` // our clients that get assertions for it
}

// PartnerKeys say where a partner publishes its keys.
type PartnerKeys struct {
	URL string      `yaml:"url"` // https
	CA  config.Path `yaml:"ca"`  // further roots for it, PEM
}

// PartnerClient is the name that one of our agents, or of the relying parties that agents sign in to, has at the partner: client_id of its assertions.
type PartnerClient struct {
	AgentID        string `yaml:"agentId"`
	RelyingPartyID string `yaml:"relyingPartyId"`
	ClientID       string `yaml:"clientId"`
}

// id is the client_id here: exactly one of the two is set.
func (c PartnerClient) id() (field, id string, err error) {
	if c.RelyingPartyID == "" {
		_, err = agentid.Parse[agentid.Agent](c.AgentID)
		return "agentId", c.AgentID, err
	}
	if c.AgentID != "" {
		return "relyingPartyId", "", errors.New("goes with no agentId: a client is one or the other")
	}
	_, err = agentid.Parse[agentid.Client](c.RelyingPartyID)
	return "relyingPartyId", c.RelyingPartyID, err
}

func checkFederation(r *config.Report, own string, partners []Partner) {
	seen := make(map[[2]string]bool)
	for n, p := range partners {
		at := fmt.Sprintf("federation.partners[%d]", n)
		if !isHTTPS(p.Issuer) {
			r.Errorf(at+".issuer", "must be an https URL, exactly as in iss")
		}
		if p.Issuer == own || strings.HasPrefix(p.Issuer, own+"/") {
			r.Errorf(at+".issuer", "must not be one of our own: its tokens are not for us to redeem")
		}
		if _, err := agentid.Parse[agentid.Organization](p.OrganizationID); err != nil {
			r.Errorf(at+".organizationId", "%v", err)
		}
		if seen[[2]string{p.OrganizationID, p.Issuer}] {
			r.Errorf(at+".issuer", "is listed already for this organization")
		}
		seen[[2]string{p.OrganizationID, p.Issuer}] = true
		if p.JWKS != nil {
			if !isHTTPS(p.JWKS.URL) {
				r.Errorf(at+".jwks.url", "must be an https URL")
			}
			checkRoots(r, at+".jwks.ca", p.JWKS.CA)
		}
		for m, c := range p.Clients {
			if field, _, err := c.id(); err != nil {
				r.Errorf(fmt.Sprintf("%s.clients[%d].%s", at, m, field), "%v", err)
			}
			if c.ClientID == "" {
				r.Errorf(fmt.Sprintf("%s.clients[%d].clientId", at, m), "is required")
			}
		}
	}
}

func isHTTPS(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == ""
}

// partners opens what the configuration says about other issuers.
func (i *Issuer) partners() (*federation.Partners, error) {
	list := make([]federation.Partner, 0, len(i.cfg.Federation.Partners))
	for _, p := range i.cfg.Federation.Partners {
		org, err := agentid.Parse[agentid.Organization](p.OrganizationID)
		if err != nil {
			return nil, fmt.Errorf("federation: %w", err)
		}
		clients := make(map[string]string, len(p.Clients))
		for _, c := range p.Clients {
			_, id, err := c.id()
			if err != nil {
				return nil, fmt.Errorf("federation: %w", err)
			}
			clients[id] = c.ClientID
		}
		partner := federation.Partner{Issuer: p.Issuer, Organization: org, Scopes: p.Scopes, Clients: clients}
		if p.JWKS != nil {
			partner.KeySetURL = p.JWKS.URL
			if partner.Keys, err = i.partnerKeys(p.JWKS.CA); err != nil {
				return nil, fmt.Errorf("federation: %w", err)
			}
		}
		list = append(list, partner)
	}
	return federation.New(list, i.env.Now)
}

// partnerKeys fetches and remembers the keys of one partner, whose authority vouches for no other. An operator wrote the address, so private ones are asked too.
func (i *Issuer) partnerKeys(ca config.Path) (federation.KeySource, error) {
	client, err := fetch.New(fetch.Config{CAFile: string(ca), AllowPrivate: true, ContentTypes: []string{"application/json", "application/jwk-set+json"}})
	if err != nil {
		return nil, err
	}
	i.keyClients = append(i.keyClients, client)
	return clientkeys.New(client, i.env.Now), nil
}
