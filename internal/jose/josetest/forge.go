package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"hash"
	"math/big"
	"strconv"
	"strings"
)

// document is a JSON object as text: members in order, names and values raw, so that it can also be no JSON at all.
type document struct{ members []member }

type member struct{ name, value string } // name with its quotes

func newHeader() document {
	return document{[]member{{`"typ"`, `"at+jwt"`}, {`"alg"`, `"ES256"`}, {`"kid"`, `"ec-1"`}}}
}

func newClaims() document {
	return document{[]member{
		{`"iss"`, quote(Issuer)},
		{`"sub"`, quote(Subject)},
		{`"aud"`, `["` + Audience + `"]`},
		{`"exp"`, seconds(290)},
		{`"iat"`, seconds(-10)},
		{`"nbf"`, seconds(-10)},
		{`"jti"`, `"tok_01961f0e5f6a7c4f"`},
		{`"client_id"`, quote(Subject)},
		{`"scope"`, `"payments:read"`},
		{`"org_id"`, `"org_a"`},
	}}
}

// set replaces the value of a member, or adds it at the end. value is raw JSON.
func (d document) set(name, value string) document {
	members := make([]member, 0, len(d.members)+1)
	found := false
	for _, m := range d.members {
		if m.name == quote(name) {
			m.value, found = value, true
		}
		members = append(members, m)
	}
	if !found {
		members = append(members, member{quote(name), value})
	}
	return document{members}
}

// add puts a member at the end, also when the name is there already. Both parts are raw.
func (d document) add(name, value string) document {
	return document{append(append([]member{}, d.members...), member{name, value})}
}

// first puts a member at the beginning. Both parts are raw.
func (d document) first(name, value string) document {
	return document{append([]member{{name, value}}, d.members...)}
}

func (d document) drop(name string) document {
	var members []member
	for _, m := range d.members {
		if m.name != quote(name) {
			members = append(members, m)
		}
	}
	return document{members}
}

func (d document) rename(from, to string) document {
	members := append([]member{}, d.members...)
	for i, m := range members {
		if m.name == quote(from) {
			members[i].name = quote(to)
		}
	}
	return document{members}
}

func (d document) String() string {
	parts := make([]string, len(d.members))
	for i, m := range d.members {
		parts[i] = m.name + ":" + m.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// quote is for names and values without characters that need escaping.
func quote(s string) string { return `"` + s + `"` }

// seconds is a moment relative to Now, as a JSON number.
func seconds(offset int64) string { return strconv.FormatInt(nowSeconds+offset, 10) }

// ec is a token really signed by ec-1, whatever its header says.
func (c *corpus) ec(header, claims document) string {
	return c.ecText(header.String(), claims.String())
}

func (c *corpus) ecText(header, claims string) string {
	return join(header, claims, func(signed string) []byte { return ecdsaSign(c.keys.ec1, signed) })
}

// join encodes the two parts and signs the result.
func join(header, claims string, sign func(signed string) []byte) string {
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	return signed + "." + encode(sign(signed))
}

// ecdsaSign is deterministic (RFC 6979), for the corpus to be the same in every run.
func ecdsaSign(key *ecdsa.PrivateKey, signed string) []byte {
	digest := sha256.Sum256([]byte(signed))
	return fixedSize(must(key.Sign(nil, digest[:], crypto.SHA256)), (key.Params().BitSize+7)/8)
}

// fixedSize turns a DER signature into r and s of equal length.
func fixedSize(der []byte, size int) []byte {
	var rs struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &rs))
	return rAndS(rs.R, rs.S, size)
}

func rAndS(r, s *big.Int, size int) []byte {
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return signature
}

func rsaSign(key *rsa.PrivateKey, signed string) []byte {
	digest := sha256.Sum256([]byte(signed))
	return must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]))
}

func edSign(key ed25519.PrivateKey, signed string) []byte {
	return ed25519.Sign(key, []byte(signed))
}

func hmacSign(newHash func() hash.Hash, key []byte, signed string) []byte {
	mac := hmac.New(newHash, key)
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}
