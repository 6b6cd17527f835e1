package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/trust"
)

const (
	issuerA = "https://issuer.example/org/a"
	issuerB = "https://issuer.example/org/b"
)

var noon = time.Unix(1790000000, 0)

func newKey(t testing.TB) *jose.SigningKey {
	t.Helper()
	k, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keySet(t testing.TB, keys ...*jose.SigningKey) *jose.KeySet {
	t.Helper()
	var documents []json.RawMessage
	for _, k := range keys {
		documents = append(documents, k.PublicJWK())
	}
	set, problems, err := jose.ParseKeySet(jose.MarshalKeySet(documents))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	return set
}

// claims are those of a good token of issuerA at noon; changes with a nil value remove a claim.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": issuerA, "sub": "agt_1", "aud": "svc://payments", "iat": noon.Unix(), "exp": noon.Unix() + 300, "jti": "t1",
		"client_id": "agt_1", "scope": "orders.read orders.write", "org_id": "org_a",
		"agent": map[string]any{"name": "Zoë", "type": "tool"}, "tier": "gold",
	}
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

func sign(t testing.TB, k *jose.SigningKey, claims map[string]any) string {
	t.Helper()
	doc, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := k.Sign("at+jwt", doc)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func trusted(name, organization string, keys *jose.KeySet) *state.Issuer {
	return &state.Issuer{
		Rules: jose.Rules{
			Issuer: name, Audiences: []string{"svc://payments"}, Types: []string{"at+jwt"}, Algorithms: []jose.Algorithm{jose.ES256},
			LifetimeMax: time.Hour, Skew: time.Minute,
		},
		OrganizationID: organization, Keys: keys,
	}
}

func snapshot(issuers ...*state.Issuer) *state.Snapshot {
	s := &state.Snapshot{Issuers: map[string]*state.Issuer{}}
	for _, i := range issuers {
		s.Issuers[i.Rules.Issuer] = i
	}
	return s
}

type hints []string

func (h *hints) ReadEarly(issuer string) { *h = append(*h, issuer) }

func newVerifier(t testing.TB, h Hints) *Verifier {
	t.Helper()
	v, err := NewVerifier(0, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// identify is Identify for a token from nowhere in particular.
func (v *Verifier) identify(s *state.Snapshot, token string, now time.Time) (*Identity, Result, *Refusal) {
	return v.Identify(s, "", token, now)
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	v := newVerifier(t, nil)
	s := snapshot(trusted(issuerA, "org_a", keySet(t, k)))
	actors := map[string]any{"sub": "agt_2", "iss": issuerA, "act": map[string]any{"sub": "agt_3"}}
	token := sign(t, k, claims(map[string]any{"act": actors, "nbf": noon.Unix() - 5}))
	want := &Identity{
		Subject: "agt_1", OrganizationID: "org_a", Issuer: issuerA, Origin: "local", ClientID: "agt_1",
		Scopes: []string{"orders.read", "orders.write"}, AgentName: "Zoë", Actors: []string{"agt_2", "agt_3"},
		Confirmation: "none", TokenID: "t1", KeyID: k.ID(), IssuedAt: noon.Unix(), ExpiresAt: noon.Unix() + 300, NotBefore: noon.Unix() - 5,
	}
	for _, remembered := range []bool{false, true} {
		got, result, refusal := v.identify(s, token, noon)
		if refusal != nil || result.Remembered != remembered {
			t.Fatalf("%v, remembered %v", refusal, result.Remembered)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Identity{})); d != "" {
			t.Error(d)
		}
		wantDocument := `{
			"subject":"agt_1","organizationId":"org_a","issuer":"` + issuerA + `","origin":"local","clientId":"agt_1",
			"scopes":["orders.read","orders.write"],"agent":{"name":"Zoë","type":"tool"},
			"actors":[{"sub":"agt_2","iss":"` + issuerA + `"},{"sub":"agt_3"}],"confirmation":"none","tokenId":"t1",
			"issuedAt":1790000000,"expiresAt":1790000300,"claims":{"aud":["svc://payments"],"nbf":1789999995,"tier":"gold"}}`
		var gotTree, wantTree any
		if err := json.Unmarshal([]byte(got.Document().Value().String()), &gotTree); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(wantDocument), &wantTree); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(wantTree, gotTree); d != "" {
			t.Error(d)
		}
		v.cache.entries.Wait()
	}
}

func TestClaimsAreRefused(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	deep := map[string]any{"sub": "agt_0"}
	for n := range 8 {
		deep = map[string]any{"sub": fmt.Sprint("agt_", n+1), "act": deep}
	}
	long := strings.Repeat("a", 513)
	for name, c := range map[string]struct {
		organization string
		changes      map[string]any
		want         Reason
	}{
		"other organization":         {"org_a", map[string]any{"org_id": "org_b"}, ReasonOrganization},
		"organization, other case":   {"org_a", map[string]any{"org_id": "ORG_A"}, ReasonOrganization},
		"organization a list":        {"org_a", map[string]any{"org_id": []any{"org_a"}}, ReasonClaims},
		"organization empty":         {"org_a", map[string]any{"org_id": ""}, ReasonClaims},
		"organization empty, free":   {"", map[string]any{"org_id": ""}, ReasonClaims},
		"organization with space":    {"", map[string]any{"org_id": "org a"}, ReasonClaims},
		"organization a number":      {"", map[string]any{"org_id": 1}, ReasonClaims},
		"organization missing":       {"", map[string]any{"org_id": nil}, ReasonOrganization},
		"organization respelled":     {"org_a", map[string]any{"org_id": nil, "Org_ID": "org_b"}, ReasonClaims},
		"scope a list":               {"org_a", map[string]any{"scope": []any{"a"}}, ReasonClaims},
		"scope two spaces":           {"org_a", map[string]any{"scope": "a  b"}, ReasonClaims},
		"scope leading space":        {"org_a", map[string]any{"scope": " a"}, ReasonClaims},
		"scope tab":                  {"org_a", map[string]any{"scope": "a\tb"}, ReasonClaims},
		"scope quote":                {"org_a", map[string]any{"scope": `a"b`}, ReasonClaims},
		"scope not ASCII":            {"org_a", map[string]any{"scope": "ä"}, ReasonClaims},
		"scope line break":           {"org_a", map[string]any{"scope": "a\r\nb"}, ReasonClaims},
		"too many scopes":            {"org_a", map[string]any{"scope": strings.Repeat("a ", 256) + "a"}, ReasonClaims},
		"scope respelled":            {"org_a", map[string]any{"Scope": "admin"}, ReasonClaims},
		"client a number":            {"org_a", map[string]any{"client_id": 1}, ReasonClaims},
		"client with line break":     {"org_a", map[string]any{"client_id": "a\nb"}, ReasonClaims},
		"client too long":            {"org_a", map[string]any{"client_id": long}, ReasonClaims},
		"subject with a space":       {"org_a", map[string]any{"sub": "a b"}, ReasonClaims},
		"agent a string":             {"org_a", map[string]any{"agent": "a"}, ReasonClaims},
		"agent name a list":          {"org_a", map[string]any{"agent": map[string]any{"name": []any{}}}, ReasonClaims},
		"actor a string":             {"org_a", map[string]any{"act": "agt_2"}, ReasonClaims},
		"actor a list":               {"org_a", map[string]any{"act": []any{map[string]any{"sub": "agt_2"}}}, ReasonClaims},
		"actor without sub":          {"org_a", map[string]any{"act": map[string]any{"iss": "x"}}, ReasonClaims},
		"actor issuer a number":      {"org_a", map[string]any{"act": map[string]any{"sub": "agt_2", "iss": 1}}, ReasonClaims},
		"actor inside a string":      {"org_a", map[string]any{"act": map[string]any{"sub": "agt_2", "act": "agt_3"}}, ReasonClaims},
		"nine actors":                {"org_a", map[string]any{"act": deep}, ReasonClaims},
		"actor twice":                {"org_a", map[string]any{"act": map[string]any{"sub": "agt_2", "act": map[string]any{"sub": "agt_2"}}}, ReasonClaims},
		"bound to a key":             {"org_a", map[string]any{"cnf": map[string]any{"jkt": "x"}}, ReasonConstrained},
		"bound, whatever to":         {"org_a", map[string]any{"cnf": false}, ReasonConstrained},
		"bound, respelled":           {"org_a", map[string]any{"CNF": map[string]any{"jkt": "x"}}, ReasonClaims},
		"expired":                    {"org_a", map[string]any{"iat": noon.Unix() - 400, "exp": noon.Unix() - 60}, ReasonExpired},
		"from the future":            {"org_a", map[string]any{"iat": noon.Unix() + 61}, ReasonNotYetValid},
		"other audience":             {"org_a", map[string]any{"aud": "svc://other"}, Reason(jose.ReasonAudience)},
		"unknown issuer":             {"org_a", map[string]any{"iss": "https://evil.example"}, ReasonIssuerUnknown},
		"issuer with trailing slash": {"org_a", map[string]any{"iss": issuerA + "/"}, ReasonIssuerUnknown},
		"claim no policy can hold":   {"org_a", map[string]any{"n": json.Number("1" + strings.Repeat("0", 70))}, ReasonClaims},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, nil)
			got, _, refusal := v.identify(snapshot(trusted(issuerA, c.organization, keySet(t, k))), sign(t, k, claims(c.changes)), noon)
			if got != nil || refusal == nil || refusal.Reason != c.want || refusal.Undecided {
				t.Errorf("got %+v, %v; want %s", got, refusal, c.want)
			}
		})
	}
}

func TestClaimsAreAccepted(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	eight := map[string]any{"sub": "agt_0"}
	for n := range 7 {
		eight = map[string]any{"sub": fmt.Sprint("agt_", n+1), "act": eight}
	}
	for name, c := range map[string]struct {
		organization string
		changes      map[string]any
	}{
		"pinned, not claimed":    {"org_a", map[string]any{"org_id": nil}},
		"claimed, not pinned":    {"", nil},
		"no client":              {"org_a", map[string]any{"client_id": nil}},
		"no scope":               {"org_a", map[string]any{"scope": nil}},
		"empty scope":            {"org_a", map[string]any{"scope": ""}},
		"no agent":               {"org_a", map[string]any{"agent": nil}},
		"agent without name":     {"org_a", map[string]any{"agent": map[string]any{}}},
		"eight actors":           {"org_a", map[string]any{"act": eight}},
		"same actor, two issuer": {"org_a", map[string]any{"act": map[string]any{"sub": "agt_2", "iss": issuerA, "act": map[string]any{"sub": "agt_2", "iss": issuerB}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, refusal := newVerifier(t, nil).identify(snapshot(trusted(issuerA, c.organization, keySet(t, k))), sign(t, k, claims(c.changes)), noon)
			if refusal != nil || got.OrganizationID != "org_a" {
				t.Errorf("%+v, %v", got, refusal)
			}
		})
	}
}

// What is not loaded, or too old, cannot be decided; what is known to be bad stays refused.
func TestWhatTheSnapshotLacks(t *testing.T) {
	t.Parallel()
	k, other := newKey(t), newKey(t)
	good := claims(nil)
	list := trust.Index(nil)
	revokesAgent := trust.Index(&trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1"}}})
	for name, c := range map[string]struct {
		key    *jose.SigningKey
		change func(*state.Issuer)
		want   Reason
		later  bool // undecided
		hint   bool
	}{
		"keys missing":           {k, func(i *state.Issuer) { i.Keys = nil }, ReasonKeysMissing, true, false},
		"keys stale":             {k, func(i *state.Issuer) { i.KeysUntil = noon.Add(-time.Second) }, ReasonKeysStale, true, true},
		"keys stale, other kid":  {other, func(i *state.Issuer) { i.KeysUntil = noon.Add(-time.Second) }, ReasonKeysStale, true, true},
		"key unknown":            {other, func(*state.Issuer) {}, ReasonKeyUnknown, false, true},
		"revocations missing":    {k, func(i *state.Issuer) { i.HasRevocations = true }, ReasonRevocationsMissing, true, false},
		"revocations stale":      {k, func(i *state.Issuer) { i.Revocations, i.RevocationsUntil = list, noon.Add(-1) }, ReasonRevocationsStale, true, false},
		"revoked in a stale one": {k, func(i *state.Issuer) { i.Revocations, i.RevocationsUntil = revokesAgent, noon.Add(-1) }, ReasonRevokedAgent, false, false},
		"rules of nobody":        {k, func(i *state.Issuer) { i.Rules = jose.Rules{} }, Reason(jose.ReasonType), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked hints
			issuer := trusted(issuerA, "org_a", keySet(t, k))
			c.change(issuer)
			s := snapshot()
			s.Issuers[issuerA] = issuer
			got, _, refusal := newVerifier(t, &asked).identify(s, sign(t, c.key, good), noon)
			if got != nil || refusal == nil || refusal.Reason != c.want || refusal.Undecided != c.later {
				t.Errorf("got %+v, %v; want %s", got, refusal, c.want)
			}
			if c.hint != (len(asked) == 1 && asked[0] == issuerA) || !c.hint && len(asked) > 0 {
				t.Errorf("hints %v", asked)
			}
		})
	}
}

// Everything that can change while a token lives is looked at on every request, remembered or not.
func TestRememberedTokensAreCheckedAgain(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keys := keySet(t, k)
	token := sign(t, k, claims(map[string]any{"act": map[string]any{"sub": "agt_actor"}}))
	revoke := func(l trust.RevocationList) func(*state.Issuer) {
		return func(i *state.Issuer) { i.Revocations = trust.Index(&l) }
	}
	for name, c := range map[string]struct {
		change func(*state.Issuer)
		at     time.Time
		want   Reason
	}{
		"nothing changed":           {func(*state.Issuer) {}, noon, ""},
		"same rules, other pointer": {func(i *state.Issuer) { i.Rules.Audiences = []string{"svc://payments"} }, noon, ""},
		"last second":               {func(*state.Issuer) {}, noon.Add(359 * time.Second), ""},
		"expired":                   {func(*state.Issuer) {}, noon.Add(360 * time.Second), ReasonExpired},
		"clock went back":           {func(*state.Issuer) {}, noon.Add(-61 * time.Second), ReasonNotYetValid},
		"token revoked":             {revoke(trust.RevocationList{Tokens: []trust.Token{{ID: "t1"}}}), noon, ReasonRevokedToken},
		"agent revoked":             {revoke(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1"}}}), noon, ReasonRevokedAgent},
		"agent revoked before":      {revoke(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1", IssuedBefore: noon.Unix()}}}), noon, ""},
		"agent revoked after":       {revoke(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1", IssuedBefore: noon.Unix() + 1}}}), noon, ReasonRevokedAgent},
		"actor revoked":             {revoke(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_actor"}}}), noon, ReasonRevokedAgent},
		"organization revoked":      {revoke(trust.RevocationList{Organizations: []trust.Organization{{ID: "org_a"}}}), noon, ReasonRevokedOrg},
		"key revoked":               {revoke(trust.RevocationList{Keys: []trust.Key{{ID: k.ID()}}}), noon, ReasonRevokedKey},
		"revocations lost":          {func(i *state.Issuer) { i.HasRevocations = true }, noon, ReasonRevocationsMissing},
		"keys too old":              {func(i *state.Issuer) { i.KeysUntil = noon.Add(-1) }, noon, ReasonKeysStale},
		"key withdrawn":             {func(i *state.Issuer) { i.Keys = keySet(t, newKey(t)) }, noon, ReasonKeyUnknown},
		"keys gone":                 {func(i *state.Issuer) { i.Keys = nil }, noon, ReasonKeysMissing},
		"audience changed":          {func(i *state.Issuer) { i.Rules.Audiences = []string{"svc://x"} }, noon, Reason(jose.ReasonAudience)},
		"type changed":              {func(i *state.Issuer) { i.Rules.Types = []string{"jwt"} }, noon, Reason(jose.ReasonType)},
		"algorithm withdrawn":       {func(i *state.Issuer) { i.Rules.Algorithms = []jose.Algorithm{jose.RS256} }, noon, Reason(jose.ReasonAlgorithm)},
		"lifetime cut":              {func(i *state.Issuer) { i.Rules.LifetimeMax = time.Minute }, noon, Reason(jose.ReasonLifetime)},
		"organization changed":      {func(i *state.Issuer) { i.OrganizationID = "org_b" }, noon, ReasonOrganization},
		"issuer of another name":    {func(i *state.Issuer) { i.Rules.Issuer = issuerB }, noon, Reason(jose.ReasonIssuer)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked hints
			v := newVerifier(t, &asked)
			if _, _, refusal := v.identify(snapshot(trusted(issuerA, "org_a", keys)), token, noon); refusal != nil {
				t.Fatal(refusal)
			}
			v.cache.entries.Wait()
			if v.cache.get(token) == nil {
				t.Fatal("the token is not remembered: the test proves nothing")
			}
			next := trusted(issuerA, "org_a", keys)
			c.change(next)
			s := snapshot()
			s.Issuers[issuerA] = next
			got, _, refusal := v.identify(s, token, c.at)
			if early := c.want == ReasonKeysStale || c.want == ReasonKeyUnknown; early != (len(asked) == 1) {
				t.Errorf("hints %v", asked)
			}
			if c.want == "" {
				if refusal != nil {
					t.Error(refusal)
				}
				return
			}
			if got != nil || refusal == nil || refusal.Reason != c.want {
				t.Errorf("got %+v, %v; want %s", got, refusal, c.want)
			}
		})
	}
	t.Run("issuer no longer trusted", func(t *testing.T) {
		t.Parallel()
		v := newVerifier(t, nil)
		if _, _, refusal := v.identify(snapshot(trusted(issuerA, "org_a", keys)), token, noon); refusal != nil {
			t.Fatal(refusal)
		}
		v.cache.entries.Wait()
		if _, _, refusal := v.identify(snapshot(), token, noon); refusal == nil || refusal.Reason != ReasonIssuerUnknown {
			t.Error(refusal)
		}
	})
}

// CVE-2026-49998: keys are found by issuer and kid, never by kid alone.
func TestSameKeyIDAtTwoIssuers(t *testing.T) {
	t.Parallel()
	a, b := newKey(t), newKey(t)
	rename := func(k *jose.SigningKey) *jose.KeySet {
		var jwk map[string]any
		if err := json.Unmarshal(k.PublicJWK(), &jwk); err != nil {
			t.Fatal(err)
		}
		jwk["kid"] = a.ID()
		doc, err := json.Marshal(map[string]any{"keys": []any{jwk}})
		if err != nil {
			t.Fatal(err)
		}
		set, _, err := jose.ParseKeySet(doc)
		if err != nil || set.Len() != 1 {
			t.Fatal(err)
		}
		return set
	}
	s := snapshot(trusted(issuerA, "org_a", keySet(t, a)), trusted(issuerB, "org_b", rename(b)))
	v := newVerifier(t, nil)
	if _, _, refusal := v.identify(s, sign(t, a, claims(nil)), noon); refusal != nil {
		t.Error(refusal)
	}
	forged := sign(t, a, claims(map[string]any{"iss": issuerB, "org_id": "org_b"}))
	if _, _, refusal := v.identify(s, forged, noon); refusal == nil || refusal.Reason != Reason(jose.ReasonSignature) {
		t.Errorf("a's key speaks for b: %v", refusal)
	}
}

// The library tells entries apart by hashes; get compares every byte.
func TestCacheComparesTheWholeToken(t *testing.T) {
	t.Parallel()
	c, err := newCache(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.entries.SetWithTTL("asked", &verdict{token: "another", identity: Identity{}}, 1, time.Hour)
	c.entries.Wait()
	if _, there := c.entries.Get("asked"); !there {
		t.Fatal("not stored: the test proves nothing")
	}
	if v := c.get("asked"); v != nil {
		t.Errorf("got the verdict of %q", v.token)
	}
}

func TestRefusedTokensAreNotRemembered(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	v := newVerifier(t, nil)
	token := sign(t, k, claims(map[string]any{"org_id": "org_b"}))
	if _, _, refusal := v.identify(snapshot(trusted(issuerA, "org_a", keySet(t, k))), token, noon); refusal == nil {
		t.Fatal("accepted")
	}
	v.cache.entries.Wait()
	if v.cache.get(token) != nil {
		t.Error("remembered")
	}
}

func BenchmarkIdentify(b *testing.B) {
	k := newKey(b)
	s := snapshot(trusted(issuerA, "org_a", keySet(b, k)))
	token := sign(b, k, claims(map[string]any{"pad": strings.Repeat("p", 150)}))
	b.Run("remembered", func(b *testing.B) {
		v := newVerifier(b, nil)
		if _, _, refusal := v.identify(s, token, noon); refusal != nil {
			b.Fatal(refusal)
		}
		v.cache.entries.Wait()
		b.ReportAllocs()
		for b.Loop() {
			if _, result, refusal := v.identify(s, token, noon); refusal != nil || !result.Remembered {
				b.Fatal(refusal)
			}
		}
	})
	b.Run("verified", func(b *testing.B) {
		v := newVerifier(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			if _, _, refusal := v.verify(s, token, noon); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
}
