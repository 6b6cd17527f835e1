package grants

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/federation"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

const partnerIssuer = "https://idp.partner.example"

// Keys makes the market its own partner's key server, under the partner's name: all sign with the same key.
func (m *market) Keys(context.Context, string, string) (*jose.KeySet, error) {
	return m.issuer.Keys.KeySet().Keys, m.err
}

func (m *market) partners() *federation.Partners {
	m.t.Helper()
	p, err := federation.New([]federation.Partner{
		{Issuer: partnerIssuer, Organization: m.client.OrganizationID, KeySetURL: "https://x", Keys: m, Scopes: []string{"a", "b"}, Clients: map[string]string{m.client.ID.String(): "their-client"}},
		{Issuer: "https://silent.example", Organization: m.client.OrganizationID},
		{Issuer: "https://others.example", Organization: agentid.New[agentid.Organization](), KeySetURL: "https://x", Keys: m},
		{Issuer: m.issuer.ID, Organization: m.client.OrganizationID, KeySetURL: "https://x", Keys: m}, // which the configuration refuses
	}, func() time.Time { return m.now })
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// didOf is a DID of its own kind: only that it is the agent's matters here.
func didOf(id agentid.Agent) string { return "did:example:" + id.String() }

func (m *market) redeem(assertion string, proven tokens.Confirmation, more ...string) (map[string]any, *Request, error) {
	m.t.Helper()
	grant, err := JWTBearer(m.partners(), didOf, ActorsMaxDefault)
	if err != nil {
		m.t.Fatal(err)
	}
	form := url.Values{"assertion": {assertion}}
	for n := 0; n < len(more); n += 2 {
		form.Add(more[n], more[n+1])
	}
	return m.ask(grant, form, proven)
}

// assertion is what the partner says about Alice.
func (m *market) assertion(changes ...any) string { return m.assertionOf("JWT", changes...) }

// jag is an ID-JAG for the client.
func (m *market) jag(changes ...any) string {
	return m.assertionOf(typeIDJAG, append([]any{"client_id", m.client.ID.String()}, changes...)...)
}

func (m *market) assertionOf(typ string, changes ...any) string {
	m.t.Helper()
	return m.sign(typ, map[string]any{
		"iss": partnerIssuer, "sub": "alice", "aud": m.issuer.ID, "iat": m.now.Unix() - 1, "exp": m.now.Unix() + 60, "jti": "a1",
	}, changes...)
}

// The token speaks of the partner's Alice, the client acts, and the assertion is used up.
func TestAssertionIsRedeemed(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	claims, r, err := m.redeem(m.assertion(), tokens.Confirmation{}, "resource", "svc://3")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": m.issuer.ID, "sub": partnerIssuer + "|alice", "client_id": m.client.ID.String(), "aud": "svc://3", "scope": "a b", "org_id": m.client.OrganizationID.String(),
		"credential_id": m.credential.String(), "act": m.link(m.client, m.credential), "jti": claims["jti"],
		"iat": float64(m.now.Unix()), "nbf": float64(m.now.Unix()), "exp": float64(m.now.Unix() + 60),
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	use := r.Issuance.Uses
	if len(use) != 1 || use[0].Purpose != issuance.UseAssertion || use[0].ExpiresAt.Unix() != m.now.Unix()+60 {
		t.Errorf("uses %+v", use)
	}
	_, again, err := m.redeem(m.assertion("exp", m.now.Unix()+61), tokens.Confirmation{})
	_, other, err2 := m.redeem(m.assertion("jti", "a2"), tokens.Confirmation{})
	if err != nil || err2 != nil || again.Issuance.Uses[0].Key != use[0].Key || other.Issuance.Uses[0].Key == use[0].Key {
		t.Errorf("a use is one of a jti: %v, %v", err, err2)
	}
}

// The agent that may_act names, by its id or its DID, is who may redeem an assertion (RFC 8693 s4.4).
func TestAssertionForAnActorIsRedeemed(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	for _, named := range []map[string]string{{"sub": m.client.ID.String()}, {"sub": didOf(m.client.ID)}, {"client_id": m.client.ID.String(), "iss": m.issuer.ID}} {
		if _, _, err := m.redeem(m.assertion("may_act", named), tokens.Confirmation{}); err != nil {
			t.Errorf("%v: %v", named, err)
		}
	}
}

// What an ID-JAG says beyond whom it speaks of narrows the token.
func TestIDJAGIsRedeemed(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	key := strings.Repeat("k", 43)
	jag := m.jag("scope", "b c", "resource", []string{"svc://3"}, "act", map[string]any{"sub": "bot"}, "cnf", map[string]string{"jkt": key}, "authorization_details", []any{map[string]any{"type": "x"}})
	claims, _, err := m.redeem(jag, tokens.Confirmation{KeyThumbprint: key})
	if err != nil {
		t.Fatal(err)
	}
	act := m.link(m.client, m.credential)
	act["act"] = map[string]any{"sub": "bot", "iss": partnerIssuer}
	if d := cmp.Diff(any(act), claims["act"]); d != "" || claims["scope"] != "b" || claims["aud"] != "svc://3" || claims["authorization_details"] == nil {
		t.Errorf("claims %v %s", claims, d)
	}
}

// What is bound to a certificate stays bound to it.
func TestBoundAssertionIsRedeemed(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	certificate := strings.Repeat("c", 43)
	jag := m.jag("cnf", map[string]string{"x5t#S256": certificate})
	claims, _, err := m.redeem(jag, tokens.Confirmation{CertificateSHA256: certificate})
	if d := cmp.Diff(any(map[string]any{"x5t#S256": certificate}), claims["cnf"]); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
}

// Each check that could be missing is one case.
func TestAssertionsAreRefused(t *testing.T) {
	t.Parallel()
	m, stranger := newMarket(t), newMarket(t)
	deep := map[string]any{"sub": "1"}
	for _, n := range []string{"2", "3", "4"} {
		deep = map[string]any{"sub": n, "act": deep}
	}
	for name, tt := range map[string]struct {
		assertion string
		more      []string
		code      oauth.Code
	}{
		"none":                                  {"", nil, oauth.InvalidRequest},
		"not a token":                           {"a.b.c", nil, oauth.InvalidGrant},
		"signed by another":                     {stranger.assertion("aud", m.issuer.ID), nil, oauth.InvalidGrant},
		"of nobody we know":                     {m.assertion("iss", "https://x.example"), nil, oauth.InvalidGrant},
		"of another organization's partner":     {m.assertion("iss", "https://others.example"), nil, oauth.InvalidGrant},
		"of a partner that is not believed":     {m.assertion("iss", "https://silent.example"), nil, oauth.InvalidGrant},
		"our own":                               {m.assertion("iss", m.issuer.ID), nil, oauth.InvalidGrant},
		"an access token of the partner's":      {m.assertionOf("at+jwt"), nil, oauth.InvalidGrant},
		"for another":                           {m.assertion("aud", "https://other.example"), nil, oauth.InvalidGrant},
		"for the token endpoint":                {m.assertion("aud", m.issuer.ID+"/oauth2/token"), nil, oauth.InvalidGrant},
		"for us and another":                    {m.assertion("aud", []string{m.issuer.ID, "https://other.example"}), nil, oauth.InvalidGrant},
		"may_act names another":                 {m.assertion("may_act", map[string]string{"sub": agentid.New[agentid.Agent]().String()}), nil, oauth.InvalidGrant},
		"may_act names nobody":                  {m.assertion("may_act", map[string]string{}), nil, oauth.InvalidGrant},
		"may_act says more than we know":        {m.assertion("may_act", map[string]string{"sub": m.client.ID.String(), "role": "x"}), nil, oauth.InvalidGrant},
		"may_act of an ID-JAG names another":    {m.jag("may_act", map[string]string{"client_id": agentid.New[agentid.Agent]().String()}), nil, oauth.InvalidGrant},
		"expired":                               {m.assertion("exp", m.now.Unix()), nil, oauth.InvalidGrant},
		"from the future":                       {m.assertion("iat", m.now.Unix()+30), nil, oauth.InvalidGrant},
		"without an end":                        {m.assertion("exp", nil), nil, oauth.InvalidGrant},
		"without a jti":                         {m.assertion("jti", nil), nil, oauth.InvalidGrant},
		"of a long life":                        {m.assertion("exp", m.now.Unix()+86400), nil, oauth.InvalidGrant},
		"about nobody":                          {m.assertion("sub", nil), nil, oauth.InvalidGrant},
		"about somebody with a space":           {m.assertion("sub", "a b"), nil, oauth.InvalidGrant},
		"about somebody with a long name":       {m.assertion("sub", strings.Repeat("a", 256)), nil, oauth.InvalidGrant},
		"for another client":                    {m.assertion("client_id", "agt_x"), nil, oauth.InvalidGrant},
		"ID-JAG for another client":             {m.jag("client_id", "agt_x"), nil, oauth.InvalidGrant},
		"ID-JAG for no client":                  {m.jag("client_id", nil), nil, oauth.InvalidGrant},
		"bound to a key that is not proven":     {m.jag("cnf", map[string]string{"jkt": strings.Repeat("k", 43)}), nil, oauth.InvalidGrant},
		"bound to what nobody can check":        {m.jag("cnf", map[string]string{"kid": "k"}), nil, oauth.InvalidGrant},
		"the subject acts":                      {m.jag("act", map[string]any{"sub": "alice"}), nil, oauth.InvalidGrant},
		"an actor twice":                        {m.jag("act", map[string]any{"sub": "b", "act": map[string]any{"sub": "b"}}), nil, oauth.InvalidGrant},
		"an actor of ours":                      {m.jag("act", map[string]any{"sub": m.subject.ID.String(), "iss": m.issuer.ID}), nil, oauth.InvalidGrant},
		"an actor without a name":               {m.jag("act", map[string]any{}), nil, oauth.InvalidGrant},
		"too many actors":                       {m.jag("act", deep), nil, oauth.InvalidGrant},
		"scope is a list":                       {m.jag("scope", []string{"a"}), nil, oauth.InvalidGrant},
		"resource is a number":                  {m.jag("resource", 1), nil, oauth.InvalidGrant},
		"more scope than the partner may grant": {m.assertion(), []string{"scope", "c"}, oauth.InvalidScope},
		"more scope than it granted":            {m.jag("scope", "a"), []string{"scope", "b"}, oauth.InvalidScope},
		"a resource it is not for":              {m.jag("resource", "svc://3"), []string{"resource", "svc://2"}, oauth.InvalidTarget},
		"a resource the client may not ask for": {m.jag("resource", "svc://9"), nil, oauth.InvalidTarget},
		"a target the client may not ask for":   {m.assertion(), []string{"resource", "svc://9"}, oauth.InvalidTarget},
		"details the assertion does not have":   {m.assertion(), []string{"authorization_details", `[{"type":"x"}]`}, oauth.InvalidAuthorizationDetails},
	} {
		claims, _, err := m.redeem(tt.assertion, tokens.Confirmation{}, tt.more...)
		var failure *oauth.Error
		if !errors.As(err, &failure) || failure.Code != tt.code {
			t.Errorf("%s: %v, %v; want %s", name, claims, err, tt.code)
		}
	}
	m.err = errors.New("no answer")
	var failure *oauth.Error
	if _, _, err := m.redeem(m.assertion(), tokens.Confirmation{}); !errors.As(err, &failure) || failure.Code != oauth.TemporarilyUnavailable {
		t.Errorf("the partner's keys cannot be had: %v", err)
	}
}

// draft-ietf-oauth-identity-assertion-authz-grant s4: an assertion for one partner, under the name the client has there.
func TestIDJAGIsGiven(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.client.Audiences = []string{"svc://2", partnerIssuer, "https://silent.example"}
	m.subject.Audiences = m.client.Audiences
	m.known[m.subject.ID] = m.subject
	jag := []string{"requested_token_type", typeURNIDJAG, "audience", partnerIssuer, "resource", "https://their.example/api"}
	claims, _, err := m.exchange(asked(m.token(), jag...), tokens.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": m.issuer.ID, "sub": m.subject.ID.String(), "aud": partnerIssuer, "client_id": "their-client", "scope": "a b", "resource": "https://their.example/api",
		"act": m.link(m.client, m.credential), "iat": float64(m.now.Unix()), "exp": float64(m.now.Unix() + 120), "jti": claims["jti"],
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	for name, form := range map[string]url.Values{
		"no audience":                      asked(m.token(), "requested_token_type", typeURNIDJAG),
		"two audiences":                    asked(m.token(), append(jag, "audience", "svc://2")...),
		"an audience that is no partner":   asked(m.token(), "requested_token_type", typeURNIDJAG, "audience", "svc://2"),
		"no name there":                    asked(m.token(), "requested_token_type", typeURNIDJAG, "audience", "https://silent.example"),
		"an audience it may not ask for":   asked(m.token(), "requested_token_type", typeURNIDJAG, "audience", "https://others.example"),
		"the partner only as the resource": asked(m.token(), "requested_token_type", typeURNIDJAG, "resource", partnerIssuer),
	} {
		var failure *oauth.Error
		if claims, _, err := m.exchange(form, tokens.Confirmation{}); !errors.As(err, &failure) || failure.Code != oauth.InvalidTarget {
			t.Errorf("%s: %v, %v", name, claims, err)
		}
	}
	var failure *oauth.Error
	if claims, _, err := m.exchange(asked(m.token("scope", "z"), jag...), tokens.Confirmation{}); !errors.As(err, &failure) || failure.Code != oauth.InvalidScope {
		t.Errorf("without a scope, which leaves it to the partner: %v, %v", claims, err)
	}
	m.subject.Audiences = []string{"svc://2"}
	m.known[m.subject.ID] = m.subject
	if claims, _, err := m.exchange(asked(m.token(), jag...), tokens.Confirmation{}); !errors.As(err, &failure) || failure.Code != oauth.InvalidTarget {
		t.Errorf("the subject may not be spoken of at the partner: %v, %v", claims, err)
	}
}

func TestJWTBearerConfig(t *testing.T) {
	t.Parallel()
	if _, err := JWTBearer(nil, didOf, 1); err == nil {
		t.Error("no partners are accepted")
	}
	if _, err := JWTBearer(newMarket(t).partners(), didOf, tokens.ActorsMax+1); err == nil {
		t.Error("too many actors are accepted")
	}
}
