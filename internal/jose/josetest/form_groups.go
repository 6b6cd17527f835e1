package josetest

import (
	"fmt"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
)

// segments are a good token with something around or between its segments.
func (c *corpus) segments() {
	valid := Valid()
	part := strings.Split(valid, ".")
	for name, token := range map[string]string{
		"1 segment":          part[0],
		"2 segments":         part[0] + "." + part[1],
		"4 segments":         valid + "." + part[2],
		"5 segments":         part[0] + "." + valid + "." + part[2],
		"nothing":            "",
		"only dots":          "..",
		"many dots":          strings.Repeat(".", 8000),
		"dot in front":       "." + valid,
		"dot behind":         valid + ".",
		"space in front":     " " + valid,
		"space behind":       valid + " ",
		"tab in front":       "\t" + valid,
		"tab behind":         valid + "\t",
		"line feed in front": "\n" + valid,
		"line feed behind":   valid + "\n",
		"CRLF behind":        valid + "\r\n",
		"no-break space":     "\u00a0" + valid,
		"byte order mark":    "\ufeff" + valid,
		"NUL behind":         valid + "\x00",
		"NUL in front":       "\x00" + valid,
		"quoted":             quote(valid),
		"scheme in front":    "Bearer " + valid,
		"comma and another":  valid + "," + valid,
		"detached":           part[0] + ".." + part[2],
		"empty header":       "." + part[1] + "." + part[2],
		"empty signature":    part[0] + "." + part[1] + ".",
		"swapped":            part[1] + "." + part[0] + "." + part[2],
		"full-width dots":    strings.ReplaceAll(valid, ".", "\uff0e"),
		"percent dots":       strings.ReplaceAll(valid, ".", "%2E"),
		"twice":              valid + "." + valid,
		"JWE shape":          "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVydGV4dA.dGFn",
	} {
		reason := jose.ReasonMalformed
		if name == "swapped" {
			reason = ""
		}
		c.reject("S", name, token, reason, "a token is three segments and nothing else")
	}
	c.reject("S", "8193 bytes", valid+strings.Repeat("A", 8193-len(valid)), jose.ReasonMalformed, "longer than a token may be")
	c.reject("S", "1 MiB", strings.Repeat("A", 1<<20)+"."+part[1]+"."+part[2], jose.ReasonMalformed, "longer than a token may be")
}

// serialisations are the same signature in the other shapes of RFC 7515, and tokens inside tokens.
func (c *corpus) serialisations() {
	part := strings.Split(Valid(), ".")
	member := func(protected, payload, signature string) string {
		return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, protected, payload, signature)
	}
	flat := member(part[0], part[1], part[2])
	one := fmt.Sprintf(`{"protected":%q,"signature":%q}`, part[0], part[2])
	bad := fmt.Sprintf(`{"protected":%q,"signature":"AAAA"}`, part[0])
	forgedClaims := strings.TrimPrefix(newClaims().set("sub", `"agt_admin"`).String(), "{")
	expired := strings.Split(c.ec(newHeader(), newClaims().set("exp", seconds(-5000)).set("iat", seconds(-6000)).drop("nbf")), ".")
	for name, token := range map[string]string{
		"JSON flattened":                       flat,
		"JSON general":                         fmt.Sprintf(`{"payload":%q,"signatures":[%s]}`, part[1], one),
		"JSON flattened with claims outside":   flat[:len(flat)-1] + "," + forgedClaims,
		"JSON general with claims outside":     fmt.Sprintf(`{"payload":%q,"signatures":[%s],%s`, part[1], one, forgedClaims),
		"JSON with an expired foreign token":   strings.TrimSuffix(member(expired[0], expired[1], expired[2]), "}") + "," + forgedClaims,
		"JSON with a bad and a good signature": fmt.Sprintf(`{"payload":%q,"signatures":[%s,%s]}`, part[1], bad, one),
		"JSON with kid unprotected":            fmt.Sprintf(`{"payload":%q,"header":{"kid":"ec-1"},"protected":%q,"signature":%q}`, part[1], part[0], part[2]),
		"JSON without a signature":             newClaims().String(),
	} {
		c.reject("S", name, token, jose.ReasonMalformed, "only the compact serialisation is a token")
	}
	c.reject("S", "token inside, good", c.ecText(newHeader().String(), Valid()), jose.ReasonClaims, "a signed token as payload")
	c.reject("S", "token inside, forged", c.ecText(newHeader().String(), part[0]+"."+encode([]byte(newClaims().set("sub", `"agt_admin"`).String()))+"."+part[2]),
		jose.ReasonClaims, "a forged token as payload")
}

// payloads are really signed by ec-1, and are no single JSON object.
func (c *corpus) payloads() {
	claims := newClaims().String()
	for name, payload := range map[string]string{
		"array":           "[" + claims + "]",
		"string":          `"sub"`,
		"null":            "null",
		"number":          "1",
		"true":            "true",
		"not JSON":        "sub=admin",
		"cut":             claims[:len(claims)-1],
		"bytes behind":    claims + "x",
		"two objects":     claims + claims,
		"comment":         "/**/" + claims,
		"comment behind":  claims + "//",
		"byte order mark": "\ufeff" + claims,
		"trailing comma":  claims[:len(claims)-1] + ",}",
		"UTF-16":          utf16(claims),
		"single quotes":   strings.ReplaceAll(claims, `"`, "'"),
		"NUL behind":      claims + "\x00",
		"space only":      "   ",
		"XML":             "<sub>admin</sub>",
		"bare names":      strings.ReplaceAll(claims, `"sub"`, "sub"),
		"NaN":             newClaims().set("x", "NaN").String(),
	} {
		c.reject("S", "payload "+name, c.ecText(newHeader().String(), payload), jose.ReasonClaims,
			"the payload must be one JSON object")
	}
	c.accept("S", "payload with white space", c.ecText(newHeader().String(), "\n "+strings.ReplaceAll(claims, ",", " ,\t")+"\r\n"),
		"white space the signer wrote")
}

// headers are really signed by ec-1, and are no single JSON object.
func (c *corpus) headers() {
	header := newHeader().String()
	for name, text := range map[string]string{
		"array":           "[" + header + "]",
		"null":            "null",
		"bytes behind":    header + "x",
		"two objects":     header + `{"alg":"none"}`,
		"white space":     "  ",
		"string":          `"alg"`,
		"byte order mark": "\ufeff" + header,
		"cut":             header[:len(header)-1],
		"number":          "1",
		"nothing inside":  "{}",
		"trailing comma":  header[:len(header)-1] + ",}",
		"UTF-16":          utf16(header),
		"NUL behind":      header + "\x00",
	} {
		reason := jose.ReasonHeader
		if name == "nothing inside" {
			reason = ""
		}
		c.reject("S", "header "+name, c.ecText(text, newClaims().String()), reason, "the header must be one JSON object")
	}
}

func utf16(s string) string {
	var wide strings.Builder
	for i := range len(s) {
		wide.WriteByte(s[i])
		wide.WriteByte(0)
	}
	return wide.String()
}

// base64 spells the segments of a good token in another way. Verifiers that decode and encode again take many of them.
func (c *corpus) base64() {
	segment := c.oddSegments()
	c.accept("B", "token behind the others", strings.Join(segment, "."), "in its one spelling it is good")
	names := []string{"header", "payload", "signature"}
	for i, name := range names {
		text := segment[i]
		for how, changed := range map[string]string{
			"padding":           text + strings.Repeat("=", 4-len(text)%4),
			"line feed":         text[:4] + "\n" + text[4:],
			"CRLF":              text[:4] + "\r\n" + text[4:],
			"line feed behind":  text + "\n",
			"space":             text[:4] + " " + text[4:],
			"garbage":           text[:4] + "!" + text[4:],
			"extra character":   text + "A",
			"unused bits":       text[:len(text)-1] + nextInAlphabet(text[len(text)-1]),
			"standard alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(text),
			"percent":           strings.Replace(text, text[:1], fmt.Sprintf("%%%02X", text[0]), 1),
		} {
			token := append([]string{}, segment...)
			token[i] = changed
			reason := jose.ReasonMalformed
			if how == "extra character" {
				reason = "" // not a length of base64 at all, or other bytes
			}
			c.reject("B", name+" "+how, strings.Join(token, "."), reason, "a second spelling of a good token")
		}
	}
	header := must(decode(segment[0]))
	for how, changed := range map[string]string{
		"garbage behind":          string(header) + "x",
		"object behind":           string(header) + `{"alg":"none"}`,
		"NUL behind":              string(header) + "\x00",
		"64 KiB of spaces behind": string(header) + strings.Repeat(" ", 64<<10),
		"space in front":          " " + string(header),
		"space behind":            string(header) + " ",
		"line feeds in front":     "\n\n" + string(header),
	} {
		c.reject("B", "header, unsigned "+how, encode([]byte(changed))+"."+segment[1]+"."+segment[2], "",
			"verifiers that sign the header anew do not see it")
	}
}

// oddSegments is a good token of which every segment has unused bits and a character that the two alphabets write differently.
func (c *corpus) oddSegments() []string {
	for i := 0; ; i++ {
		header := newHeader().set("x", quote(strings.Repeat("?>", i%7)))
		token := strings.Split(c.ec(header, newClaims().set("x", quote(strings.Repeat("?>", i%11)))), ".")
		odd := true
		for _, text := range token {
			odd = odd && len(text)%4 >= 2 && strings.ContainsAny(text, "-_")
		}
		if odd {
			return token
		}
	}
}

// nextInAlphabet sets the lowest unused bit.
func nextInAlphabet(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}
