package issuer_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// provider discovers an issuer as any OpenID Connect client does: the metadata must name the issuer it was asked for.
func (i *instance) provider(issuer string) (context.Context, *oidc.Provider) {
	i.t.Helper()
	ctx := context.WithValue(oidc.ClientContext(i.t.Context(), i.client), oauth2.HTTPClient, i.client)
	p, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		i.t.Fatal(err)
	}
	return ctx, p
}

func (i *instance) tokenAt(ctx context.Context, p *oidc.Provider, agent, secret string) (*oauth2.Token, error) {
	client := clientcredentials.Config{ClientID: agent, ClientSecret: secret, TokenURL: p.Endpoint().TokenURL, AuthStyle: oauth2.AuthStyleInHeader}
	token, err := client.Token(ctx)
	if err == nil {
		i.secret(token.AccessToken)
	}
	return token, err
}

var anyAudience = &oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: []string{oidc.ES256}}

// An organization that is deleted has no issuer any more, in the process that deleted it and in every other; the clock stands, so nothing is forgotten by its age. Its slug
// is nobody's from then on.
func TestIssuerOfADeletedOrganization(t *testing.T) {
	t.Parallel()
	now := time.Now()
	i := startAt(t, func() time.Time { return now })
	j := i.beside()
	organization := i.organization("acme")
	const keys = "/o/acme/.well-known/jwks.json"
	for _, at := range []*instance{i, j} {
		i.must(at.do(at.request("GET", keys, "", "")), 200)
	}
	i.must(i.admin("DELETE", "/organizations/"+organization, nil), 204)
	i.must(i.do(i.request("GET", keys, "", "")), 404)
	await(t, "the other process hears that the organization is gone", func() bool { return j.do(j.request("GET", keys, "", "")).StatusCode == 404 })
	i.refused(i.admin("POST", "/organizations", `{"slug":"acme","displayName":"Successor"}`), 409, "slug_taken", "/slug")
	i.must(i.do(i.request("GET", keys, "", "")), 404)
}

// Three issuers side by side: clients that know nothing but an issuer's URL get a token of it, and it verifies there and nowhere else.
func TestOrganizationIssuers(t *testing.T) {
	t.Parallel()
	i := start(t)
	agents, secrets := map[string]string{}, map[string]string{}
	for _, slug := range []string{"acme", "umbrella"} {
		agents[slug] = i.agent(i.organization(slug), "a")
		_, secrets[slug] = i.credential(agents[slug])
	}
	issuerOf := map[string]string{"instance": i.url, "acme": i.url + "/o/acme", "umbrella": i.url + "/o/umbrella"}
	for name, id := range issuerOf {
		ctx, p := i.provider(id)
		for slug := range agents {
			token, err := i.tokenAt(ctx, p, agents[slug], secrets[slug])
			if admitted := name == "instance" || name == slug; (err == nil) != admitted {
				t.Errorf("%s at the issuer of %s: %v", slug, name, err)
			}
			if err != nil {
				continue
			}
			for other, otherID := range issuerOf {
				otherCtx, verifier := i.provider(otherID)
				verified, err := verifier.VerifierContext(otherCtx, anyAudience).Verify(otherCtx, token.AccessToken)
				if (err == nil) != (other == name) || err == nil && verified.Issuer != id {
					t.Errorf("a token of %s at a verifier of %s: %v", name, other, err)
				}
				// With the keys alone, whatever iss says.
				careless := *anyAudience
				careless.SkipIssuerCheck = true
				if _, err := verifier.VerifierContext(otherCtx, &careless).Verify(otherCtx, token.AccessToken); (err == nil) != (other == name) {
					t.Errorf("a token of %s with the keys of %s: %v", name, other, err)
				}
			}
		}
	}
}

// To an organization's issuer another organization's agent is no client: the answer is that to one that does not exist.
func TestOtherOrganizationsAgentsAreUnknown(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.organization("acme")
	agent := i.agent(i.organization("umbrella"), "a")
	_, secret := i.credential(agent)
	ask := func(id, secret string) string {
		r := i.request("POST", "/o/acme/oauth2/token", "application/x-www-form-urlencoded", url.Values{"grant_type": {"client_credentials"}}.Encode())
		r.SetBasicAuth(id, secret)
		a := i.must(i.do(r), 401)
		return string(a.body) + a.Header.Get("WWW-Authenticate")
	}
	if foreign, unknown := ask(agent, secret), ask("agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", secret); foreign != unknown {
		t.Errorf("another organization's agent: %s; an unknown one: %s", foreign, unknown)
	}
}

// A slug that names nothing is answered as a path that nobody serves, whatever it looks like.
func TestUnknownIssuersAreNoRoute(t *testing.T) {
	t.Parallel()
	i := start(t)
	gone := i.organization("gone")
	i.organization("acme")
	i.must(i.admin("DELETE", "/organizations/"+gone, nil), 204)
	nobody := i.must(i.do(i.request("GET", "/o", "", "")), 404)
	for _, slug := range []string{"unknown", "gone", "ACME", "acme%00", "%ff", "acme%20", strings.Repeat("a", 300), "..", "-", "acme%2F..", "'"} {
		for method, paths := range map[string][]string{
			"GET":  {"/o/" + slug + "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/o/" + slug, "/o/" + slug + "/.well-known/jwks.json", "/o/" + slug + "/revocations"},
			"POST": {"/o/" + slug + "/oauth2/token"},
		} {
			for _, path := range paths {
				a := i.must(i.do(i.request(method, path, "", "")), 404)
				if string(withoutRequestID(t, a.body)) != string(withoutRequestID(t, nobody.body)) {
					t.Errorf("%s %s: %s, want %s", method, path, a.body, nobody.body)
				}
			}
		}
	}
}

func TestModesOfOrganizationIssuers(t *testing.T) {
	t.Parallel()
	for mode, want := range map[issuers.Mode]struct{ instance, own int }{issuers.Both: {200, 200}, issuers.Own: {401, 200}, issuers.Instance: {200, 404}} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			i := start(t, func(c *issuer.Config) { c.OrganizationIssuers = mode })
			agent := i.agent(i.organization("acme"), "a")
			_, secret := i.credential(agent)
			for prefix, status := range map[string]int{"": want.instance, "/o/acme": want.own} {
				r := i.request("POST", prefix+"/oauth2/token", "application/x-www-form-urlencoded", "grant_type=client_credentials")
				r.SetBasicAuth(agent, secret)
				i.secret(i.must(i.do(r), status).field("access_token"))
			}
		})
	}
}

// kid is which key a token says it is signed with.
func (i *instance) kid(token string) string {
	var header struct{ Kid string }
	if err := json.Unmarshal(i.decode(strings.Split(token, ".")[0]), &header); err != nil {
		i.t.Fatal(err)
	}
	return header.Kid
}

type keyList struct {
	Issuer      string
	SigningKeys []struct{ ID, Use, State, Algorithm string }
}

func (l keyList) in(use, state string) (ids []string) {
	for _, k := range l.SigningKeys {
		if k.Use == use && k.State == state {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// The operator's way: list, rotate, revoke; of the instance and of one organization, without touching the other.
func TestSigningKeysAreRotatedAndRevoked(t *testing.T) {
	t.Parallel()
	i := start(t)
	org := i.organization("acme")
	agent := i.agent(org, "a")
	_, secret := i.credential(agent)
	for name, c := range map[string]struct {
		issuer, list, query string
		body                map[string]any
	}{
		"instance":     {i.url, "/revocations", "?", map[string]any{}},
		"organization": {i.url + "/o/acme", "/o/acme/revocations", "?organizationId=" + org, map[string]any{"organizationId": org}},
	} {
		ctx, p := i.provider(c.issuer)
		rotate := func(change map[string]any) (l keyList) {
			maps.Copy(change, c.body)
			i.must(i.admin("POST", "/signing-keys/rotate", change), 200).json(t, &l)
			return l
		}
		old, err := i.tokenAt(ctx, p, agent, secret)
		if err != nil {
			t.Fatal(err)
		}
		list := func() (l keyList) {
			i.must(i.admin("GET", "/signing-keys"+strings.TrimSuffix(c.query, "?"), nil), 200).json(t, &l)
			return l
		}
		active := list().in("access_token", "active")
		if list().Issuer != c.issuer || len(active) != 1 || len(list().in("id_token", "active")) != 1 {
			t.Fatalf("%s: %+v", name, list())
		}
		// An emergency.
		after := rotate(map[string]any{"revokeKeyId": active[0]})
		successor := after.in("access_token", "active")
		if len(successor) != 1 || successor[0] == active[0] {
			t.Fatalf("%s: %+v", name, after)
		}
		if token, err := i.tokenAt(ctx, p, agent, secret); err != nil || i.kid(token.AccessToken) != successor[0] {
			t.Errorf("%s: a new token is not signed with %s: %v", name, successor[0], err)
		}
		freshCtx, fresh := i.provider(c.issuer)
		if _, err := fresh.VerifierContext(freshCtx, anyAudience).Verify(freshCtx, old.AccessToken); err == nil {
			t.Errorf("%s: a token of the revoked key still verifies", name)
		}
		a := i.must(i.do(i.request("GET", c.list, "", "")), 200)
		if l, err := trust.ParseRevocationList(a.body); err != nil || l.Issuer != c.issuer || trust.Index(l).Check(&trust.Facts{KeyID: active[0]}) != trust.RevokedKey {
			t.Errorf("%s: %s, %v", name, a.body, err)
		}
		if log := i.must(i.admin("GET", "/audit"+c.query+"&action=signing_key.revoke&target="+active[0], nil), 200); strings.Count(string(log.body), `"bootstrap"`) != 1 {
			t.Errorf("%s: recorded %s", name, log.body)
		}
		// Planned, to another algorithm: nothing signs with it before everybody can know it.
		after = rotate(map[string]any{"use": "access_token", "algorithm": "EdDSA"})
		if still := after.in("access_token", "active"); len(still) != 1 || still[0] != successor[0] || len(after.in("access_token", "pending")) != 1 {
			t.Errorf("%s: %+v", name, after)
		}
	}
	for body, status := range map[string]int{
		`{}`: 400, `{"use":"access_token","revokeKeyId":"x"}`: 400, `{"use":"both"}`: 400, `{"use":"id_token","algorithm":"ES256"}`: 400,
		`{"use":"access_token","algorithm":"RS256"}`: 400, `{"revokeKeyId":"x"}`: 404, `{"revokeKeyId":"x","algorithm":"ES256"}`: 400,
		`{"organizationId":"org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f","use":"id_token"}`: 404,
	} {
		i.must(i.admin("POST", "/signing-keys/rotate", body), status)
	}
	i.must(i.admin("GET", "/signing-keys?organizationId=org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", nil), 404)
}
