package identity

import (
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/trust"
)

const partnerID = "prt_1"

// lists are what the issuers of a world have revoked.
type lists struct{ home, own, other *trust.RevocationList }

// federation is a world in which issuerB is a partner's of issuerA, and issuerC somebody else's who publishes a list.
func federation(t testing.TB, trusts func() [3]*state.Issuer, l lists) *state.Snapshot {
	t.Helper()
	issuers := trusts()
	for n, list := range []*trust.RevocationList{l.home, l.own, l.other} {
		issuers[n].HasRevocations, issuers[n].Revocations = true, trust.Index(list)
	}
	return snapshot(issuers[:]...)
}

const issuerC = "https://issuer.example/org/c"

// Whatever revokes a token does so at the next request, whether the token is remembered or not; and what is dead is not remembered.
func TestEveryKindOfRevocation(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keys := keySet(t, k)
	trusts := func() [3]*state.Issuer {
		b := trusted(issuerB, "org_b", keys)
		b.PartnerID, b.PartnerOf = partnerID, issuerA
		return [3]*state.Issuer{trusted(issuerA, "org_a", keys), b, trusted(issuerC, "org_c", keys)}
	}
	local := sign(t, k, claims(map[string]any{"credential_id": "crd_1", "act": map[string]any{
		"sub": "agt_near", "iss": issuerA, "credential_id": "crd_near", "org_id": "org_near",
		"act": map[string]any{"sub": "agt_far", "iss": issuerC, "credential_id": "crd_far", "act": map[string]any{"sub": "agt_plain"}},
	}}))
	federated := sign(t, k, claims(map[string]any{"iss": issuerB, "org_id": "org_b", "credential_id": "crd_1", "act": map[string]any{"sub": "agt_far", "iss": issuerC}}))
	quiet := sign(t, k, claims(map[string]any{"act": map[string]any{"sub": "agt_plain", "act": map[string]any{"sub": "agt_near", "credential_id": "crd_near"}}}))
	before, from := noon.Unix()+1, noon.Unix() // the tokens were issued at noon
	list := func(l trust.RevocationList) *trust.RevocationList { return &l }
	for name, c := range map[string]struct {
		token string
		lists lists
		want  Reason
	}{
		"local, nothing":               {local, lists{}, ""},
		"token":                        {local, lists{home: list(trust.RevocationList{Tokens: []trust.Token{{ID: "t1"}}})}, ReasonRevokedToken},
		"agent":                        {local, lists{home: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1", IssuedBefore: before}}})}, ReasonRevokedAgent},
		"agent, watermark passed":      {local, lists{home: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1", IssuedBefore: from}}})}, ""},
		"organization":                 {local, lists{home: list(trust.RevocationList{Organizations: []trust.Organization{{ID: "org_a"}}})}, ReasonRevokedOrg},
		"credential":                   {local, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_1"}}})}, ReasonRevokedCred},
		"another credential":           {local, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_2"}}})}, ""},
		"key":                          {local, lists{home: list(trust.RevocationList{Keys: []trust.Key{{ID: k.ID()}}})}, ReasonRevokedKey},
		"issuer":                       {local, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerA}}})}, ReasonRevokedIssuer},
		"issuer, issued before":        {local, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerA, IssuedBefore: before}}})}, ReasonRevokedIssuer},
		"issuer, watermark passed":     {local, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerA, IssuedBefore: from}}})}, ""},
		"a partner, local token":       {local, lists{home: list(trust.RevocationList{Partners: []trust.Partner{{ID: partnerID}}})}, ""},
		"a stranger says issuer":       {local, lists{other: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerA}}})}, ""},
		"a stranger says organization": {local, lists{other: list(trust.RevocationList{Organizations: []trust.Organization{{ID: "org_a"}}})}, ""},

		"actor":                           {local, lists{home: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_near"}}})}, ReasonRevokedAgent},
		"actor's credential":              {local, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_near"}}})}, ReasonRevokedCred},
		"actor's organization":            {local, lists{home: list(trust.RevocationList{Organizations: []trust.Organization{{ID: "org_near"}}})}, ReasonRevokedOrg},
		"last actor, no issuer":           {local, lists{home: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_plain"}}})}, ReasonRevokedAgent},
		"credential behind a quiet actor": {quiet, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_near"}}})}, ReasonRevokedCred},
		"quiet chain, nothing":            {quiet, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "agt_plain"}}})}, ""},
		"actor, by its issuer":            {local, lists{other: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_far"}}})}, ReasonRevokedAgent},
		"credential, by its issuer":       {local, lists{other: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_far"}}})}, ReasonRevokedCred},
		"actor's issuer, by itself":       {local, lists{other: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerC}}})}, ReasonRevokedIssuer},
		"actor's issuer, by ours":         {local, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerC, IssuedBefore: before}}})}, ReasonRevokedIssuer},
		"our actor, by the stranger":      {local, lists{other: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_near"}, {ID: "agt_1"}}})}, ""},

		"federated, nothing":          {federated, lists{}, ""},
		"partner":                     {federated, lists{home: list(trust.RevocationList{Partners: []trust.Partner{{ID: partnerID}}})}, ReasonRevokedPeer},
		"partner, issued before":      {federated, lists{home: list(trust.RevocationList{Partners: []trust.Partner{{ID: partnerID, IssuedBefore: before}}})}, ReasonRevokedPeer},
		"partner, watermark passed":   {federated, lists{home: list(trust.RevocationList{Partners: []trust.Partner{{ID: partnerID, IssuedBefore: from}}})}, ""},
		"another partner":             {federated, lists{home: list(trust.RevocationList{Partners: []trust.Partner{{ID: "prt_2"}}})}, ""},
		"partner's issuer":            {federated, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerB}}})}, ReasonRevokedIssuer},
		"partner's issuer, by itself": {federated, lists{own: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerB}}})}, ReasonRevokedIssuer},
		"partner's credential":        {federated, lists{own: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_1"}}})}, ReasonRevokedCred},
		"ours of the same name":       {federated, lists{home: list(trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_1"}}, Agents: []trust.Agent{{ID: "agt_1"}}, Tokens: []trust.Token{{ID: "t1"}}})}, ""},
		"the home issuer itself":      {federated, lists{home: list(trust.RevocationList{Issuers: []trust.Issuer{{ID: issuerA}}})}, ""},
		"a stranger says partner":     {federated, lists{other: list(trust.RevocationList{Partners: []trust.Partner{{ID: partnerID}}, Issuers: []trust.Issuer{{ID: issuerB}}})}, ""},
		"federated, actor elsewhere":  {federated, lists{other: list(trust.RevocationList{Agents: []trust.Agent{{ID: "agt_far"}}})}, ReasonRevokedAgent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := federation(t, trusts, c.lists)
			fresh := newVerifier(t, nil)
			_, result, refusal := fresh.identify(s, c.token, noon)
			if result.Remembered {
				t.Fatal("remembered before it was seen")
			}
			wantRefusal(t, "not remembered", refusal, c.want)
			fresh.cache.entries.Wait()
			if kept := fresh.cache.get(c.token) != nil; kept != (c.want == "") {
				t.Errorf("a new token is kept: %v", kept)
			}

			v := newVerifier(t, nil)
			if _, _, refusal := v.identify(federation(t, trusts, lists{}), c.token, noon); refusal != nil {
				t.Fatal(refusal)
			}
			v.cache.entries.Wait()
			_, result, refusal = v.identify(s, c.token, noon)
			if !result.Remembered {
				t.Fatal("the token is not remembered: the test proves nothing")
			}
			wantRefusal(t, "remembered", refusal, c.want)
			v.cache.entries.Wait()
			if kept := v.cache.get(c.token) != nil; kept != (c.want == "") {
				t.Errorf("a remembered token is kept: %v", kept)
			}
		})
	}
}

func wantRefusal(t *testing.T, when string, got *Refusal, want Reason) {
	t.Helper()
	if got == nil && want == "" || got != nil && got.Reason == want && !got.Undecided {
		return
	}
	t.Errorf("%s: %v, want %q", when, got, want)
}

// A federated identity says so, and one that becomes federated, or another partner's, is made anew.
func TestOriginFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keys := keySet(t, k)
	token := sign(t, k, claims(map[string]any{"iss": issuerB, "org_id": "org_b"}))
	v := newVerifier(t, nil)
	for _, c := range []struct{ partner, origin string }{{"", "local"}, {"prt_1", "federated"}, {"prt_2", "federated"}, {"", "local"}} {
		b := trusted(issuerB, "org_b", keys)
		if c.partner != "" {
			b.PartnerID, b.PartnerOf = c.partner, issuerA
		}
		got, result, refusal := v.identify(snapshot(trusted(issuerA, "org_a", keys), b), token, noon)
		if refusal != nil || result.Remembered || got.Origin != c.origin || got.PartnerID != c.partner {
			t.Errorf("partner %q: %+v, %v", c.partner, got, refusal)
		}
		v.cache.entries.Wait()
	}
}

// What cannot be known does not let anybody in, and what is known to be dead stays dead.
func TestListsThatAreMissing(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keys := keySet(t, k)
	token := sign(t, k, claims(map[string]any{"iss": issuerB, "org_id": "org_b", "act": map[string]any{"sub": "agt_far", "iss": issuerC}}))
	revoked := trust.Index(&trust.RevocationList{Partners: []trust.Partner{{ID: partnerID}}})
	for name, c := range map[string]struct {
		change func(map[string]*state.Issuer)
		want   Reason
		later  bool
	}{
		"home list missing": {func(m map[string]*state.Issuer) { m[issuerA].HasRevocations = true }, ReasonRevocationsMissing, true},
		"home list old": {func(m map[string]*state.Issuer) {
			m[issuerA].Revocations, m[issuerA].RevocationsUntil = trust.Index(nil), noon.Add(-1)
		}, ReasonRevocationsStale, true},
		"home unknown": {func(m map[string]*state.Issuer) { delete(m, issuerA) }, ReasonRevocationsMissing, true},
		"actor's list old": {func(m map[string]*state.Issuer) {
			m[issuerC].Revocations, m[issuerC].RevocationsUntil = trust.Index(nil), noon.Add(-1)
		}, ReasonRevocationsStale, true},
		"actor's issuer gone": {func(m map[string]*state.Issuer) { delete(m, issuerC) }, "", false}, // the token's issuer speaks for it
		"own list missing, partner revoked": {func(m map[string]*state.Issuer) {
			m[issuerB].HasRevocations, m[issuerA].Revocations = true, revoked
		}, ReasonRevokedPeer, false},
		"home list old, partner revoked": {func(m map[string]*state.Issuer) {
			m[issuerA].Revocations, m[issuerA].RevocationsUntil = revoked, noon.Add(-1)
		}, ReasonRevokedPeer, false},
		"issued before the operator's time": {func(m map[string]*state.Issuer) { m[issuerB].TokensNotBefore = noon.Unix() + 1 }, ReasonRevokedIssuer, false},
		"issued at the operator's time":     {func(m map[string]*state.Issuer) { m[issuerB].TokensNotBefore = noon.Unix() }, "", false},
		"actor's issuer by the operator":    {func(m map[string]*state.Issuer) { m[issuerC].TokensNotBefore = noon.Unix() + 1 }, ReasonRevokedIssuer, false},
		"home by the operator":              {func(m map[string]*state.Issuer) { m[issuerA].TokensNotBefore = noon.Unix() + 1 }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := trusted(issuerB, "org_b", keys)
			b.PartnerID, b.PartnerOf = partnerID, issuerA
			s := snapshot(trusted(issuerA, "org_a", keys), b, trusted(issuerC, "org_c", keys))
			c.change(s.Issuers)
			v := newVerifier(t, nil)
			for range 2 { // verified, then perhaps remembered
				_, _, refusal := v.identify(s, token, noon)
				if got := refusal; c.later && (got == nil || got.Reason != c.want || !got.Undecided) {
					t.Errorf("got %v, want %s, undecided", got, c.want)
				}
				if !c.later {
					wantRefusal(t, "known", refusal, c.want)
				}
				v.cache.entries.Wait()
			}
		})
	}
}

// What a token or an actor can be revoked by must be comparable.
func TestCredentialsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	s := snapshot(trusted(issuerA, "org_a", keySet(t, k)))
	actor := func(name string, value any) map[string]any {
		return map[string]any{"act": map[string]any{"sub": "agt_2", name: value}}
	}
	for name, changes := range map[string]map[string]any{
		"credential a number":        {"credential_id": 1},
		"credential empty":           {"credential_id": ""},
		"credential with a space":    {"credential_id": "crd 1"},
		"credential respelled":       {"Credential_ID": "crd_1"},
		"actor's credential a list":  actor("credential_id", []any{"crd_1"}),
		"actor's organization empty": actor("org_id", ""),
		"actor's issuer empty":       actor("iss", ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, refusal := newVerifier(t, nil).identify(s, sign(t, k, claims(changes)), noon)
			wantRefusal(t, "claim", refusal, ReasonClaims)
		})
	}
	got, _, refusal := newVerifier(t, nil).identify(s, sign(t, k, claims(map[string]any{"credential_id": "crd_1"})), noon.Add(time.Second))
	if refusal != nil || got.CredentialID != "crd_1" {
		t.Errorf("%+v, %v", got, refusal)
	}
}

// What a list kills is forgotten with the list, also when it never comes again; what lives, and what cannot be decided, is not.
func TestForgetDropsTheDead(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	keys := keySet(t, k)
	v := newVerifier(t, nil)
	before := snapshot(trusted(issuerA, "org_a", keys), trusted(issuerB, "org_b", keys), trusted(issuerC, "org_c", keys))
	token := func(issuer, organization, id string) string {
		compact := sign(t, k, claims(map[string]any{"iss": issuer, "org_id": organization, "jti": id, "credential_id": "crd_" + id}))
		if _, _, refusal := v.identify(before, compact, noon); refusal != nil {
			t.Fatal(refusal)
		}
		v.cache.entries.Wait()
		return compact
	}
	dead, alive := token(issuerA, "org_a", "dead"), token(issuerA, "org_a", "alive")
	gone, unsure := token(issuerB, "org_b", "gone"), token(issuerC, "org_c", "unsure")
	a, c := trusted(issuerA, "org_a", keys), trusted(issuerC, "org_c", keys)
	a.Revocations = trust.Index(&trust.RevocationList{Credentials: []trust.Credential{{ID: "crd_dead"}}})
	c.HasRevocations = true // and not loaded
	if n := v.Forget(snapshot(a, c), noon); n != 2 {
		t.Errorf("%d forgotten, want 2", n)
	}
	v.cache.entries.Wait()
	for compact, want := range map[string]bool{dead: false, alive: true, gone: false, unsure: true} {
		if kept := v.cache.get(compact) != nil; kept != want {
			t.Errorf("a token is remembered: %v, want %v", kept, want)
		}
	}
}
