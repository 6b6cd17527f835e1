package josetest

import (
	"fmt"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
)

// duplicates name a member twice, in both orders and hidden by an escape.
func (c *corpus) duplicates() {
	for _, x := range []struct{ name, other string }{
		{"sub", `"agt_admin"`},
		{"exp", seconds(3000)},
		{"aud", `"svc://other"`},
		{"iss", `"https://issuer.example/org/b"`},
		{"jti", `"tok_2"`},
		{"org_id", `"org_b"`},
	} {
		c.reject("D", x.name+" twice, other last", c.ec(newHeader(), newClaims().add(quote(x.name), x.other)), jose.ReasonClaims,
			"parsers differ in which one counts")
		c.reject("D", x.name+" twice, other first", c.ec(newHeader(), newClaims().first(quote(x.name), x.other)), jose.ReasonClaims,
			"parsers differ in which one counts")
		escaped := fmt.Sprintf(`"\u%04x%s"`, x.name[0], x.name[1:])
		c.reject("D", x.name+" twice, one escaped", c.ec(newHeader(), newClaims().add(escaped, x.other)), jose.ReasonClaims,
			"the same name after unescaping")
	}
	c.reject("D", "same value twice", c.ec(newHeader(), newClaims().add(`"sub"`, quote(Subject))), jose.ReasonClaims,
		"a duplicate is one even when both agree")
	c.reject("D", "alg twice", c.ec(newHeader().first(`"alg"`, `"none"`), newClaims()), jose.ReasonHeader,
		"parsers differ in which one counts")
	c.reject("D", "alg twice, one escaped", c.ec(newHeader().add(`"\u0061lg"`, `"none"`), newClaims()), jose.ReasonHeader,
		"the same name after unescaping")
	c.reject("D", "typ twice", c.ec(newHeader().add(`"typ"`, `"JWT"`), newClaims()), jose.ReasonHeader,
		"parsers differ in which one counts")
	c.reject("D", "nested", c.ec(newHeader(), newClaims().set("agent", `{"type":"worker","type":"admin"}`)), jose.ReasonClaims,
		"a duplicate further down")
	c.reject("D", "nested in a list", c.ec(newHeader(), newClaims().set("act", `[{"sub":"a","sub":"b"}]`)), jose.ReasonClaims,
		"a duplicate further down")
	for _, name := range []string{"sub", "exp", "iss", "aud", "iat", "jti"} {
		upper := strings.ToUpper(name)
		c.reject("D", upper+" in place of "+name, c.ec(newHeader(), newClaims().rename(name, upper)), jose.ReasonClaims,
			"names are case-sensitive")
	}
	c.reject("D", "Sub beside sub", c.ec(newHeader(), newClaims().set("Sub", `"agt_admin"`)), jose.ReasonClaims,
		"encoding/json takes both for sub, the last wins")
	c.reject("D", "long s beside sub", c.ec(newHeader(), newClaims().set("\u017fub", `"agt_admin"`)), jose.ReasonClaims,
		"encoding/json folds the long s to s")
}

// encodings are strings and numbers that readers turn into different values.
func (c *corpus) encodings() {
	for name, sub := range map[string]string{
		"invalid UTF-8":       "\"agt_\xff\"",
		"overlong UTF-8":      "\"agt_\xc0\xaf\"",
		"lone surrogate":      `"agt_\ud800"`,
		"low surrogate first": `"agt_\udc00\ud800"`,
		"surrogate as UTF-8":  "\"agt_\xed\xa0\x80\"",
		"NUL":                 `"agt_a\u0000dmin"`,
		"CRLF":                `"agt_a\r\nx-agent-id: admin"`,
		"raw line feed":       "\"agt_\n\"",
		"DEL":                 "\"agt_\x7f\"",
	} {
		c.reject("D", "sub with "+name, c.ec(newHeader(), newClaims().set("sub", sub)), jose.ReasonClaims,
			"two readers see two subjects")
	}
	for name, value := range map[string]string{"1e400": "1e400", "1e-400": "1e-400", "1e999999999": "1e999999999", "leading zero": "007", "hexadecimal": "0x7", "Infinity": "Infinity"} {
		c.reject("D", "number "+name, c.ec(newHeader(), newClaims().set("x", value)), jose.ReasonClaims,
			"no number, or none that every reader can hold")
	}
	c.reject("D", "lone surrogate in a name", c.ec(newHeader(), newClaims().add(`"\ud800"`, "1")), jose.ReasonClaims,
		"two readers see two names")
	c.accept("D", "surrogate pair and escapes", c.ec(newHeader(), newClaims().set("x", `"\ud83d\ude00 \u00e9 \/"`)),
		"every reader sees the same")
	c.accept("D", "name nested again", c.ec(newHeader(), newClaims().set("act", `{"sub":"agt_other"}`)),
		"another object, another name")
}

func (c *corpus) sizes() {
	for _, depth := range []int{16, 1000, 9000, 100000} {
		reason := jose.ReasonClaims
		if depth > 2500 {
			reason = jose.ReasonMalformed // too long as a whole
		}
		c.reject("D", fmt.Sprintf("depth %d", depth+1), c.ec(newHeader(), newClaims().set("x", strings.Repeat("[", depth)+strings.Repeat("]", depth))), reason,
			"a reader that recurses")
	}
	many := make([]string, 50000)
	for i := range many {
		many[i] = fmt.Sprintf(`"c%d":1`, i)
	}
	c.reject("D", "50,000 claims", c.ecText(newHeader().String(), "{"+strings.Join(many, ",")+","+newClaims().String()[1:]), jose.ReasonMalformed,
		"work before the signature")
	c.reject("D", "600 values", c.ec(newHeader(), newClaims().set("x", "[0"+strings.Repeat(",0", 600)+"]")), jose.ReasonClaims,
		"more values than a token has")
	c.reject("D", "claim of 1 MiB", c.ec(newHeader(), newClaims().set("x", quote(strings.Repeat("x", 1<<20)))), jose.ReasonMalformed,
		"work before the signature")
	c.reject("D", "header of 64 KiB", c.ec(newHeader().set("x", quote(strings.Repeat("x", 64<<10))), newClaims()), jose.ReasonMalformed,
		"work before the signature")
	c.reject("D", "header of 2 KiB", c.ec(newHeader().set("x", quote(strings.Repeat("x", 2<<10))), newClaims()), jose.ReasonHeader,
		"longer than a header may be")
	c.reject("D", "header with depth 3", c.ec(newHeader().set("x", "[[1]]"), newClaims()), jose.ReasonHeader,
		"deeper than a header may be")
	wide := newHeader()
	for i := range 14 {
		wide = wide.set(fmt.Sprintf("x%d", i), "1")
	}
	c.reject("D", "header of 17 members", c.ec(wide, newClaims()), jose.ReasonHeader, "more than a header may have")
	c.accept("D", "depth 16", c.ec(newHeader(), newClaims().set("x", strings.Repeat("[", 15)+strings.Repeat("]", 15))),
		"as deep as allowed, counting the payload itself")
}

func (c *corpus) issuer() {
	for name, iss := range map[string]string{
		"null":           "null",
		"number":         "1",
		"array":          `["` + Issuer + `"]`,
		"object":         "{}",
		"empty":          `""`,
		"bool":           "true",
		"NUL":            `"` + Issuer + `\u0000"`,
		"trailing space": quote(Issuer + " "),
		"line feed":      `"` + Issuer + `\n"`,
		"zero width":     quote(Issuer + "\u200b"),
		"513 bytes":      quote(Issuer + strings.Repeat("x", 513-len(Issuer))),
	} {
		c.reject("I", "iss "+name, c.ec(newHeader(), newClaims().set("iss", iss)), jose.ReasonClaims, "iss must be a visible string")
	}
	c.reject("I", "iss missing", c.ec(newHeader(), newClaims().drop("iss")), jose.ReasonClaims, "no issuer")
	for name, iss := range map[string]string{
		"with slash":   Issuer + "/",
		"other case":   "https://Issuer.example/org/a",
		"other org":    "https://issuer.example/org/b",
		"suffix":       Issuer + "b",
		"user info":    "https://issuer.example@attacker.example/org/a",
		"homoglyph":    "https://\u0456ssuer.example/org/a",
		"dot segments": "https://issuer.example/org/b/../a",
		"percent":      "https://issuer.example/org/%61",
		"port":         "https://issuer.example:443/org/a",
		"fragment":     Issuer + "#a",
		"query":        Issuer + "?",
		"http":         "http://issuer.example/org/a",
		"prefix":       "https://issuer.example/org",
		"host suffix":  "https://issuer.example.attacker.example/org/a",
		"trailing dot": "https://issuer.example./org/a",
		"upper scheme": "HTTPS://issuer.example/org/a",
	} {
		c.reject("I", "iss "+name, c.ec(newHeader(), newClaims().set("iss", quote(iss))), jose.ReasonIssuer,
			"issuers are compared byte for byte")
	}
}

func (c *corpus) audience() {
	for name, aud := range map[string]string{
		"null":               "null",
		"number":             "1",
		"object":             `{"svc://payments":true}`,
		"bool":               "true",
		"empty":              `""`,
		"empty list":         "[]",
		"list with a number": `["` + Audience + `",1]`,
		"list with null":     `["` + Audience + `",null]`,
		"list in a list":     `[["` + Audience + `"]]`,
		"list with nothing":  `["` + Audience + `",""]`,
		"space behind":       quote(Audience + " "),
		"two in one string":  quote(Audience + " svc://other"),
		"nine":               `["` + Audience + `"` + strings.Repeat(`,"svc://other"`, 8) + `]`,
		"1,000":              `["` + Audience + `"` + strings.Repeat(`,"a"`, 999) + `]`,
		"line feed":          `"svc://other\n` + Audience + `"`,
		"513 bytes":          quote(strings.Repeat("x", 513)),
	} {
		c.reject("I", "aud "+name, c.ec(newHeader(), newClaims().set("aud", aud)), jose.ReasonClaims,
			"aud must be a visible string or up to eight")
	}
	c.reject("I", "aud missing", c.ec(newHeader(), newClaims().drop("aud")), jose.ReasonClaims, "good everywhere")
	for name, aud := range map[string]string{
		"other service": "svc://other",
		"prefix":        "svc://pay",
		"suffix":        Audience + "/x",
		"other case":    "SVC://payments",
		"slash":         Audience + "/",
		"wildcard":      "*",
		"comma":         Audience + ",svc://other",
		"client id":     Subject,
		"homoglyph":     "svc://p\u0430yments",
		"empty host":    "svc://",
	} {
		c.reject("I", "aud "+name, c.ec(newHeader(), newClaims().set("aud", quote(aud))), jose.ReasonAudience,
			"audiences are compared byte for byte")
	}
	c.accept("I", "aud of eight", c.ec(newHeader(), newClaims().set("aud", `["a","b","c","d","e","f","g","`+Audience+`"]`)),
		"as many as allowed")
}

func (c *corpus) subjectAndID() {
	for _, claim := range []string{"sub", "jti"} {
		c.reject("I", claim+" missing", c.ec(newHeader(), newClaims().drop(claim)), jose.ReasonClaims,
			"nobody, or a token that cannot be revoked")
		for name, value := range map[string]string{
			"null":           "null",
			"number":         "1",
			"array":          `["a"]`,
			"object":         "{}",
			"bool":           "false",
			"empty":          `""`,
			"space":          `" "`,
			"tab inside":     `"a\tb"`,
			"space inside":   `"a b"`,
			"no-break space": quote("a\u00a0b"),
			"zero width":     quote("agt_\u200badmin"),
			"right-to-left":  quote("agt_\u202enimda"),
			"soft hyphen":    quote("ad\u00admin"),
			"filler":         quote("agt\u3164"),
			"blank braille":  quote("\u2800"),
			"513 bytes":      quote(strings.Repeat("x", 513)),
			"line separator": quote("a\u2028b"),
			"tag":            quote("a\U000e0041"),
		} {
			c.reject("I", claim+" "+name, c.ec(newHeader(), newClaims().set(claim, value)), jose.ReasonClaims,
				"it must be a visible string")
		}
	}
	c.accept("I", "sub in another script", c.ec(newHeader(), newClaims().set("sub", quote("агент-七-é"))),
		"letters of every script are visible")
}

// purpose are really signed tokens that were made for something else.
func (c *corpus) purpose() {
	c.reject("Y", "typ missing", c.ec(newHeader().drop("typ"), newClaims()), jose.ReasonType, "any token of the issuer would do")
	c.reject("Y", "ID token", c.ec(newHeader().set("typ", `"JWT"`), newClaims().set("nonce", `"n"`).set("aud", quote(Audience))), jose.ReasonType,
		"an ID token is for the client")
	for name, typ := range map[string]string{
		"JWT":                   "JWT",
		"logout":                "logout+jwt",
		"DPoP proof":            "dpop+jwt",
		"security event":        "secevent+jwt",
		"entity statement":      "entity-statement+jwt",
		"credential":            "vc+jwt",
		"SD-JWT":                "dc+sd-jwt",
		"client authentication": "client-authentication+jwt",
		"authorization request": "oauth-authz-req+jwt",
		"introspection":         "token-introspection+jwt",
		"JOSE":                  "JOSE",
		"bundle":                "bundle+jwt",
		"assertion":             "agentidp-assertion+jwt",
		"longer":                "at+jwt2",
		"other prefix":          "xat+jwt",
		"twice the prefix":      "application/application/at+jwt",
		"other prefix type":     "text/at+jwt",
		"parameter":             "at+jwt;v=1",
		"JSON type":             "application/json",
		"only the prefix":       "application/",
	} {
		c.reject("Y", name, c.ec(newHeader().set("typ", quote(typ)), newClaims()), jose.ReasonType, "made for another purpose")
	}
	for name, raw := range map[string]string{
		"number":               "1",
		"array":                `["at+jwt"]`,
		"null":                 "null",
		"object":               "{}",
		"bool":                 "true",
		"empty":                `""`,
		"space behind":         `"at+jwt "`,
		"space in front":       `" at+jwt"`,
		"NUL":                  `"at+jwt\u0000"`,
		"full-width":           quote("ａt+jwt"),
		"parameter with space": `"at+jwt; v=1"`,
	} {
		c.reject("Y", "typ "+name, c.ec(newHeader().set("typ", raw), newClaims()), jose.ReasonType, "not a media type name")
	}
	c.accept("Y", "with prefix", c.ec(newHeader().set("typ", `"application/at+jwt"`), newClaims()), "RFC 7515 s4.1.9")
	c.accept("Y", "upper case", c.ec(newHeader().set("typ", `"AT+JWT"`), newClaims()), "media types have no case")
	c.accept("Y", "upper case with prefix", c.ec(newHeader().set("typ", `"Application/AT+JWT"`), newClaims()),
		"media types have no case")
}
