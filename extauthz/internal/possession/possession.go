// Package possession checks that whoever presents a token holds what the token is bound to: a key (DPoP, RFC 9449), a
// client certificate (RFC 8705) or a workload identity of the connection (SPIFFE). A verified token is a fact that may be
// remembered; possession is a fact about one request, and is checked on every one. It does no I/O.
package possession

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/internal/jose"
)

const (
	// MaxAgeDefault is how old a proof may be: a request that took a minute to arrive is not a request any more.
	MaxAgeDefault = time.Minute
	// MaxAgeMax bounds what the replay store must remember.
	MaxAgeMax = 5 * time.Minute
)

// Config says how proofs are judged. The zero value is the default but for Started.
type Config struct {
	MaxAge        time.Duration // 0 is MaxAgeDefault
	NonceRequired bool          // every proof must carry a nonce of ours (RFC 9449 s9)
	ReplayBytes   int64         // of the replay store; 0 is ReplayBytesDefault
	Hops          []Hop         // whose account of client certificates is believed
	// Started is since when proofs are remembered. What was used before is not known: see checkTime.
	Started time.Time
}

// Checker checks possession. It is safe for concurrent use.
type Checker struct {
	maxAge        int64 // seconds
	nonceRequired bool
	started       int64
	nonces        *nonces
	replay        *replayStore
	hops          []Hop
}

// New returns a Checker that has seen no proof yet.
func New(c Config) (*Checker, error) {
	if c.MaxAge == 0 {
		c.MaxAge = MaxAgeDefault
	}
	if c.MaxAge < time.Second || c.MaxAge > MaxAgeMax {
		return nil, errors.New("possession: MaxAge is not between 1 s and 5 min")
	}
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("possession: %w", err)
	}
	return &Checker{
		maxAge: int64(c.MaxAge / time.Second), nonceRequired: c.NonceRequired, started: c.Started.Unix(),
		hops:   c.Hops,
		nonces: &nonces{key}, replay: newReplayStore(c.ReplayBytes, c.MaxAge+jose.ProofAheadMax+time.Second), // a second: times are compared as whole ones
	}, nil
}

// Check returns nil when everything the token is bound to was proved with this request, and the credential is of the
// scheme that belongs to the binding. Of a token bound to several things all must hold. A good proof is used up by it. next,
// when it is not empty, is a nonce the client should use from now on, because its own is about to expire.
func (c *Checker) Check(r *checkreq.Request, i *identity.Identity, presented credential.Credential, now time.Time) (next string, refusal *Refusal) {
	b := &i.Binding
	switch {
	case b.KeyThumbprint != "" && presented.Scheme != credential.SchemeDPoP:
		// RFC 9449 s7.2: without this a stolen bound token is a good Bearer token.
		return "", refuseToken(ReasonDowngrade, "the token is bound to a key and was presented without proof of it", credential.SchemeDPoP)
	case b.KeyThumbprint == "" && presented.Scheme == credential.SchemeDPoP:
		// RFC 9449 s7.1: a proof by any key would do.
		return "", refuseToken(ReasonNotBound, "the token is not bound to a key", credential.SchemeBearer)
	}
	if b.CertificateSHA256 != "" || b.SPIFFEID != "" {
		if reason, detail := c.checkPeer(r, b.CertificateSHA256, b.SPIFFEID); reason != "" {
			return "", refuseToken(reason, detail, presented.Scheme)
		}
	}
	if b.KeyThumbprint == "" {
		return "", nil
	}
	return c.checkProof(r, b.KeyThumbprint, presented, now)
}

// checkProof is RFC 9449 s4.3, the cheap checks before the signature: only who holds a good token bound to the key in
// the proof can make us compute anything, or make us remember.
func (c *Checker) checkProof(r *checkreq.Request, thumbprint string, presented credential.Credential, now time.Time) (next string, refusal *Refusal) {
	p, err := jose.ParseProof(presented.Proof)
	if err != nil {
		return "", fromJOSE(err)
	}
	switch {
	case p.Thumbprint() != thumbprint:
		return "", refuseProof(ReasonKey, "the proof is by another key than the token is bound to")
	case p.Method != r.Method:
		return "", refuseProof(ReasonMethod, "htm is not the method of the request")
	case !p.Targets(received(r)):
		return "", refuseProof(ReasonURI, "htu is not the URI of the request")
	case p.AccessTokenHash != tokenHash(presented.Token):
		return "", refuseProof(ReasonTokenHash, "ath is not the hash of the token")
	}
	aging, refusal := c.checkTime(p, now)
	if refusal != nil {
		return "", refusal
	}
	if err := p.Verify(); err != nil {
		return "", fromJOSE(err)
	}
	switch c.replay.use(thumbprint, p.ID, now) {
	case seenBefore:
		return "", refuseProof(ReasonReplayed, "the proof was used before")
	case noRoom:
		return "", &Refusal{Reason: ReasonReplayFull, Detail: "too many proofs to remember", Undecided: true}
	}
	if aging && c.nonceRequired { // RFC 9449 s8.2
		next = c.nonces.mint(now)
	}
	return next, nil
}

// checkTime compares whole seconds, then the nonce. What was used before this process started is forgotten, so a proof
// from that time is good only with a nonce of ours: nobody could have used it before. Clients that follow RFC 9449 s9
// repeat such a request once, by themselves.
func (c *Checker) checkTime(p *jose.Proof, now time.Time) (aging bool, refusal *Refusal) {
	at, ahead := now.Unix(), int64(jose.ProofAheadMax/time.Second)
	switch {
	case p.IssuedAt < at-c.maxAge:
		return false, refuseProof(ReasonTime, "the proof is too old")
	case p.IssuedAt > at+ahead:
		return false, refuseProof(ReasonTime, "the proof is from the future")
	}
	if valid, aging := c.nonces.valid(p.Nonce, now); valid {
		return aging, nil
	}
	if c.nonceRequired || p.IssuedAt <= c.started+ahead {
		return false, &Refusal{
			Reason: ReasonNonce, Detail: "the proof must carry the nonce of this answer", Code: "use_dpop_nonce",
			Scheme: credential.SchemeDPoP, Nonce: c.nonces.mint(now),
		}
	}
	return false, nil
}

// tokenHash is ath (RFC 9449 s4.2).
func tokenHash(token string) string {
	digest := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}
