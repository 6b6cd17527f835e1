package issuer_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/issuer"
)

const idJAGType = "urn:ietf:params:oauth:token-type:id-jag"

// Two issuers that are each other's partners: an agent of one gets an assertion there, and redeems it under its name at the other, once.
func TestIDJAGBetweenTwoIssuers(t *testing.T) {
	t.Parallel()
	home, away := start(t), start(t)
	homeOrganization, awayOrganization := home.organization("acme"), away.organization("bolt")
	agent, guest := home.agent(homeOrganization, "traveller"), away.agent(awayOrganization, "guest")
	_, secret := home.credential(agent)
	_, guestSecret := away.credential(guest)
	home.must(home.admin("PATCH", "/agents/"+agent, map[string]any{"audiences": []string{"svc://payments", away.url}}), 200)

	giver := home.beside(func(c *issuer.Config) {
		c.Federation.Partners = []issuer.Partner{{Issuer: away.url, OrganizationID: homeOrganization, Clients: []issuer.PartnerClient{{AgentID: agent, ClientID: guest}}}}
	})
	taker := away.beside(func(c *issuer.Config) {
		c.Federation = issuer.Federation{Partners: []issuer.Partner{{
			Issuer: home.url, OrganizationID: awayOrganization, JWKS: &issuer.PartnerKeys{URL: home.url + "/.well-known/jwks.json", CA: config.Path(home.authority)}, Scopes: []string{"invoices:read"},
		}}}
	})
	given := giver.must(giver.tokenRequest(agent, secret, url.Values{
		"grant_type": {exchangeGrant}, "subject_token": {home.token(agent, secret)}, "subject_token_type": {accessTokenType},
		"requested_token_type": {idJAGType}, "audience": {away.url},
	}), 200)
	if given.field("issued_token_type") != idJAGType || given.field("token_type") != "N_A" {
		t.Errorf("given %s", given.body)
	}
	redeem := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {given.field("access_token")}}
	a := taker.must(taker.tokenRequest(guest, guestSecret, redeem), 200)
	_, claims := away.verified(a.field("access_token"))
	act, _ := claims["act"].(map[string]any)
	if claims["iss"] != away.url || claims["sub"] != home.url+"|"+agent || claims["client_id"] != guest || act["sub"] != guest || claims["scope"] != "invoices:read" {
		t.Errorf("claims %v", claims)
	}
	for name, again := range map[string]answer{
		"a second time":                  taker.tokenRequest(guest, guestSecret, redeem),
		"where nobody believes":          away.tokenRequest(guest, guestSecret, redeem),
		"at the issuer that gave it":     giver.tokenRequest(agent, secret, redeem),
		"as an access token to exchange": giver.tokenRequest(agent, secret, url.Values{"grant_type": {exchangeGrant}, "subject_token": {given.field("access_token")}, "subject_token_type": {accessTokenType}}),
	} {
		if again.StatusCode != http.StatusBadRequest || !strings.HasPrefix(again.field("error"), "invalid_") || again.field("access_token") != "" {
			t.Errorf("%s: %s %s", name, again.Status, again.body)
		}
	}
}

func TestFederationProblems(t *testing.T) {
	t.Parallel()
	good := issuer.Partner{Issuer: "https://partner.example", OrganizationID: "org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"}
	for name, tt := range map[string]struct {
		change func(*issuer.Partner)
		want   string
	}{
		"issuer by http":       {func(p *issuer.Partner) { p.Issuer = "http://a.example" }, "federation.partners[1].issuer: must be an https URL"},
		"ourselves":            {func(p *issuer.Partner) { p.Issuer = "https://id.example.com" }, "federation.partners[1].issuer: must not be one of our own"},
		"our organization":     {func(p *issuer.Partner) { p.Issuer = "https://id.example.com/o/acme" }, "federation.partners[1].issuer: must not be one of our own"},
		"no organization":      {func(p *issuer.Partner) { p.OrganizationID = "" }, "federation.partners[1].organizationId"},
		"twice":                {func(p *issuer.Partner) { *p = good }, "federation.partners[1].issuer: is listed already"},
		"keys by http":         {func(p *issuer.Partner) { p.JWKS = &issuer.PartnerKeys{URL: "http://a.example"} }, "federation.partners[1].jwks.url: must be an https URL"},
		"keys nowhere":         {func(p *issuer.Partner) { p.JWKS = &issuer.PartnerKeys{} }, "federation.partners[1].jwks.url: must be an https URL"},
		"no such authority":    {func(p *issuer.Partner) { p.JWKS = &issuer.PartnerKeys{URL: "https://a.example", CA: "missing.pem"} }, "federation.partners[1].jwks.ca: open missing.pem"},
		"an agent that is not": {func(p *issuer.Partner) { p.Clients = []issuer.PartnerClient{{ClientID: "x"}} }, "federation.partners[1].clients[0].agentId"},
		"no name there": {func(p *issuer.Partner) {
			p.Clients = []issuer.PartnerClient{{AgentID: "agt_0199f6c3d5e67f108a2b3c4d5e6f7081"}}
		}, "federation.partners[1].clients[0].clientId: is required"},
	} {
		second := good
		second.Issuer = "https://other.example"
		tt.change(&second)
		cfg := issuer.Config{Issuer: "https://id.example.com", Federation: issuer.Federation{Partners: []issuer.Partner{good, second}}}
		cfg.SetDefaults()
		var report config.Report
		cfg.Validate(&report)
		if err := report.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
