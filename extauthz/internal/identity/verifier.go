package identity

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
)

// Hints is told of issuers whose keys should be read early: a token names one that nobody knows, or those known are too old. It must not block, and
// must bound what it does about it: anybody can send such tokens.
type Hints interface{ ReadEarly(issuer string) }

// Verifier verifies tokens and remembers those that were good. It is safe for concurrent use.
type Verifier struct {
	cache *cache
	rules ruleBook
	hints Hints
	strangers
}

// NewVerifier remembers verified tokens in at most about cacheBytes of memory. hints may be nil.
func NewVerifier(cacheBytes int64, hints Hints) (*Verifier, error) {
	c, err := newCache(cacheBytes)
	if err != nil {
		return nil, err
	}
	return &Verifier{cache: c, hints: hints}, nil
}

// Close stops the cache's goroutines. No call may follow.
func (v *Verifier) Close() { v.cache.close() }

// Result says what Identify did, for metrics.
type Result struct{ Remembered bool }

// verdict is a token that was verified, and what it was verified against.
type verdict struct {
	token        string
	identity     Identity
	keys         *jose.KeySet
	rules        *jose.Rules // one for all verdicts under these rules
	organization string
}

// Identify returns whom the token proves, at this moment and against this snapshot, or why nobody. source is where the
// request comes from: a source that sent too many bad tokens may be refused without a look at this one (ReasonCrowded).
//
// A remembered token skips only what cannot have changed: it counts when every byte of it, the issuer's key set, rules
// and organization are the same as when it was verified. Time, revocation and the age of keys and revocations are checked
// on every call. A token that is refused for good is not remembered any longer.
func (v *Verifier) Identify(s *state.Snapshot, source, token string, now time.Time) (*Identity, Result, *Refusal) {
	if who, refusal, known := v.Recall(s, token, now); known {
		return who, Result{Remembered: true}, refusal
	}
	issuer, fresh, refusal := v.verifyStranger(s, source, token, now)
	if refusal != nil {
		return nil, Result{}, refusal
	}
	refusal = fresh.identity.check(s, issuer, now)
	if refusal == nil || refusal.Undecided {
		v.cache.put(fresh, now)
	}
	if refusal != nil {
		return nil, Result{}, refusal
	}
	return &fresh.identity, Result{}, nil
}

// Recall is Identify for a token that is remembered: no signature is checked. known is false for every other token.
func (v *Verifier) Recall(s *state.Snapshot, token string, now time.Time) (who *Identity, refusal *Refusal, known bool) {
	d := v.cache.get(token)
	if d == nil {
		return nil, nil, false
	}
	issuer := s.Issuers[d.identity.Issuer]
	if issuer == nil || !d.holdsUnder(issuer) {
		return nil, nil, false
	}
	refusal = d.identity.check(s, issuer, now)
	if refusal == nil {
		return &d.identity, nil, true
	}
	if !refusal.Undecided {
		v.cache.drop(d)
	}
	if refusal.Reason == ReasonKeysStale {
		v.readEarly(d.identity.Issuer)
	}
	return nil, refusal, true
}

// readEarly says that newer keys of an issuer could change the answer.
func (v *Verifier) readEarly(issuer string) {
	if v.hints != nil {
		v.hints.ReadEarly(issuer)
	}
}

func (v *Verifier) verify(s *state.Snapshot, compact string, now time.Time) (*state.Issuer, *verdict, *Refusal) {
	token, err := jose.ParseToken(compact)
	if err != nil {
		return nil, nil, fromJOSE(err)
	}
	issuer := s.Issuers[token.Issuer()]
	switch {
	case issuer == nil:
		return nil, nil, refuse(ReasonIssuerUnknown, "the issuer is not trusted here")
	case issuer.Keys == nil:
		return nil, nil, undecided(ReasonKeysMissing, "the issuer's keys are not loaded yet")
	case stale(issuer.KeysUntil, now):
		v.readEarly(token.Issuer())
		return nil, nil, undecided(ReasonKeysStale, "the issuer's keys are too old to be used")
	}
	key, ok := issuer.Keys.Lookup(token.KeyID())
	if !ok {
		v.readEarly(token.Issuer())
		return nil, nil, refuse(ReasonKeyUnknown, "the signing key is not known")
	}
	claims, err := token.Verify(key, &issuer.Rules, now)
	if err != nil {
		return issuer, nil, fromJOSE(err)
	}
	fresh := &verdict{token: strings.Clone(compact), keys: issuer.Keys, rules: v.rules.one(&issuer.Rules), organization: issuer.OrganizationID}
	if refusal := fresh.identity.read(claims, issuer.OrganizationID, issuer.PartnerID); refusal != nil {
		return nil, nil, refusal
	}
	return issuer, fresh, nil
}

// holdsUnder reports whether verifying again could not come to another result, apart from time and revocation. Key sets
// are immutable, so the same pointer is the same keys.
func (d *verdict) holdsUnder(issuer *state.Issuer) bool {
	return d.keys == issuer.Keys && d.organization == issuer.OrganizationID && d.identity.PartnerID == issuer.PartnerID && d.rules.Equal(&issuer.Rules)
}

// ruleBook keeps one copy of each issuer's rules, so that verdicts need not: theirs in a snapshot would keep alive all that
// was known of the issuer then.
type ruleBook struct {
	mu     sync.Mutex
	issuer map[string]*jose.Rules
}

func (b *ruleBook) one(r *jose.Rules) *jose.Rules {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known := b.issuer[r.Issuer]; known != nil && known.Equal(r) {
		return known
	}
	if b.issuer == nil {
		b.issuer = make(map[string]*jose.Rules)
	}
	rules := *r
	b.issuer[r.Issuer] = &rules
	return &rules
}

// check is what must hold on every request.
func (i *Identity) check(s *state.Snapshot, issuer *state.Issuer, now time.Time) *Refusal {
	if stale(issuer.KeysUntil, now) {
		return undecided(ReasonKeysStale, "the issuer's keys are too old to be used")
	}
	skew := issuer.Rules.Skew // as jose.Rules compares: whole seconds, no more valid at exp (RFC 7519 s4.1.4)
	if now.Add(-skew).Unix() >= i.ExpiresAt {
		return refuse(ReasonExpired, "token has expired")
	}
	if now.Add(skew).Unix() < max(i.NotBefore, i.IssuedAt) {
		return refuse(ReasonNotYetValid, "token is not valid yet")
	}
	if i.Confirmation == ConfirmationNone && (issuer.RequireBound || slices.Contains(issuer.RequireBoundOf, i.OrganizationID)) {
		return refuse(ReasonUnbound, "the token must be bound to a key or certificate, and is not")
	}
	return i.checkRevoked(s, issuer, now)
}

func stale(until, now time.Time) bool { return !until.IsZero() && now.After(until) }
