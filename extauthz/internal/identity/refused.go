package identity

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
)

const (
	refusedMax  = 4096             // tokens, of about 100 bytes each whatever their length: 0.5 MB, never more
	refusedLife = 10 * time.Second // from the first time; then it costs another signature check
)

// refused remembers tokens whose signature did not verify, so that a client that sends one broken token again and again
// costs one check in ten seconds. Nothing else is remembered to be bad: what is expired or for another audience is so at
// one time, under one set of rules. A new one takes the place of an old one, and a flood of distinct tokens gains nothing.
type refused struct {
	some    atomic.Bool // there is one: until then no token is hashed
	entries [refusedMax]atomic.Pointer[badToken]
	hits    atomic.Uint64
}

// badToken did not verify under one key set, which as a pointer stands for its contents.
type badToken struct {
	digest [sha256.Size]byte // of the whole token
	issuer string
	keys   *jose.KeySet
	until  time.Time
	why    *Refusal
}

// find returns why exactly this token was refused, if checking again could not come to another result.
func (r *refused) find(s *state.Snapshot, token string, now time.Time) *Refusal {
	if !r.some.Load() {
		return nil
	}
	digest := sha256.Sum256([]byte(token))
	bad := r.at(digest).Load()
	if bad == nil || bad.digest != digest || !now.Before(bad.until) {
		return nil
	}
	issuer := s.Issuers[bad.issuer]
	if issuer == nil || issuer.Keys != bad.keys || stale(issuer.KeysUntil, now) {
		return nil
	}
	r.hits.Add(1)
	return bad.why
}

// put remembers a token of the issuer if its signature was what was wrong with it.
func (r *refused) put(issuer *state.Issuer, token string, why *Refusal, now time.Time) {
	if issuer == nil || why == nil || why.Reason != Reason(jose.ReasonSignature) {
		return
	}
	digest := sha256.Sum256([]byte(token))
	r.at(digest).Store(&badToken{digest, issuer.Rules.Issuer, issuer.Keys, now.Add(refusedLife), why})
	r.some.Store(true)
}

func (r *refused) at(digest [sha256.Size]byte) *atomic.Pointer[badToken] {
	return &r.entries[(int(digest[0])<<8|int(digest[1]))%refusedMax]
}
