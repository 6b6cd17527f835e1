package jose_test

import (
	"errors"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// errNoKey is the caller's refusal: no usable key has the kid of the token.
var errNoKey = errors.New("no such key")

// verify is what every caller does: parse, look up the key, verify.
func verify(token string, keys *jose.KeySet, rules *jose.Rules, now time.Time) (*jose.Claims, error) {
	parsed, err := jose.ParseToken(token)
	if err != nil {
		return nil, err
	}
	key, ok := keys.Lookup(parsed.KeyID())
	if !ok {
		return nil, errNoKey
	}
	return parsed.Verify(key, rules, now)
}

func corpusKeys(t testing.TB) *jose.KeySet {
	t.Helper()
	keys, _, err := jose.ParseKeySet(josetest.KeySetDocument())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func reasonOf(err error) jose.Reason {
	var refusal *jose.Error
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	keys := corpusKeys(t)
	for _, tt := range josetest.Corpus() {
		t.Run(tt.Group+" "+tt.Name, func(t *testing.T) {
			t.Parallel()
			claims, err := verify(tt.Token, keys, josetest.Rules(), josetest.Now())
			switch {
			case tt.Accept && err != nil:
				t.Errorf("refused (%v) but good: %s", err, tt.Why)
			case !tt.Accept && err == nil:
				t.Errorf("WRONG ACCEPT as %s: %s", claims.Subject, tt.Why)
			case !tt.Accept && claims != nil:
				t.Errorf("refused, but claims were given")
			case tt.Reason != "" && reasonOf(err) != tt.Reason:
				t.Errorf("refused for %q (%v), want %q: %s", reasonOf(err), err, tt.Reason, tt.Why)
			}
		})
	}
}

// TestCorpusCounts keeps the corpus from shrinking unnoticed.
func TestCorpusCounts(t *testing.T) {
	t.Parallel()
	rejects, accepts := map[string]int{}, 0
	total := 0
	seen := map[string]bool{}
	for _, c := range josetest.Corpus() {
		if name := c.Group + " " + c.Name; seen[name] {
			t.Errorf("two cases are named %q", name)
		} else {
			seen[name] = true
		}
		if c.Why == "" {
			t.Errorf("%s %s does not say why", c.Group, c.Name)
		}
		if c.Accept {
			accepts++
			continue
		}
		rejects[c.Group]++
		total++
	}
	for _, g := range josetest.Groups {
		if rejects[g.Letter] < g.Rejects {
			t.Errorf("group %s (%s) has %d attacks, want %d at least", g.Letter, g.What, rejects[g.Letter], g.Rejects)
		}
		delete(rejects, g.Letter)
	}
	if len(rejects) > 0 {
		t.Errorf("attacks in unknown groups: %v", rejects)
	}
	if total < 359 || accepts < 12 {
		t.Errorf("%d attacks and %d good tokens, want 359 and 12 at least", total, accepts)
	}
	t.Logf("%d attacks, %d good tokens", total, accepts)
}

// TestRefusalsRepeatNothing: refusals are logged and some reach strangers.
func TestRefusalsRepeatNothing(t *testing.T) {
	t.Parallel()
	texts := map[string]bool{}
	keys := corpusKeys(t)
	for _, c := range josetest.Corpus() {
		if _, err := verify(c.Token, keys, josetest.Rules(), josetest.Now()); err != nil {
			texts[err.Error()] = true
		}
	}
	// Fixed texts are few; a text with bytes of the token would come in as many forms as there are tokens.
	if len(texts) > 45 {
		t.Errorf("%d different texts for all refusals: %v", len(texts), texts)
	}
}

// TestReasons: each reason is reached by some attack, and the list for metrics is whole.
func TestReasons(t *testing.T) {
	t.Parallel()
	reached := map[jose.Reason]bool{"": true}
	for _, c := range josetest.Corpus() {
		reached[c.Reason] = true
	}
	for _, reason := range jose.Reasons() {
		if !reached[reason] {
			t.Errorf("no attack is refused for %s", reason)
		}
		delete(reached, reason)
	}
	delete(reached, "")
	if len(reached) > 0 {
		t.Errorf("reasons that are not listed: %v", reached)
	}
}

func TestTokenShowsWhatSelectsTheKey(t *testing.T) {
	t.Parallel()
	token, err := jose.ParseToken(josetest.Valid())
	if err != nil {
		t.Fatal(err)
	}
	if token.Issuer() != josetest.Issuer || token.KeyID() != "ec-1" {
		t.Errorf("issuer %q, key %q", token.Issuer(), token.KeyID())
	}
}
