package jose_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// TestPS256SaltIsChecked accepts PS256, as the rules of the corpus do not.
func TestPS256SaltIsChecked(t *testing.T) {
	t.Parallel()
	rules := josetest.Rules()
	rules.Algorithms = append(rules.Algorithms, jose.PS256)
	checked := 0
	for _, c := range josetest.Corpus() {
		if !strings.HasPrefix(c.Name, "PS256 salt") {
			continue
		}
		checked++
		if _, err := verify(c.Token, corpusKeys(t), rules, fixedNow); reasonOf(err) != jose.ReasonSignature {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if checked < 5 {
		t.Errorf("%d salts were checked", checked)
	}
}

// TestZeroRulesAcceptNothing, and neither does any single field left out.
func TestZeroRulesAcceptNothing(t *testing.T) {
	t.Parallel()
	keys, token := corpusKeys(t), josetest.Valid()
	for name, tt := range map[string]struct {
		change func(*jose.Rules)
		want   jose.Reason
	}{
		"all":                 {func(r *jose.Rules) { *r = jose.Rules{} }, jose.ReasonType},
		"Types":               {func(r *jose.Rules) { r.Types = nil }, jose.ReasonType},
		"Algorithms":          {func(r *jose.Rules) { r.Algorithms = nil }, jose.ReasonAlgorithm},
		"LifetimeMax":         {func(r *jose.Rules) { r.LifetimeMax = 0 }, jose.ReasonLifetime},
		"Issuer":              {func(r *jose.Rules) { r.Issuer = "" }, jose.ReasonIssuer},
		"Audiences":           {func(r *jose.Rules) { r.Audiences = nil }, jose.ReasonAudience},
		"nothing":             {func(*jose.Rules) {}, ""},
		"Audiences, for any":  {func(r *jose.Rules) { r.Audiences, r.AnyAudience = nil, true }, ""},
		"any audience, alone": {func(r *jose.Rules) { *r = jose.Rules{AnyAudience: true} }, jose.ReasonType},
	} {
		rules := josetest.Rules()
		tt.change(rules)
		if _, err := verify(token, keys, rules, fixedNow); reasonOf(err) != tt.want || (tt.want == "") != (err == nil) {
			t.Errorf("without %s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestVerifyWantsTheNamedKey(t *testing.T) {
	t.Parallel()
	parsed, err := jose.ParseToken(josetest.Valid())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := corpusKeys(t).Lookup("ec-2")
	for _, key := range []*jose.VerificationKey{nil, other} {
		if _, err := parsed.Verify(key, josetest.Rules(), fixedNow); reasonOf(err) != jose.ReasonKeyID {
			t.Errorf("key %v: %v", key, err)
		}
	}
}

// TestVerifyTwice: a token may be judged by several rules, and what one caller does with its claims is nobody else's matter.
func TestVerifyTwice(t *testing.T) {
	t.Parallel()
	parsed, err := jose.ParseToken(josetest.Valid())
	if err != nil {
		t.Fatal(err)
	}
	key, _ := corpusKeys(t).Lookup(parsed.KeyID())
	first, err := parsed.Verify(key, josetest.Rules(), fixedNow)
	if err != nil {
		t.Fatal(err)
	}
	clear(first.Extra)
	first.Audience[0] = "changed"
	second, err := parsed.Verify(key, josetest.Rules(), fixedNow)
	if err != nil {
		t.Fatal(err)
	}
	if second.Extra["org_id"] != "org_a" || second.Audience[0] != josetest.Audience {
		t.Errorf("second verification gives %+v", second)
	}
	if _, err := parsed.Verify(key, josetest.Rules(), fixedNow.Add(time.Hour)); reasonOf(err) != jose.ReasonExpired {
		t.Errorf("an hour later: %v", err)
	}
}

func TestTokenWithoutTypeCountsAsJWT(t *testing.T) {
	t.Parallel()
	rules := josetest.Rules()
	rules.Types = []string{"jwt"}
	accepted := map[string]bool{"typ missing": true, "ID token": true, "JWT": true}
	for _, c := range josetest.Corpus() {
		if c.Group != "Y" {
			continue
		}
		_, err := verify(c.Token, corpusKeys(t), rules, fixedNow)
		if (err == nil) != accepted[c.Name] {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}
