package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

const dpopTarget = "https://orders.shop.example/orders/42" // what the measured request asks for, as RFC 9449 s4.2 writes it

// prover holds a DPoP key and a token bound to it.
type prover struct {
	key    *ecdsa.PrivateKey
	header string // of every proof, encoded
	token  string
	hash   string // ath
	proofs int
}

func newProver(f *fixture) (*prover, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return nil, err
	}
	half := (len(point) - 1) / 2
	// RFC 7638 s3.2: the members of a thumbprint, in this order and without white space.
	jwk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, base64url(point[1:1+half]), base64url(point[1+half:]))
	thumbprint := sha256.Sum256([]byte(jwk))
	p := &prover{key: key, header: base64url([]byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + jwk + `}`))}
	if p.token, err = f.token(f.next(1), scopeHeld, map[string]any{"cnf": map[string]string{"jkt": base64url(thumbprint[:])}}); err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(p.token))
	p.hash = base64url(hash[:])
	return p, nil
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// messages are checks of the same token, each with a proof of its own.
func (p *prover) messages(n int) ([]message, error) {
	messages := make([]message, n)
	for i := range messages {
		proof, err := p.proof()
		if err != nil {
			return nil, err
		}
		if messages[i], err = newMessage("DPoP "+p.token, rawHeaders, [2]string{"dpop", proof}); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

func (p *prover) proof() (string, error) {
	p.proofs++
	claims, err := json.Marshal(map[string]any{
		"jti": fmt.Sprintf("proof_0199c2f04b1c7e09%08d", p.proofs), "htm": "GET", "htu": dpopTarget, "iat": time.Now().Unix(), "ath": p.hash,
	})
	if err != nil {
		return "", err
	}
	signed := p.header + "." + base64url(claims)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64) // RFC 7518 s3.4: r and s, 32 bytes each
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64url(signature), nil
}

// dpopLoad sends one token with a new proof each time; the proofs are signed before each point.
type dpopLoad struct {
	bench  *bench
	server *server
	prover *prover
}

// await asks until a proof is taken: in its first seconds a sidecar asks for a nonce, because it has forgotten what was used.
func (d *dpopLoad) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	c, err := connect(d.server.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		m, err := d.prover.messages(1)
		if err != nil {
			return err
		}
		if err = tryOutcome(ctx, c, m[0].write(nil, 0), allowedAs); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no proof is taken: %w", err)
		case <-again.C:
		}
	}
}

func (d *dpopLoad) run(ctx context.Context, _, _ time.Duration) (point, error) {
	messages, err := d.prover.messages(d.bench.options.coldTokens)
	if err != nil {
		return point{}, err
	}
	l := load{socket: d.server.socket, pids: []int{d.server.PID()}, messages: messages, want: allowedAs, callers: 16, conns: 2, once: true}
	return l.run(ctx, 0, 0)
}
