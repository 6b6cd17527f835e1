// Package dpop checks the DPoP proofs of requests to the issuer's own endpoints (RFC 9449). It keeps nothing: that a proof is used once is decided by the
// database, together with what it was used for, because a proof may be sent to another process of the issuer the second time.
package dpop

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// NonceHeader is where a client finds the nonce for its next proof (RFC 9449 s8.1).
const NonceHeader = "DPoP-Nonce"

const (
	header = "DPoP"
	// proofAgeMax is how old a proof may be: a request that took a minute to arrive is not a request any more.
	proofAgeMax = time.Minute
)

// Algorithms are those a proof may be signed with, for metadata (RFC 9449 s5.1).
func Algorithms() []string {
	var names []string
	for _, a := range jose.ProofAlgorithms() {
		names = append(names, string(a))
	}
	return names
}

// Checker checks proofs. It is safe for concurrent use.
type Checker struct {
	nonces        *nonces
	nonceRequired bool
}

// New takes the secret that all processes of the issuer share, at least 32 bytes; the key for nonces is derived from it. With nonceRequired, each proof must
// carry a nonce of ours.
func New(secret []byte, nonceRequired bool) (*Checker, error) {
	if len(secret) < sha256.Size {
		return nil, errors.New("dpop: the secret must have at least 32 bytes")
	}
	n, err := newNonces(secret)
	if err != nil {
		return nil, err
	}
	return &Checker{n, nonceRequired}, nil
}

// Proof is a good proof of a request.
type Proof struct {
	Thumbprint string             // cnf.jkt of what is given to its sender
	Use        issuance.SingleUse // the proof is used up with what it was for
	NextNonce  string             // that the client should use from now on; "" when its own is good for a while
}

// Check returns nil without a proof, and an *oauth.Error for a bad one. uri is that of the endpoint as the issuer publishes it. accessToken is the token that is
// presented with the proof, "" where none is.
func (c *Checker) Check(r *http.Request, uri, accessToken string, now time.Time) (*Proof, error) {
	proofs := r.Header.Values(header)
	switch len(proofs) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, refuse("There is more than one DPoP proof.") // RFC 9449 s4.3
	}
	p, err := jose.ParseProof(proofs[0])
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The DPoP proof is malformed.", Err: err}
	}
	switch {
	case p.Method != r.Method:
		return nil, refuse("htm of the DPoP proof is not the method of the request.")
	case !p.Targets(uri):
		return nil, refuse("htu of the DPoP proof is not this endpoint.")
	case accessToken != "" && p.AccessTokenHash != tokenHash(accessToken):
		return nil, refuse("ath of the DPoP proof is not the hash of the token.")
	}
	next, err := c.checkTime(p, now)
	if err != nil {
		return nil, err
	}
	if err := p.Verify(); err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The signature of the DPoP proof does not verify.", Err: err}
	}
	return &Proof{Thumbprint: p.Thumbprint(), Use: use(p), NextNonce: next}, nil
}

// Demand asks for a proof where none was sent, with the nonce it has to carry: a client that follows RFC 9449 s8 needs one more request and not two.
func (c *Checker) Demand(now time.Time) *oauth.Error {
	e := refuse("The client must send a DPoP proof: its tokens are bound to a key.")
	if c.nonceRequired {
		e.DPoPNonce = c.nonces.mint(now)
	}
	return e
}

// checkTime compares whole seconds, then the nonce. With a nonce of ours a proof was made after it, whatever the client's clock says; iat is checked all the
// same, because it bounds how long a use must be remembered.
func (c *Checker) checkTime(p *jose.Proof, now time.Time) (next string, err error) {
	at := now.Unix()
	switch {
	case p.IssuedAt < at-int64(proofAgeMax/time.Second):
		return "", refuse("The DPoP proof is too old.")
	case p.IssuedAt > at+int64(jose.ProofAheadMax/time.Second):
		return "", refuse("The DPoP proof is from the future.")
	}
	valid, aging := c.nonces.valid(p.Nonce, now)
	switch {
	case aging:
		return c.nonces.mint(now), nil // RFC 9449 s8.2
	case valid || !c.nonceRequired:
		return "", nil
	}
	return "", &oauth.Error{Code: oauth.UseDPoPNonce, Description: "The DPoP proof must carry the nonce of this answer.", DPoPNonce: c.nonces.mint(now)}
}

// use covers the key: by jti alone, a stranger could use up somebody's.
func use(p *jose.Proof) issuance.SingleUse {
	thumbprint := p.Thumbprint()
	text := binary.BigEndian.AppendUint64(nil, uint64(len(thumbprint))) // so that no two pairs give one text
	text = append(append(text, thumbprint...), p.ID...)
	return issuance.SingleUse{
		Purpose: issuance.UseProof, Key: sha256.Sum256(text), ExpiresAt: time.Unix(p.IssuedAt, 0).Add(proofAgeMax + time.Second), // a second: times are compared as whole ones
	}
}

// tokenHash is ath (RFC 9449 s4.2).
func tokenHash(token string) string {
	digest := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func refuse(description string) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidDPoPProof, Description: description}
}
