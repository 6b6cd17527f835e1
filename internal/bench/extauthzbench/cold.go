package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
	"github.com/agentidp/agentidp/internal/bench/report"
	"github.com/agentidp/agentidp/internal/jose"
)

const (
	coldMax     = 1.35
	coldRounds  = 40 // each of both kinds
	coldInRound = 50 // signatures; a round is about 3 ms, less than what the scheduler gives others at a time
)

// coldInProcess compares everything a token goes through, from its text to its claims, with the bare signature check of
// the standard library over bytes that are already there.
func (b *bench) coldInProcess() ([]report.Row, error) {
	tokens, err := b.fixture.tokens(coldInRound, scopeHeld)
	if err != nil {
		return nil, err
	}
	signed, err := splitSigned(b.fixture.keys, tokens)
	if err != nil {
		return nil, err
	}
	keys, _, err := jose.ParseKeySet(b.fixture.keys)
	if err != nil {
		return nil, err
	}
	rules := jose.Rules{
		Issuer: issuerName, Audiences: []string{audience}, Types: []string{"at+jwt"}, Algorithms: []jose.Algorithm{jose.ES256},
		LifetimeMax: time.Hour, Skew: time.Minute,
	}
	var ours, bare, ratios []float64
	for range coldRounds {
		o, err := perToken(func(i int) error { return verifyWhole(tokens[i], keys, &rules) })
		if err != nil {
			return nil, err
		}
		s, err := perToken(signed.verify)
		if err != nil {
			return nil, err
		}
		ours, bare, ratios = append(ours, o), append(bare, s), append(ratios, o/s)
	}
	return []report.Row{report.Compared("cold token against the bare signature check, in process, ES256: us",
		measure.Median(ours), measure.Median(bare), measure.Median(ratios), coldMax)}, nil
}

func perToken(check func(i int) error) (float64, error) {
	start := time.Now()
	for i := range coldInRound {
		if err := check(i); err != nil {
			return 0, err
		}
	}
	return micros(time.Since(start)) / coldInRound, nil
}

func verifyWhole(token string, keys *jose.KeySet, rules *jose.Rules) error {
	t, err := jose.ParseToken(token)
	if err != nil {
		return err
	}
	key, ok := keys.Lookup(t.KeyID())
	if !ok {
		return errors.New("the key set lacks the token's key")
	}
	_, err = t.Verify(key, rules, time.Now())
	return err
}

// bareSignatures are signatures and what they sign, decoded beforehand.
type bareSignatures struct {
	key    *ecdsa.PublicKey
	signed [][]byte
	r, s   []*big.Int
}

func splitSigned(jwks []byte, tokens []string) (*bareSignatures, error) {
	var set struct{ Keys []struct{ X, Y string } }
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, err
	}
	x, errX := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	y, errY := base64.RawURLEncoding.DecodeString(set.Keys[0].Y)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y)) // SEC 1 s2.3.3
	if err != nil {
		return nil, err
	}
	b := &bareSignatures{key: key}
	for _, token := range tokens {
		end := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
		if err != nil {
			return nil, err
		}
		b.signed = append(b.signed, []byte(token[:end]))
		b.r = append(b.r, new(big.Int).SetBytes(signature[:32]))
		b.s = append(b.s, new(big.Int).SetBytes(signature[32:]))
	}
	return b, nil
}

func (b *bareSignatures) verify(i int) error {
	digest := sha256.Sum256(b.signed[i])
	if !ecdsa.Verify(b.key, digest[:], b.r[i], b.s[i]) {
		return errors.New("a signature does not verify")
	}
	return nil
}
