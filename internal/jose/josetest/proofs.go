package josetest

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"strings"
	"sync"

	"github.com/agentidp/agentidp/internal/jose"
)

// ProofCase is one DPoP proof judged by itself: form, key, claims, signature. What a proof must match (method, URI, token,
// time, nonce, and that it comes once) is tested where it is compared.
type ProofCase struct {
	Name   string
	Proof  string
	Accept bool
	Reason jose.Reason
	Why    string
}

// ProofURI is the htu of the proofs.
const ProofURI = "https://shop.example/orders/1"

// ProofCorpus returns all cases. The caller must not change it.
func ProofCorpus() []ProofCase { return proofCorpusOnce() }

var proofCorpusOnce = sync.OnceValue(func() []ProofCase {
	c := &proofs{corpus: corpus{keys: loadKeys()}}
	c.controls()
	c.form()
	c.header()
	c.key()
	c.claims()
	c.signature()
	return c.cases
})

type proofs struct {
	corpus
	cases []ProofCase
}

func (c *proofs) reject(name, proof string, reason jose.Reason, why string) {
	c.cases = append(c.cases, ProofCase{Name: name, Proof: proof, Reason: reason, Why: why})
}

func (c *proofs) accept(name, proof, why string) {
	c.cases = append(c.cases, ProofCase{Name: name, Proof: proof, Accept: true, Why: why})
}

func (c *proofs) ecJWK() string { return "{" + jwkMembers(c.keys.ec1.Public()) + "}" }

func (c *proofs) newHeader() document {
	return document{[]member{{`"typ"`, `"dpop+jwt"`}, {`"alg"`, `"ES256"`}, {`"jwk"`, c.ecJWK()}}}
}

func newProofClaims() document {
	return document{[]member{
		{`"jti"`, `"prf_01961f0e5f6a7c4f"`},
		{`"htm"`, `"GET"`},
		{`"htu"`, quote(ProofURI)},
		{`"iat"`, seconds(0)},
		{`"ath"`, quote(encode(make([]byte, 32)))},
	}}
}

func (c *proofs) controls() {
	claims := newProofClaims()
	c.accept("good", c.ec(c.newHeader(), claims), "as RFC 9449 s4.2 wants it")
	c.accept("typ in upper case", c.ec(c.newHeader().set("typ", `"DPoP+JWT"`), claims), "media types ignore case")
	c.accept("nonce", c.ec(c.newHeader(), claims.set("nonce", `"n-1"`)), "a nonce is a string")
	c.accept("no ath", c.ec(c.newHeader(), claims.drop("ath")), "at a token endpoint there is none; the caller wants it")
	c.accept("kid in the key", c.ec(c.newHeader().set("jwk", "{"+jwkMembers(c.keys.ec1.Public())+`,"kid":"ec-2","use":"sig"}`), claims),
		"the kid of a key that is brought along means nothing")
	c.accept("Ed25519", join(c.newHeader().set("alg", `"EdDSA"`).set("jwk", "{"+jwkMembers(c.keys.ed1.Public())+"}").String(), claims.String(),
		func(s string) []byte { return edSign(c.keys.ed1, s) }), "another algorithm")
	byRSA := func(alg, more string, sign func(string) []byte) string {
		return join(c.newHeader().set("alg", quote(alg)).set("jwk", "{"+jwkMembers(c.keys.rsa1.Public())+more+"}").String(), claims.String(), sign)
	}
	pss := func(s string) []byte { return pssSign(c.keys.rsa1, s, 32) }
	c.accept("PS256", byRSA("PS256", "", pss), "another algorithm")
	c.accept("PS256 that the key names", byRSA("PS256", `,"alg":"PS256"`, pss), "another algorithm")
	c.reject("PS256, the key says RS256", byRSA("PS256", `,"alg":"RS256"`, pss), jose.ReasonProofAlgorithm, "a key does one algorithm")
	c.reject("RS256", byRSA("RS256", "", func(s string) []byte { return rsaSign(c.keys.rsa1, s) }), jose.ReasonProofAlgorithm, "FAPI 2.0 Security Profile s5.4")
}

func (c *proofs) form() {
	good := c.ec(c.newHeader(), newProofClaims())
	reason, why := jose.ReasonProofMalformed, "a proof has one spelling"
	for name, proof := range map[string]string{
		"empty":            "",
		"two segments":     good[:strings.LastIndexByte(good, '.')],
		"four segments":    good + ".AAAA",
		"no signature":     good[:strings.LastIndexByte(good, '.')+1],
		"padding":          good + "==",
		"line break":       good + "\n",
		"two proofs":       good + "," + good,
		"unused bits":      good[:len(good)-1] + twinOf(good[len(good)-1]),
		"longer than 4KiB": c.ec(c.newHeader(), newProofClaims().set("x", quote(strings.Repeat("x", 4<<10)))),
		"JSON form":        `{"payload":"","signatures":[]}`,
	} {
		c.reject(name, proof, reason, why)
	}
}

// twinOf is another last character of a 64-byte signature with the same decoded bits.
func twinOf(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)^1])
}

func (c *proofs) header() {
	claims, good := newProofClaims(), c.newHeader()
	for name, h := range map[string]document{
		"typ missing":      good.drop("typ"),
		"typ JWT":          good.set("typ", `"JWT"`),
		"typ at+jwt":       good.set("typ", `"at+jwt"`),
		"typ number":       good.set("typ", `1`),
		"typ with a space": good.set("typ", `"dpop+jwt "`),
	} {
		c.reject(name, c.ec(h, claims), jose.ReasonProofType, "another kind of token must not serve as a proof")
	}
	for name, alg := range map[string]string{
		"alg none": `"none"`, "alg None": `"None"`, "alg HS256": `"HS256"`, "alg ES384": `"ES384"`, "alg PS256": `"PS256"`, "alg number": `1`, "alg in lower case": `"es256"`, "alg of another key": `"EdDSA"`,
	} {
		c.reject(name, c.ec(good.set("alg", alg), claims), jose.ReasonProofAlgorithm, "the key says which algorithm, from a short list")
	}
	c.reject("alg RS256 of a key for it", c.ec(good.set("alg", `"RS256"`).set("jwk", "{"+jwkMembers(c.keys.rsa1.Public())+`,"alg":"RS256"}`), claims),
		jose.ReasonProofAlgorithm, "the list of a challenge is the list")
	c.reject("alg missing", c.ec(good.drop("alg"), claims), jose.ReasonProofAlgorithm, "no algorithm")
	for _, name := range []string{"jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty", "JWK", "Typ"} {
		c.reject("header with "+name, c.ec(good.set(name, `"x"`), claims), jose.ReasonProofHeader, "brings a second key, or changes what is signed")
	}
	c.reject("jwk twice", c.ec(good.add(`"jwk"`, c.ecJWK()), claims), jose.ReasonProofHeader, "two parsers take two keys")
	c.reject("jwk twice, escaped", c.ec(good.add(`"j\u0077k"`, c.ecJWK()), claims), jose.ReasonProofHeader, "two parsers take two keys")
	c.reject("alg twice", c.ec(good.add(`"alg"`, `"ES256"`), claims), jose.ReasonProofHeader, "two parsers take two algorithms")
	c.reject("member of the key twice", c.ec(good.set("jwk", "{"+jwkMembers(c.keys.ec1.Public())+`,"kty":"RSA"}`), claims), jose.ReasonProofHeader, "two parsers take two keys")
	c.reject("header no object", c.ecText(`[1]`, claims.String()), jose.ReasonProofHeader, "no JSON object")
}

func (c *proofs) key() {
	claims, good := newProofClaims(), c.newHeader()
	ec := jwkMembers(c.keys.ec1.Public())
	d := encode(must(c.keys.ec1.Bytes()))
	long := encode(append([]byte{0}, must(decode(strings.Split(ec, `"`)[11]))...))
	short := rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 512), E: 65537}
	short.N.SetBit(short.N, 0, 1)
	huge := rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8200), E: 65537}
	huge.N.SetBit(huge.N, 0, 1)
	for name, jwk := range map[string]string{
		"jwk null":            `null`,
		"jwk string":          `"ec-1"`,
		"jwk empty":           `{}`,
		"private key":         `{` + ec + `,"d":"` + d + `"}`,
		"private, upper case": `{` + ec + `,"D":"` + d + `"}`,
		"symmetric":           `{"kty":"oct","k":"c2VjcmV0"}`,
		"EC and k":            `{` + ec + `,"k":"c2VjcmV0"}`,
		"for encryption":      `{` + ec + `,"use":"enc"}`,
		"not for verifying":   `{` + ec + `,"key_ops":["deriveKey"]}`,
		"P-384":               `{` + jwkMembers(c.keys.p384.Public()) + `}`,
		"secp256k1":           strings.Replace(`{`+ec+`}`, "P-256", "secp256k1", 1),
		"coordinate too long": `{"kty":"EC","crv":"P-256","x":"` + long + `","y":"` + long + `"}`,
		"off the curve":       `{"kty":"EC","crv":"P-256","x":"` + encode(make([]byte, 32)) + `","y":"` + encode(make([]byte, 32)) + `"}`,
		"Ed25519 of 31 bytes": `{"kty":"OKP","crv":"Ed25519","x":"` + encode(make([]byte, 31)) + `"}`,
		"Ed25519 small order": `{"kty":"OKP","crv":"Ed25519","x":"` + encode(append([]byte{1}, make([]byte, ed25519.PublicKeySize-1)...)) + `"}`,
		"RSA of 513 bits":     `{` + jwkMembers(&short) + `}`,
		"RSA of 1024 bits":    `{` + jwkMembers(c.keys.rsa1024.Public()) + `}`,
		"RSA of 8201 bits":    `{` + jwkMembers(&huge) + `}`,
		"unknown type":        `{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`,
	} {
		c.reject(name, c.ec(good.set("jwk", jwk), claims), jose.ReasonProofKey, "the key is checked before anything uses it")
	}
	c.reject("jwk missing", c.ec(good.drop("jwk"), claims), jose.ReasonProofKey, "no key")
	c.reject("kid instead of jwk", c.ec(good.drop("jwk").set("kid", `"ec-1"`), claims), jose.ReasonProofKey, "a proof is not verified with a key somebody trusts")
}

func (c *proofs) claims() {
	good := newProofClaims()
	for name, claims := range map[string]document{
		"jti missing":        good.drop("jti"),
		"jti empty":          good.set("jti", `""`),
		"jti number":         good.set("jti", `7`),
		"jti of 257 bytes":   good.set("jti", quote(strings.Repeat("j", 257))),
		"jti with a newline": good.set("jti", `"a\nb"`),
		"htm missing":        good.drop("htm"),
		"htm empty":          good.set("htm", `""`),
		"htm list":           good.set("htm", `["GET","POST"]`),
		"htu missing":        good.drop("htu"),
		"htu list":           good.set("htu", `["`+ProofURI+`"]`),
		"htu with a space":   good.set("htu", `"https://shop.example/ "`),
		"iat missing":        good.drop("iat"),
		"iat string":         good.set("iat", quote(seconds(0))),
		"iat fraction":       good.set("iat", seconds(0)+".5"),
		"iat negative":       good.set("iat", "-1"),
		"iat milliseconds":   good.set("iat", seconds(0)+"000"),
		"ath of another sum": good.set("ath", quote(encode(make([]byte, sha256.Size-12)))),
		"ath in hexadecimal": good.set("ath", quote(strings.Repeat("0", 64))),
		"ath padded":         good.set("ath", quote(encode(make([]byte, 32))+"=")),
		"ath null":           good.set("ath", `null`),
		"nonce number":       good.set("nonce", `1`),
		"nonce empty":        good.set("nonce", `""`),
		"nonce of 257 bytes": good.set("nonce", quote(strings.Repeat("n", 257))),
		"jti twice":          good.add(`"jti"`, `"other"`),
		"htu twice":          good.first(`"htu"`, `"https://evil.example/"`),
		"HTM beside htm":     good.set("HTM", `"POST"`),
		"no object":          {},
	} {
		text := claims.String()
		if name == "no object" {
			text = `"x"`
		}
		c.reject(name, c.ecText(c.newHeader().String(), text), jose.ReasonProofClaims, "each claim has one type and one reading")
	}
}

func (c *proofs) signature() {
	header, claims := c.newHeader(), newProofClaims()
	good := c.ec(header, claims)
	signed := good[:strings.LastIndexByte(good, '.')]
	zero := make([]byte, 2*elliptic.P256().Params().BitSize/8)
	der := must(asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(1), big.NewInt(1)}))
	for name, proof := range map[string]string{
		"by another key":     join(header.String(), claims.String(), func(s string) []byte { return ecdsaSign(c.keys.ecAttacker, s) }),
		"of another proof":   signed + "." + encode(ecdsaSign(c.keys.ec1, "x")),
		"zeros":              signed + "." + encode(zero),
		"one byte":           signed + ".AA",
		"DER":                signed + "." + encode(der),
		"HMAC by the key":    join(header.String(), claims.String(), func(s string) []byte { return hmacSign(sha256.New, []byte(c.ecJWK()), s) }),
		"claims exchanged":   strings.Join([]string{strings.Split(good, ".")[0], encode([]byte(claims.set("htm", `"POST"`).String())), strings.Split(good, ".")[2]}, "."),
		"another key's name": c.ec(header.set("jwk", "{"+jwkMembers(c.keys.ec2.Public())+"}"), claims),
	} {
		c.reject(name, proof, jose.ReasonProofSignature, "who has not the key has not the token")
	}
}
