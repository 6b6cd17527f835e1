package extauthz

import (
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/settings/settingstest"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/trust"
)

const partnerIssuer = "https://partner.example"

// Each kind of revocation, through the whole server: the next request is refused though token and decision are remembered, the decision is not asked for, and
// what is no longer revoked is decided anew.
func TestEveryKindOfRevocationReachesRequests(t *testing.T) {
	t.Parallel()
	for code, c := range map[string]struct {
		federated bool
		list      trust.RevocationList // of the home issuer
	}{
		"revoked_token":        {false, trust.RevocationList{Tokens: []trust.Token{{ID: "t-1"}}}},
		"revoked_agent":        {false, trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1"}}}},
		"revoked_organization": {false, trust.RevocationList{Organizations: []trust.Organization{{ID: "org_a"}}}},
		"revoked_credential":   {false, trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_1"}}}},
		"revoked_key":          {false, trust.RevocationList{}}, // the key's id is known below
		"revoked_issuer":       {true, trust.RevocationList{Issuers: []trust.Issuer{{ID: partnerIssuer}}}},
		"revoked_partner":      {true, trust.RevocationList{Partners: []trust.Partner{{ID: "prt_1"}}}},
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			e, registry, _, _ := remembering(t, ordersPolicy)
			sign := e.signer(t)
			claims := map[string]any{"credential_id": "crd_1"}
			organization := "org_a"
			if c.federated {
				organization = "org_p"
				claims["iss"], claims["org_id"] = partnerIssuer, organization
				e.store.Update(func(s *state.Snapshot) {
					partner := *s.Issuers[josetest.Issuer]
					partner.Rules.Issuer, partner.OrganizationID = partnerIssuer, organization
					partner.PartnerID, partner.PartnerOf = "prt_1", josetest.Issuer
					s.Issuers[partnerIssuer] = &partner
				})
			}
			token := sign(claims)
			if code == "revoked_key" {
				parsed, err := jose.ParseToken(token)
				if err != nil {
					t.Fatal(err)
				}
				c.list.Keys = []trust.Key{{ID: parsed.KeyID()}}
			}
			in := request("GET", "/orders/1", "authorization", "Bearer "+token)
			for deadline := time.Now().Add(20 * time.Second); sample(t, registry, "decision_cache_hits_total") == 0 && time.Now().Before(deadline); {
				if a := e.ask(t, in); a.status != 200 || a.headers["x-tenant"] != organization {
					t.Fatalf("%+v", a)
				}
			}
			hits, misses := sample(t, registry, "decision_cache_hits_total"), sample(t, registry, "decision_cache_misses_total")
			revoke := func(l *trust.RevocationList) {
				e.changeIssuer(func(i *state.Issuer) { i.Revocations, i.HasRevocations = trust.Index(l), true })
			}
			revoke(&c.list)
			for range 3 { // remembered, then not
				if a := e.ask(t, in); a.status != 401 || a.code != code {
					t.Errorf("%+v, want 401 %s", a, code)
				}
			}
			if h, m := sample(t, registry, "decision_cache_hits_total"), sample(t, registry, "decision_cache_misses_total"); h != hits || m != misses {
				t.Errorf("%v hits, %v misses; %v, %v before: somebody looked for the decision", h, m, hits, misses)
			}
			revoke(nil)
			if a := e.ask(t, in); a.status != 200 {
				t.Errorf("no longer revoked: %+v", a)
			}
			if m := sample(t, registry, "decision_cache_misses_total"); m != misses+1 {
				t.Errorf("%v misses, want %v: the decision of before is still remembered", m, misses+1)
			}
		})
	}
}

// Who is federated is told to policy and upstream, and only then.
func TestFederatedOriginIsTold(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "package agentidp.authz\nallow := {\"allowed\": true, \"headers\": {\"x-seen\": input.identity.origin}}\n", nil)
	sign := e.signer(t)
	e.store.Update(func(s *state.Snapshot) {
		partner := *s.Issuers[josetest.Issuer]
		partner.Rules.Issuer, partner.OrganizationID, partner.PartnerID, partner.PartnerOf = partnerIssuer, "org_p", "prt_1", josetest.Issuer
		s.Issuers[partnerIssuer] = &partner
	})
	for origin, claims := range map[string]map[string]any{"local": nil, "federated": {"iss": partnerIssuer, "org_id": "org_p"}} {
		a := e.ask(t, request("GET", "/orders/1", "authorization", "Bearer "+sign(claims)))
		if a.status != 200 || a.headers["x-seen"] != origin || a.headers["x-agent-origin"] != origin {
			t.Errorf("%s: %+v", origin, a)
		}
	}
	home := sign(map[string]any{"iss": partnerIssuer, "org_id": "org_a"})
	if a := e.ask(t, request("GET", "/orders/1", "authorization", "Bearer "+home)); a.status != 401 || a.code != "organization" {
		t.Errorf("a partner speaks for our organization: %+v", a)
	}
}

func TestConfigOfPartners(t *testing.T) {
	t.Parallel()
	got, err := loadConfig(t, settingstest.Dir(t), strings.Replace(settingstest.Minimal, "policy:", `    requireBound: true
    tokensNotBefore: "2026-11-23T09:00:00.5+01:00"
  - issuer: https://partner.example
    jwks: {file: keys.json}
    audiences: ["svc://payments"]
    organizationId: org_partner
    partner: {id: prt_1, of: https://issuer.example/org/a}
policy:`, 1))
	if err != nil {
		t.Fatal(err)
	}
	issuers := newStore(got).Load().Issuers
	home, partner := issuers["https://issuer.example/org/a"], issuers["https://partner.example"]
	if want := time.Date(2026, 11, 23, 8, 0, 1, 0, time.UTC).Unix(); home.TokensNotBefore != want || partner.TokensNotBefore != 0 {
		t.Errorf("watermarks %d and %d, want %d, rounded up, and none", home.TokensNotBefore, partner.TokensNotBefore, want)
	}
	if home.PartnerID != "" || home.PartnerOf != "" || partner.PartnerID != "prt_1" || partner.PartnerOf != "https://issuer.example/org/a" {
		t.Errorf("%+v, %+v", home, partner)
	}
	if !home.RequireBound || partner.RequireBound {
		t.Errorf("bound tokens are required of the home issuer: %v, of the partner: %v; want the first alone", home.RequireBound, partner.RequireBound)
	}
}
