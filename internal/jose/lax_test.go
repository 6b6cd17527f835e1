package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// TestCorpusHasTeeth holds the corpus against a verifier that makes the usual mistakes. An attack that this one refuses as
// well proves nothing about ours, so each group must hold enough that it takes. Group G is about the signature itself:
// there the mistake is not to look at it.
func TestCorpusHasTeeth(t *testing.T) {
	t.Parallel()
	minimum := map[string]int{"N": 21, "C": 50, "A": 14, "K": 34, "J": 20, "X": 24, "S": 24, "B": 30, "D": 50, "T": 50, "I": 90, "Y": 30, "G": 50}
	keys := readLaxly(t, josetest.KeySetDocument())
	taken := map[string]int{}
	for _, c := range josetest.Corpus() {
		accepted := keys.accept(c.Token, c.Group == "G")
		if c.Accept && !accepted {
			t.Errorf("%s %s: refused, so the lax verifier is broken", c.Group, c.Name)
		}
		if !c.Accept && accepted {
			taken[c.Group]++
		}
	}
	for group, want := range minimum {
		if taken[group] < want {
			t.Errorf("group %s: the lax verifier takes %d attacks, want %d at least", group, taken[group], want)
		}
	}
	t.Logf("taken by the lax verifier: %v", taken)
}

// laxKeys is a verifier with the mistakes that have been found in real ones.
type laxKeys map[string]crypto.PublicKey

func readLaxly(t testing.TB, doc []byte) laxKeys {
	t.Helper()
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(doc, &set); err != nil {
		t.Fatal(err)
	}
	keys := laxKeys{}
	for _, jwk := range set.Keys {
		if key := laxKey(jwk); key != nil {
			keys[jwk["kid"].(string)] = key
		}
	}
	return keys
}

// laxKey checks nothing about a key: no use, no size, the last of two under one kid.
func laxKey(jwk map[string]any) crypto.PublicKey {
	number := func(name string) *big.Int { return new(big.Int).SetBytes(laxDecode(text(jwk[name]))) }
	switch jwk["kty"] {
	case "RSA":
		return &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
	case "EC":
		curve := elliptic.P256()
		if jwk["crv"] == "P-384" {
			curve = elliptic.P384()
		}
		key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, laxDecode(text(jwk["x"])), laxDecode(text(jwk["y"]))))
		if err != nil {
			return nil
		}
		return key
	case "OKP":
		return ed25519.PublicKey(laxDecode(text(jwk["x"])))
	case "oct":
		return laxDecode(text(jwk["k"]))
	}
	return nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// laxDecode takes both alphabets, skips what is in neither, and ignores padding and unused bits.
func laxDecode(s string) []byte {
	var clean strings.Builder
	for _, c := range []byte(strings.NewReplacer("+", "-", "/", "_").Replace(s)) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c) >= 0 {
			clean.WriteByte(c)
		}
	}
	s = clean.String()
	if len(s)%4 == 1 {
		s = s[:len(s)-1]
	}
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return b
}

// laxObject reads the first value, the last of two members, and anything for a string.
func laxObject(doc []byte) (map[string]any, bool) {
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, []byte("\ufeff"))))
	decoder.UseNumber()
	var object map[string]any
	return object, decoder.Decode(&object) == nil && object != nil
}

// firstValue is what a decoder reads of a text before it stops looking.
func firstValue(doc []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	var raw json.RawMessage
	if decoder.Decode(&raw) != nil {
		return doc
	}
	return raw
}

func (k laxKeys) accept(token string, anySignature bool) bool {
	part := strings.Split(strings.Trim(strings.Trim(token, ". \t\r\n\x00\ufeff\u00a0\""), "."), ".")
	if len(part) < 2 {
		return false
	}
	head, payload := laxDecode(part[0]), laxDecode(part[1])
	header, ok := laxObject(head)
	if !ok {
		return false
	}
	claims, ok := laxObject(payload)
	if !ok || !laxClaims(claims) {
		return false
	}
	var signature []byte
	if len(part) > 2 {
		signature = laxDecode(part[2])
	}
	// As received, or encoded again from what was read, as some libraries do.
	for _, signed := range []string{part[0] + "." + part[1], b64(string(firstValue(head))) + "." + b64(string(payload))} {
		if anySignature || k.signed(header, signed, signature) {
			return true
		}
	}
	return false
}

// laxClaims trusts the signer: an expiry counts only when it is a number in the past, nothing else counts at all.
func laxClaims(claims map[string]any) bool {
	exp, isNumber := claims["exp"].(json.Number)
	if !isNumber {
		return true
	}
	seconds, err := exp.Int64()
	return err != nil || seconds <= 0 || seconds > fixedNow.Unix()-60
}

func (k laxKeys) signed(header map[string]any, signed string, signature []byte) bool {
	alg := strings.TrimSpace(strings.ToLower(text(header["alg"])))
	if alg == "none" {
		return true
	}
	candidates := []crypto.PublicKey{k[text(header["kid"])]}
	if candidates[0] == nil { // no such key: try them all
		for _, key := range k {
			candidates = append(candidates, key)
		}
	}
	if jwk, ok := header["jwk"].(map[string]any); ok {
		candidates = append(candidates, laxKey(jwk))
	}
	if header["jku"] != nil || header["x5u"] != nil || header["x5c"] != nil {
		return true // fetched from wherever the token says, so it is the attacker's
	}
	for _, key := range candidates {
		if strings.HasPrefix(alg, "hs") && laxHMAC(alg, key, signed, signature) || laxVerify(key, signed, signature) {
			return true
		}
	}
	return false
}

// laxVerify goes by the type of the key and does not look at alg.
func laxVerify(key crypto.PublicKey, signed string, signature []byte) bool {
	digest := sha256.Sum256([]byte(signed))
	wide := sha512.Sum512([]byte(signed))
	switch key := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil || rsa.VerifyPKCS1v15(key, crypto.SHA512, wide[:], signature) == nil ||
			rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, nil) == nil
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, []byte(signed), signature)
	}
	return false
}

// laxHMAC takes a public key in any of its forms for the secret.
func laxHMAC(alg string, key crypto.PublicKey, signed string, signature []byte) bool {
	newHash, known := map[string]func() hash.Hash{"hs256": sha256.New, "hs384": sha512.New384, "hs512": sha512.New}[alg]
	if !known {
		return false
	}
	secrets := [][]byte{nil, make([]byte, 32)}
	switch key := key.(type) {
	case []byte:
		secrets = append(secrets, key)
	case *rsa.PublicKey:
		secrets = append(secrets, key.N.Bytes(), []byte(`{"kty":"RSA","n":"`+b64(string(key.N.Bytes()))+`","e":"AQAB"}`))
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return false
		}
		x, y := b64(string(point[1:33])), b64(string(point[33:]))
		secrets = append(secrets, point, []byte(`{"kty":"EC","crv":"P-256","x":"`+x+`","y":"`+y+`"}`))
	case ed25519.PublicKey:
		secrets = append(secrets, key, []byte(`{"kty":"OKP","crv":"Ed25519","x":"`+b64(string(key))+`"}`))
	}
	if der, err := x509.MarshalPKIXPublicKey(key); err == nil {
		file := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		secrets = append(secrets, der, file, bytes.TrimSpace(file))
	}
	for _, secret := range secrets {
		mac := hmac.New(newHash, secret)
		mac.Write([]byte(signed))
		if hmac.Equal(mac.Sum(nil), signature) {
			return true
		}
	}
	return false
}
