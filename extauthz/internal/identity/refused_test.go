package identity

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/admission"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
)

// checks is how many signatures were checked.
func checks(g *admission.Gate) int {
	free, suspect, _ := g.Counts()
	return int(free + suspect)
}

// What is known to be bad is known by every byte, under the keys it was bad under, for a short while.
func TestBadSignaturesAreRemembered(t *testing.T) {
	t.Parallel()
	k, another := newKey(t), newKey(t)
	keys := keySet(t, k)
	before := snapshot(trusted(issuerA, "org_a", keys))
	good := sign(t, k, claims(nil))
	bad := good[:strings.LastIndex(good, ".")+1] + strings.Repeat("A", 86)
	var later *state.Issuer
	for name, c := range map[string]struct {
		change func(s *state.Snapshot)
		token  string
		after  time.Duration
		again  bool // it is checked again
		want   Reason
	}{
		"the same":               {nil, bad, 0, false, "token_signature"},
		"the same, a bit later":  {nil, bad, refusedLife - 1, false, "token_signature"},
		"the same, later":        {nil, bad, refusedLife, true, "token_signature"},
		"another bad one":        {nil, bad[:len(bad)-1] + "Q", 0, true, "token_signature"},
		"the good one":           {nil, good, 0, true, ""},
		"the keys were replaced": {func(s *state.Snapshot) { later.Keys = keySet(t, another) }, bad, 0, true, "key_unknown"},
		"the keys came again":    {func(s *state.Snapshot) { later.Keys = keySet(t, k) }, bad, 0, true, "token_signature"},
		"nobody trusts it now":   {func(s *state.Snapshot) { delete(s.Issuers, issuerA) }, bad, 0, true, "issuer_unknown"},
		"the keys are too old":   {func(s *state.Snapshot) { later.KeysUntil = noon.Add(-time.Second) }, bad, 0, true, ReasonKeysStale},
	} {
		v, gate := newVerifier(t, nil), admission.New(2, noon)
		v.Admit(gate)
		if _, _, refusal := v.identify(before, bad, noon); refusal == nil || refusal.Reason != Reason(jose.ReasonSignature) || checks(gate) != 1 {
			t.Fatalf("%s: at first %v", name, refusal)
		}
		later = trusted(issuerA, "org_a", keys)
		now := snapshot(later)
		if c.change != nil {
			c.change(now)
		}
		_, _, refusal := v.identify(now, c.token, noon.Add(c.after))
		got := Reason("")
		if refusal != nil {
			got = refusal.Reason
		}
		if got != c.want || (checks(gate) == 2) != c.again {
			t.Errorf("%s: %q after %d checks, want %q, again %v", name, got, checks(gate), c.want, c.again)
		}
	}
}

// What depends on the time or on rules is never remembered to be bad, and what cost a check is held against its source.
func TestOnlyBadSignaturesAreRemembered(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	s := snapshot(trusted(issuerA, "org_a", keySet(t, k)))
	for name, c := range map[string]struct {
		token string
		held  bool
	}{
		"expired":          {sign(t, k, claims(map[string]any{"exp": noon.Unix() - 3600, "iat": noon.Unix() - 3700})), true},
		"not yet valid":    {sign(t, k, claims(map[string]any{"nbf": noon.Unix() + 3600})), true},
		"another audience": {sign(t, k, claims(map[string]any{"aud": "svc://elsewhere"})), true},
		"another issuer":   {sign(t, k, claims(map[string]any{"iss": issuerB})), false},
		"garbage":          {"a.b.c", false},
		"unknown key":      {sign(t, newKey(t), claims(nil)), false},
	} {
		v, gate := newVerifier(t, nil), admission.New(2, noon)
		v.Admit(gate)
		for range admission.BadMax + 1 {
			if _, _, refusal := v.Identify(s, "192.0.2.1", c.token, noon); refusal == nil {
				t.Fatalf("%s: accepted", name)
			}
		}
		if _, suspect, _ := gate.Counts(); v.RefusedHits() != 0 || checks(gate) != admission.BadMax+1 || (suspect == 1) != c.held {
			t.Errorf("%s: %d known, %d checks, suspected %v", name, v.RefusedHits(), checks(gate), suspect == 1)
		}
	}
}

// However many bad tokens there are, a fixed number is remembered.
func TestRefusedIsBounded(t *testing.T) {
	t.Parallel()
	var r refused
	issuer := trusted(issuerA, "org_a", keySet(t, newKey(t)))
	why := refuse(Reason(jose.ReasonSignature), "")
	for n := range 3 * refusedMax {
		r.put(issuer, strconv.Itoa(n), why, noon)
	}
	last := strconv.Itoa(3*refusedMax - 1)
	if r.find(snapshot(issuer), last, noon) != why {
		t.Error("the newest one is not remembered")
	}
	if r.put(nil, last, why, noon); len(r.entries) != refusedMax {
		t.Error("no bound")
	}
}
