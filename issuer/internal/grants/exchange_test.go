package grants

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// market is an organization with a subject, and the service it called, which wants to call on.
type market struct {
	t       *testing.T
	now     time.Time
	key     *jose.SigningKey
	issuer  issuers.Issuer
	subject agents.Agent
	client  agents.Agent
	// credential of the client, and of whoever the subject token was issued to.
	credential, subjectCredential agentid.Credential
	known                         map[agentid.Agent]agents.Agent
	lives                         bool
	revoked                       string
	err                           error // of the database
}

func newMarket(t *testing.T) *market {
	t.Helper()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	org := agentid.New[agentid.Organization]()
	m := &market{
		t: t, now: time.Unix(1_800_000_000, 0), key: key, lives: true,
		subject:    agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: org, Name: "subject", Status: agents.Active, Audiences: []string{"svc://1", "svc://2", "svc://3"}},
		credential: agentid.New[agentid.Credential](), subjectCredential: agentid.New[agentid.Credential](),
		client: agents.Agent{
			ID: agentid.New[agentid.Agent](), OrganizationID: org, Name: "client", Status: agents.Active,
			Scopes: []string{"a", "b", "c"}, Audiences: []string{"svc://2", "svc://3"}, Serves: []string{"svc://1"},
		},
	}
	m.issuer = issuers.Issuer{ID: "https://id.example.com", Keys: oneKey{t, key}}
	m.known = map[agentid.Agent]agents.Agent{m.subject.ID: m.subject, m.client.ID: m.client}
	return m
}

// oneKey is the key ring of an issuer with one key.
type oneKey struct {
	t   *testing.T
	key *jose.SigningKey
}

func (k oneKey) Signer(keys.Use) (*jose.SigningKey, error) { return k.key, nil }

func (k oneKey) KeySet() keys.Published {
	doc := jose.MarshalKeySet([]json.RawMessage{k.key.PublicJWK()})
	set, _, err := jose.ParseKeySet(doc)
	if err != nil {
		k.t.Fatal(err)
	}
	return keys.Published{Document: doc, Keys: set, Current: true}
}

func (m *market) Get(_ context.Context, id agentid.Agent) (agents.Agent, error) {
	if a, ok := m.known[id]; ok {
		return a, nil
	}
	return agents.Agent{}, &problem.Error{Kind: problem.NotFound}
}

func (m *market) TokenLives(context.Context, agentid.Organization, tokenstate.Facts) (bool, error) {
	return m.lives, m.err
}

func (m *market) Revoked(context.Context, ...trust.Facts) (string, error) { return m.revoked, nil }

// token is a token of the subject for the service, with changes: name, value, name, value …; nil takes a claim out.
func (m *market) token(changes ...any) string {
	m.t.Helper()
	claims := map[string]any{
		"iss": m.issuer.ID, "sub": m.subject.ID.String(), "aud": "svc://1", "iat": m.now.Unix() - 60, "nbf": m.now.Unix() - 60, "exp": m.now.Unix() + 120,
		"jti": "j1", "client_id": m.subject.ID.String(), "scope": "a b", "org_id": m.subject.OrganizationID.String(), "credential_id": m.subjectCredential.String(),
	}
	return m.sign("at+jwt", claims, changes...)
}

func (m *market) sign(typ string, claims map[string]any, changes ...any) string {
	m.t.Helper()
	for n := 0; n < len(changes); n += 2 {
		claims[changes[n].(string)] = changes[n+1]
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		m.t.Fatal(err)
	}
	text, err := m.key.Sign(typ, payload)
	if err != nil {
		m.t.Fatal(err)
	}
	return text
}

// exchange asks for a token as the client, and returns its claims and what would be recorded.
func (m *market) exchange(form url.Values, proven tokens.Confirmation) (map[string]any, *Request, error) {
	m.t.Helper()
	dids, err := did.NewNamespace(&url.URL{Scheme: "https", Host: "id.example.com"})
	if err != nil {
		m.t.Fatal(err)
	}
	grant, err := TokenExchange(ExchangeConfig{
		Agents: m, Judge: tokenstate.New(m, m, func() time.Time { return m.now }), Partners: m.partners(), IdentifySignIn: nobody, DIDs: dids.Agent, ActorsMax: ActorsMaxDefault,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return m.ask(grant, form, proven)
}

// ask goes through what the template does around a grant.
func (m *market) ask(grant Grant, form url.Values, proven tokens.Confirmation) (map[string]any, *Request, error) {
	m.t.Helper()
	dids, err := did.NewNamespace(&url.URL{Scheme: "https", Host: "id.example.com"})
	if err != nil {
		m.t.Fatal(err)
	}
	parsed, err := oauth.ParseForm(form.Encode())
	if err != nil {
		m.t.Fatal(err)
	}
	r := &Request{
		Form: parsed, Issuer: m.issuer, Now: m.now, Agent: clientauth.AuthenticatedAgent{Agent: m.client, Credential: m.credential},
		Confirmation: tokens.Confirmation{KeyThumbprint: proven.KeyThumbprint}, Certificate: proven.CertificateSHA256,
	}
	a, err := allowed(r, grant)
	if err != nil {
		return nil, r, err
	}
	if err := grant.Authorize(m.t.Context(), r, &a); err != nil {
		return nil, r, err
	}
	minter, err := tokens.NewMinter(tokens.LifetimeDefault, dids, func() time.Time { return m.now })
	if err != nil {
		m.t.Fatal(err)
	}
	token, err := minter.Mint(a)
	if err != nil {
		return nil, r, err
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Text, ".")[1])
	if err != nil {
		m.t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		m.t.Fatal(err)
	}
	return claims, r, nil
}

// nobody is no relying party.
func nobody(context.Context, *Request, clients.Client) (clientauth.AuthenticatedAgent, *RelyingParty, error) {
	return clientauth.AuthenticatedAgent{}, nil, errors.New("no relying party")
}

func asked(subjectToken string, more ...string) url.Values {
	form := url.Values{"subject_token": {subjectToken}, "subject_token_type": {typeURNAccessToken}}
	for n := 0; n < len(more); n += 2 {
		form.Add(more[n], more[n+1])
	}
	return form
}

func (m *market) link(a agents.Agent, credential agentid.Credential) map[string]any {
	return map[string]any{"sub": a.ID.String(), "org_id": a.OrganizationID.String(), "credential_id": credential.String()}
}

// RFC 8693 s4.1: whom the token speaks of, and who acts.
func TestExchangeDelegates(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	claims, r, err := m.exchange(asked(m.token(), "audience", "svc://2", "resource", "svc://3", "scope", "b"), tokens.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": m.issuer.ID, "sub": m.subject.ID.String(), "client_id": m.client.ID.String(), "aud": []any{"svc://3", "svc://2"}, "scope": "b",
		"org_id": m.subject.OrganizationID.String(), "credential_id": m.subjectCredential.String(), "act": m.link(m.client, m.credential),
		"iat": float64(m.now.Unix()), "nbf": float64(m.now.Unix()), "exp": float64(m.now.Unix() + 120), "jti": claims["jti"], // no longer than the subject token
		"agent": map[string]any{"name": "subject", "did": "did:web:id.example.com:agents:" + m.subject.ID.String(), "type": "", "capabilities": []any{}},
	}
	if d := cmp.Diff(want, claims); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
	if claims["jti"] == "j1" {
		t.Error("the token has the subject token's jti")
	}
	holders := []issuance.Holder{{Agent: m.subject.ID, Credential: m.subjectCredential, IssuedAt: time.Unix(m.now.Unix()-60, 0).UTC()}}
	if d := cmp.Diff(holders, r.Issuance.Holders, cmp.Comparer(func(a, b agentid.Agent) bool { return a == b }), cmp.Comparer(func(a, b agentid.Credential) bool { return a == b })); d != "" {
		t.Errorf("holders (-want +got):\n%s", d)
	}
}

// What is not asked for by name is what both allow.
func TestExchangeNarrows(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	long := m.token("exp", m.now.Unix()+800, "scope", "b c d", "authorization_details", []any{map[string]any{"type": "x", "n": 1.5}, map[string]any{"type": "y"}})
	claims, _, err := m.exchange(asked(long), tokens.Confirmation{})
	if err != nil || claims["scope"] != "b c" || claims["exp"] != float64(m.now.Unix()+300) || claims["aud"] != "svc://2" {
		t.Errorf("%v, %v", claims, err)
	}
	if details, _ := claims["authorization_details"].([]any); len(details) != 2 {
		t.Errorf("details %v", claims["authorization_details"])
	}
	claims, _, err = m.exchange(asked(long, "authorization_details", `[{"n":1.5,"type":"x"}]`), tokens.Confirmation{})
	if details, _ := claims["authorization_details"].([]any); err != nil || len(details) != 1 {
		t.Errorf("details asked for: %v, %v", claims["authorization_details"], err)
	}
	m.client.Scopes = []string{"z"}
	if claims, _, err := m.exchange(asked(m.token()), tokens.Confirmation{}); err != nil || claims["scope"] != nil {
		t.Errorf("nothing in common: %v, %v", claims["scope"], err)
	}
}

// A client changes its own token for a narrower one, and acts for nobody.
func TestExchangeOfOnesOwn(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	id := m.client.ID.String()
	by := m.credential.String()
	own := m.token("sub", id, "client_id", id, "aud", "svc://3", "credential_id", by)
	claims, _, err := m.exchange(asked(own, "audience", "svc://2", "scope", "a"), tokens.Confirmation{})
	if err != nil || claims["sub"] != id || claims["act"] != nil || claims["credential_id"] != by {
		t.Errorf("%v, %v", claims, err)
	}
	// One in which it acts already stays as it is.
	delegated := m.token("client_id", id, "act", m.link(m.client, m.credential))
	claims, _, err = m.exchange(asked(delegated), tokens.Confirmation{})
	if d := cmp.Diff(any(m.link(m.client, m.credential)), claims["act"]); d != "" || err != nil {
		t.Errorf("%v, %s", err, d)
	}
	// What was got with another credential dies with that one, which the new token could not say.
	actor := []any{"sub", id, "client_id", id, "jti", "j2"}
	for name, form := range map[string]url.Values{
		"its own":     asked(m.token("sub", id, "client_id", id)),
		"acted in":    asked(m.token("client_id", id, "act", m.link(m.client, m.subjectCredential))),
		"actor token": asked(m.token(), "actor_token", m.token(actor...), "actor_token_type", typeURNJWT),
	} {
		_, _, err := m.exchange(form, tokens.Confirmation{})
		if failure, ok := errors.AsType[*oauth.Error](err); !ok || failure.Code != oauth.InvalidRequest {
			t.Errorf("%s, with another credential: %v", name, err)
		}
	}
}

// The chain grows by the client, up to its limit.
func TestExchangeChain(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	actor := func(n int) (a agents.Agent) {
		a.ID, a.OrganizationID = agentid.New[agentid.Agent](), m.client.OrganizationID
		return a
	}
	act := m.link(actor(0), m.subjectCredential)
	for range ActorsMaxDefault - 2 {
		next := m.link(actor(0), m.subjectCredential)
		next["act"] = act
		act = next
	}
	claims, r, err := m.exchange(asked(m.token("act", act)), tokens.Confirmation{})
	if err != nil {
		t.Fatal(err)
	}
	want := m.link(m.client, m.credential)
	want["act"] = act
	if d := cmp.Diff(any(want), claims["act"]); d != "" {
		t.Errorf("act (-want +got):\n%s", d)
	}
	if len(r.Issuance.Holders) != ActorsMaxDefault { // the subject and those who acted before
		t.Errorf("%d holders", len(r.Issuance.Holders))
	}
	if _, _, err := m.exchange(asked(m.token("act", want)), tokens.Confirmation{}); err != nil { // nearest already
		t.Errorf("the nearest actor again: %v", err)
	}
	more := m.link(actor(0), m.subjectCredential)
	more["act"] = act
	if _, _, err := m.exchange(asked(m.token("act", more)), tokens.Confirmation{}); err == nil {
		t.Error("the chain is too long and was extended")
	}
}

// The audience is one that the client may ask for, and whom the token speaks of too: nobody gets anywhere through a service who could not get there alone.
func TestExchangeNarrowsTheAudience(t *testing.T) {
	t.Parallel()
	const foreign, one, two, three = "https://partner.example|bob", "svc://1", "svc://2", "svc://3"
	party, session := agentid.New[agentid.Client]().String(), agentid.New[agentid.SignIn]().String()
	for name, tt := range map[string]struct {
		subject []string // audiences of the subject's record
		changes []any    // of the subject token, which is for svc://1
		asked   []string
		want    any // aud; nil for invalid_target
	}{
		"both may":                                          {[]string{one, two}, nil, []string{two}, two},
		"the subject may not":                               {[]string{one}, nil, []string{two}, nil},
		"the subject may not ask for one of two":            {[]string{one, two}, nil, []string{two, three}, nil},
		"both may, two of two":                              {[]string{three, two}, nil, []string{two, three}, []any{two, three}},
		"not asked: the first that both may":                {[]string{three, one}, nil, nil, three},
		"not asked, and nothing that both may":              {[]string{one}, nil, nil, nil},
		"the record counts, not the token":                  {[]string{one}, []any{"aud", []string{one, two}}, []string{two}, nil},
		"the client itself, elsewhere":                      {[]string{two}, nil, []string{one}, nil},
		"a partner's, elsewhere":                            {nil, []any{"sub", foreign}, []string{two}, nil},
		"a partner's, where its token is for":               {nil, []any{"sub", foreign, "aud", []string{one, two}}, []string{two}, two},
		"a partner's, not asked":                            {nil, []any{"sub", foreign, "aud", []string{one, three}}, nil, three},
		"a partner's, not asked, for nobody else":           {nil, []any{"sub", foreign}, nil, nil},
		"a relying party's, elsewhere":                      {[]string{one, two}, []any{"client_id", party, "sid", session}, []string{two}, nil},
		"a relying party's, where it is for":                {[]string{one, two}, []any{"client_id", party, "sid", session, "aud", []string{one, two}}, []string{two}, two},
		"a relying party's, after the record was narrowed":  {[]string{one}, []any{"client_id", party, "sid", session, "aud", []string{one, two}}, []string{two}, nil},
		"made of a relying party's, elsewhere":              {[]string{one, two}, []any{"client_id", "agt_x", "sid", session, "act", map[string]any{"sub": "agt_x", "act": map[string]any{"sub": party}}}, []string{two}, nil},
		"made of another issuer's, who is called like ours": {[]string{one, two}, []any{"act", map[string]any{"sub": party, "iss": "https://partner.example"}}, []string{two}, two},
	} {
		m := newMarket(t)
		m.subject.Audiences = tt.subject
		m.known[m.subject.ID] = m.subject
		form := asked(m.token(tt.changes...))
		form["audience"] = tt.asked
		claims, _, err := m.exchange(form, tokens.Confirmation{})
		failure, _ := errors.AsType[*oauth.Error](err)
		switch {
		case tt.want == nil && (failure == nil || failure.Code != oauth.InvalidTarget), tt.want != nil && err != nil, !cmp.Equal(claims["aud"], tt.want):
			t.Errorf("%s: %v, %v; want %v", name, claims["aud"], err, tt.want)
		}
	}

	// A relying party that had the token stays in it: it is bounded in what is made of that one, too.
	m := newMarket(t)
	claims, _, err := m.exchange(asked(m.token("client_id", party, "sid", session, "aud", []string{one, two})), tokens.Confirmation{})
	want := m.link(m.client, m.credential)
	want["act"] = map[string]any{"sub": party, "org_id": m.client.OrganizationID.String(), "credential_id": session} // by which it is revoked
	if claims["sid"] != session {
		t.Errorf("sid %v, want that of the subject token", claims["sid"])
	}
	if d := cmp.Diff(any(want), claims["act"]); d != "" || err != nil {
		t.Errorf("act of a relying party's: %v (-want +got):\n%s", err, d)
	}
	again := m.token("client_id", m.client.ID.String(), "sid", session, "aud", two, "act", claims["act"])
	for audience, ok := range map[string]bool{two: true, three: false} {
		if claims, _, err := m.exchange(asked(again, "audience", audience), tokens.Confirmation{}); (err == nil) != ok {
			t.Errorf("the next one, for %s: %v, %v", audience, claims, err)
		}
	}
}

// What is made of a relying party's token dies with the sign-in, and says so. One that could not is not made.
func TestExchangeOfSignIns(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	party, session := agentid.New[agentid.Client]().String(), agentid.New[agentid.SignIn]()
	audience := []any{"aud", []string{"svc://1", "svc://2"}}
	for name, changes := range map[string][]any{
		"without a sign-in":       {"client_id", party},
		"about the client itself": {"client_id", party, "sid", session.String(), "sub", m.client.ID.String()},
		"of no sign-in's name":    {"client_id", party, "sid", "x"},
	} {
		_, _, err := m.exchange(asked(m.token(append(changes, audience...)...)), tokens.Confirmation{})
		if failure, ok := errors.AsType[*oauth.Error](err); !ok || failure.Code != oauth.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, r, err := m.exchange(asked(m.token(append([]any{"client_id", party, "sid", session.String()}, audience...)...)), tokens.Confirmation{})
	if err != nil || r.Issuance.MadeOf != session || r.Issuance.Details["signInId"] != session.String() {
		t.Errorf("%+v, %v", r.Issuance, err)
	}
}

// What is bound stays with who holds it.
func TestExchangeOfBoundTokens(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	mine, theirs := strings.Repeat("m", 43), strings.Repeat("t", 43)
	for name, tt := range map[string]struct {
		cnf    any
		proven tokens.Confirmation
		want   any // cnf of the new token; nil when none is given
		ok     bool
	}{
		"not bound":                     {nil, tokens.Confirmation{}, nil, true},
		"not bound, but will be":        {nil, tokens.Confirmation{KeyThumbprint: mine}, map[string]any{"jkt": mine}, true},
		"key proven":                    {map[string]string{"jkt": mine}, tokens.Confirmation{KeyThumbprint: mine}, map[string]any{"jkt": mine}, true},
		"key not proven":                {map[string]string{"jkt": mine}, tokens.Confirmation{}, nil, false},
		"another key":                   {map[string]string{"jkt": mine}, tokens.Confirmation{KeyThumbprint: theirs}, nil, false},
		"certificate used":              {map[string]string{"x5t#S256": mine}, tokens.Confirmation{CertificateSHA256: mine}, map[string]any{"x5t#S256": mine}, true},
		"certificate not used":          {map[string]string{"x5t#S256": mine}, tokens.Confirmation{}, nil, false},
		"another certificate":           {map[string]string{"x5t#S256": mine}, tokens.Confirmation{CertificateSHA256: theirs}, nil, false},
		"a key for a certificate":       {map[string]string{"x5t#S256": mine}, tokens.Confirmation{KeyThumbprint: mine}, nil, false},
		"both, one proven":              {map[string]string{"x5t#S256": mine, "jkt": mine}, tokens.Confirmation{KeyThumbprint: mine}, nil, false},
		"bound to something else":       {map[string]string{"spiffe_id": "spiffe://a/b"}, tokens.Confirmation{KeyThumbprint: mine}, nil, false},
		"bound to nothing that is said": {map[string]string{}, tokens.Confirmation{KeyThumbprint: mine}, nil, false},
		"bound to an empty key":         {map[string]string{"jkt": ""}, tokens.Confirmation{}, nil, false},
	} {
		claims, _, err := m.exchange(asked(m.token("cnf", tt.cnf)), tt.proven)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		} else if d := cmp.Diff(tt.want, claims["cnf"]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// The matrix: each check that could be missing is one case, and was missing in somebody's product.
func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	stranger := newMarket(t) // the same issuer's name, another key
	id, other := m.client.ID.String(), agentid.New[agentid.Agent]()
	own := m.token("sub", id, "client_id", id)
	dead := agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: m.client.OrganizationID, Status: agents.Suspended}
	m.known[dead.ID] = dead
	moved := agents.Agent{ID: agentid.New[agentid.Agent](), OrganizationID: agentid.New[agentid.Organization](), Status: agents.Active}
	m.known[moved.ID] = moved
	withAct := func(act any) string { return m.token("act", act) }
	for name, tt := range map[string]struct {
		form url.Values
		code oauth.Code
	}{
		"no subject token":                              {url.Values{"subject_token_type": {typeURNAccessToken}}, oauth.InvalidRequest},
		"no subject token type":                         {url.Values{"subject_token": {m.token()}}, oauth.InvalidRequest},
		"unknown subject token type":                    {url.Values{"subject_token": {m.token()}, "subject_token_type": {"urn:ietf:params:oauth:token-type:saml2"}}, oauth.InvalidRequest},
		"refresh token type":                            {url.Values{"subject_token": {m.token()}, "subject_token_type": {"urn:ietf:params:oauth:token-type:refresh_token"}}, oauth.InvalidRequest},
		"unknown requested type":                        {asked(m.token(), "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), oauth.InvalidRequest},
		"actor token without its type":                  {asked(m.token(), "actor_token", own), oauth.InvalidRequest},
		"actor token type without a token":              {asked(m.token(), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
		"unknown actor token type":                      {asked(m.token(), "actor_token", own, "actor_token_type", "x"), oauth.InvalidRequest},
		"not a token":                                   {asked("a.b.c"), oauth.InvalidRequest},
		"CVE-2026-9097: signed by another":              {asked(stranger.token("org_id", m.client.OrganizationID.String())), oauth.InvalidRequest},
		"signature cut off":                             {asked(m.token()[:len(m.token())-4]), oauth.InvalidRequest},
		"another issuer's":                              {asked(m.token("iss", "https://id.example.com/o/b")), oauth.InvalidRequest},
		"an ID token":                                   {asked(m.sign("JWT", map[string]any{}, "iss", m.issuer.ID, "sub", m.subject.ID.String(), "aud", "svc://1", "iat", m.now.Unix(), "exp", m.now.Unix()+60, "jti", "x", "org_id", m.client.OrganizationID.String())), oauth.InvalidRequest},
		"an ID-JAG":                                     {asked(m.sign("oauth-id-jag+jwt", map[string]any{}, "iss", m.issuer.ID, "sub", m.subject.ID.String(), "aud", "svc://1", "iat", m.now.Unix(), "exp", m.now.Unix()+60, "jti", "x", "org_id", m.client.OrganizationID.String())), oauth.InvalidRequest},
		"GHSA-wxg7-w2v3-w38g: expired":                  {asked(m.token("exp", m.now.Unix())), oauth.InvalidRequest},
		"without an end":                                {asked(m.token("exp", nil)), oauth.InvalidRequest},
		"from the future":                               {asked(m.token("iat", m.now.Unix()+30, "nbf", nil)), oauth.InvalidRequest},
		"lives too long":                                {asked(m.token("exp", m.now.Unix()+100_000)), oauth.InvalidRequest},
		"CVE-2026-55669: meant for another service":     {asked(m.token("aud", "svc://9")), oauth.InvalidRequest},
		"meant for what the client may ask for":         {asked(m.token("aud", "svc://2")), oauth.InvalidRequest},
		"meant for the issuer":                          {asked(m.token("aud", m.issuer.ID)), oauth.InvalidRequest},
		"CVE-2026-9094: of another organization":        {asked(m.token("org_id", agentid.New[agentid.Organization]().String())), oauth.InvalidRequest},
		"of no organization":                            {asked(m.token("org_id", nil)), oauth.InvalidRequest},
		"of no credential":                              {asked(m.token("credential_id", nil)), oauth.InvalidRequest},
		"the subject is not there":                      {asked(m.token("sub", other.String())), oauth.InvalidRequest},
		"the subject is suspended":                      {asked(m.token("sub", dead.ID.String())), oauth.InvalidRequest},
		"the subject is in another organization":        {asked(m.token("sub", moved.ID.String())), oauth.InvalidRequest},
		"may_act names another":                         {asked(m.token("may_act", map[string]string{"sub": other.String()})), oauth.InvalidRequest},
		"may_act names another, and it is the client's": {asked(m.token("client_id", id, "may_act", map[string]string{"sub": other.String()})), oauth.InvalidRequest},
		"may_act names nobody":                          {asked(m.token("may_act", map[string]string{})), oauth.InvalidRequest},
		"may_act is no object":                          {asked(m.token("may_act", id)), oauth.InvalidRequest},
		"may_act names another issuer's":                {asked(m.token("may_act", map[string]string{"sub": id, "iss": "https://x"})), oauth.InvalidRequest},
		"may_act says more than we know":                {asked(m.token("may_act", map[string]string{"sub": id, "role": "x"})), oauth.InvalidRequest},
		"the client acts already, further away":         {asked(withAct(map[string]any{"sub": other.String(), "act": m.link(m.client, m.credential)})), oauth.InvalidRequest},
		"the subject acts":                              {asked(withAct(m.link(m.subject, m.credential))), oauth.InvalidRequest},
		"the client is the subject, and another acts":   {asked(m.token("sub", id, "act", m.link(m.subject, m.credential))), oauth.InvalidRequest},
		"act is no object":                              {asked(withAct("x")), oauth.InvalidRequest},
		"more scope than the token":                     {asked(m.token(), "scope", "a c"), oauth.InvalidScope},
		"more scope than the client":                    {asked(m.token("scope", "a z"), "scope", "z"), oauth.InvalidScope},
		"GHSA-7qjx-gp9h-65qj: an audience not allowed":  {asked(m.token(), "audience", "svc://9"), oauth.InvalidTarget},
		"one of two audiences not allowed":              {asked(m.token(), "audience", "svc://2", "audience", "svc://9"), oauth.InvalidTarget},
		"a resource not allowed beside an audience":     {asked(m.token(), "audience", "svc://2", "resource", "svc://9"), oauth.InvalidTarget},
		"details the token does not have":               {asked(m.token(), "authorization_details", `[{"type":"x"}]`), oauth.InvalidAuthorizationDetails},
		"more details than the token":                   {asked(m.token("authorization_details", []any{map[string]any{"type": "x", "max": 1}}), "authorization_details", `[{"type":"x","max":2}]`), oauth.InvalidAuthorizationDetails},
		"actor token of another":                        {asked(m.token(), "actor_token", m.token("client_id", id), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
		"actor token issued to another":                 {asked(m.token(), "actor_token", m.token("sub", id), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
		"actor token in which another acts":             {asked(m.token(), "actor_token", m.token("sub", id, "client_id", id, "act", m.link(m.subject, m.credential)), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
		"actor token expired":                           {asked(m.token(), "actor_token", m.token("sub", id, "client_id", id, "exp", m.now.Unix()), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
		"actor token bound to a key":                    {asked(m.token(), "actor_token", m.token("sub", id, "client_id", id, "cnf", map[string]string{"jkt": strings.Repeat("k", 43)}), "actor_token_type", typeURNAccessToken), oauth.InvalidRequest},
	} {
		claims, _, err := m.exchange(tt.form, tokens.Confirmation{})
		var failure *oauth.Error
		if !errors.As(err, &failure) || failure.Code != tt.code {
			t.Errorf("%s: %v, %v; want %s", name, claims, err, tt.code)
		}
	}
}

// What is revoked is revoked here at once; and nobody knows without the database.
func TestExchangeAsksWhatIsRevoked(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*market)
		code   oauth.Code
	}{
		"in the database": {func(m *market) { m.lives = false }, oauth.InvalidRequest},
		"on the list":     {func(m *market) { m.revoked = "key" }, oauth.InvalidRequest},
		"nobody knows":    {func(m *market) { m.err = &problem.Error{Kind: problem.Unavailable} }, oauth.TemporarilyUnavailable},
		"a bug":           {func(m *market) { m.err = errors.New("bug") }, oauth.ServerError},
	} {
		m := newMarket(t)
		tt.change(m)
		_, _, err := m.exchange(asked(m.token()), tokens.Confirmation{})
		var failure *oauth.Error
		if !errors.As(err, &failure) || failure.Code != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
}

// may_act lets a client act that the token was not meant for (RFC 8693 s4.4); an actor token of the client's own shortens the time.
func TestExchangeAccepts(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	id := m.client.ID.String()
	for name, named := range map[string]map[string]string{
		"by id": {"sub": id}, "by DID": {"sub": "did:web:id.example.com:agents:" + id}, "with the issuer": {"sub": id, "iss": m.issuer.ID}, "as a client": {"client_id": id},
	} {
		if _, _, err := m.exchange(asked(m.token("aud", "svc://9", "may_act", named)), tokens.Confirmation{}); err != nil {
			t.Errorf("may_act %s: %v", name, err)
		}
	}
	actor := m.token("sub", id, "client_id", id, "exp", m.now.Unix()+40, "jti", "j2", "credential_id", m.credential.String())
	claims, r, err := m.exchange(asked(m.token(), "actor_token", actor, "actor_token_type", typeURNJWT, "requested_token_type", typeURNAccessToken), tokens.Confirmation{})
	if err != nil || claims["exp"] != float64(m.now.Unix()+40) || len(r.Issuance.Holders) != 2 {
		t.Errorf("actor token: %v, %v", claims, err)
	}
}

func TestExchangeConfig(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	dids := func(agentid.Agent) string { return "" }
	for _, cfg := range []ExchangeConfig{
		{},
		{Agents: m, Judge: tokenstate.New(m, m, time.Now), Partners: m.partners(), IdentifySignIn: nobody, DIDs: dids},
		{Agents: m, Judge: tokenstate.New(m, m, time.Now), Partners: m.partners(), DIDs: dids, ActorsMax: 1},
		{Agents: m, Judge: tokenstate.New(m, m, time.Now), Partners: m.partners(), IdentifySignIn: nobody, DIDs: dids, ActorsMax: tokens.ActorsMax + 1},
		{Agents: m, Judge: tokenstate.New(m, m, time.Now), DIDs: dids, ActorsMax: 1},
	} {
		if _, err := TokenExchange(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
