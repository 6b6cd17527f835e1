package jose_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/jose"
)

// keySetCase is a JWKS document: which keys of it can be used, and what is said about the others.
type keySetCase struct {
	name string
	doc  string
	keys []string // kid of the good ones
	bad  []string // reasons, in the order of the document
	err  string   // the document as a whole is refused
}

const (
	notASet = `key set: "keys" is missing or not a list`
	strict  = "key set: strict JSON: "
)

// with puts bad entries beside a good key, which must always survive.
func with(entries ...string) string {
	return `{"keys":[` + strings.Join(append(entries, goodKey), ",") + `]}`
}

var goodKey = ecEntry(`"kid":"good"`)

// TestKeySetDocuments is the table of notes on JWKS input: bad keys are left out with a stated reason, good ones are kept,
// ambiguous documents are refused whole, and nothing panics.
func TestKeySetDocuments(t *testing.T) {
	t.Parallel()
	tests := allKeySetDocuments()
	if len(tests) < 52 {
		t.Errorf("%d documents, want 52 at least", len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, problems, err := jose.ParseKeySet([]byte(tt.doc))
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) || set != nil {
					t.Fatalf("set %v, error %v, want error %q", set, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var reasons []string
			for _, p := range problems {
				reasons = append(reasons, p.Reason)
			}
			if diff := cmp.Diff(tt.bad, reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			if set.Len() != len(tt.keys) {
				t.Errorf("%d keys, want %q", set.Len(), tt.keys)
			}
			for _, kid := range tt.keys {
				exercise(t, set, kid)
			}
		})
	}
}

func allKeySetDocuments() []keySetCase {
	return slices.Concat(ed25519Documents(), ecDocuments(), rsaDocuments(), purposeDocuments(), keyIDDocuments(), unreadableDocuments(), wholeDocuments())
}

// exercise does with a key whatever a caller can do with one: nothing may panic, no garbage may verify.
func exercise(t *testing.T, set *jose.KeySet, kid string) {
	t.Helper()
	key, ok := set.Lookup(kid)
	if !ok || key.ID() != kid || len(key.Thumbprint()) != 43 {
		t.Fatalf("key %q: %v, %+v", kid, ok, key)
	}
	header := fmt.Sprintf(`{"typ":"at+jwt","alg":%q,"kid":%q}`, key.Algorithm(), kid)
	token := b64(header) + "." + b64(`{"iss":"i"}`) + "." + b64(strings.Repeat("s", 64))
	parsed, err := jose.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	rules := &jose.Rules{Types: []string{"at+jwt"}, Algorithms: []jose.Algorithm{key.Algorithm()}}
	if _, err := parsed.Verify(key, rules, fixedNow); reasonOf(err) != jose.ReasonSignature {
		t.Errorf("a garbage signature with key %q: %v", kid, err)
	}
}

func ed25519Documents() []keySetCase {
	one := func(name string, x []byte, reason string) keySetCase {
		return keySetCase{"Ed25519 " + name, with(`{"kty":"OKP","crv":"Ed25519","kid":"bad","x":"` + b64(string(x)) + `"}`), []string{"good"}, []string{reason}, ""}
	}
	const length, curve, order = "coordinate has the wrong length", "not a point of the curve", "point of small order"
	y := func(first byte, fill byte, last byte) []byte {
		return append(append([]byte{first}, slices.Repeat([]byte{fill}, 30)...), last)
	}
	cases := []keySetCase{
		one("of 31 bytes", make([]byte, 31), length),
		one("of 33 bytes", make([]byte, 33), length),
		one("of 0 bytes", nil, length),
		one("of 1 KiB", make([]byte, 1024), length),
		one("y = 0, order 4", y(0, 0, 0), order),
		one("y = 0 with sign, order 4", y(0, 0, 0x80), order),
		one("y = 1, order 1", y(1, 0, 0), order),
		one("y = 1 with sign", y(1, 0, 0x80), order),
		one("y = -1, order 2", y(0xEC, 0xFF, 0x7F), order),
		one("y = -1 with sign", y(0xEC, 0xFF, 0xFF), order),
		one("order 8", unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), order),
		one("order 8, sign", unhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"), order),
		one("order 8, other", unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), order),
		one("order 8, other, sign", unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), order),
		one("y = p, second spelling of 0", y(0xED, 0xFF, 0x7F), curve),
		one("y = p+1, second spelling of 1", y(0xEE, 0xFF, 0x7F), curve),
		one("y all ones", y(0xFF, 0xFF, 0xFF), curve),
		one("y = 2, no point", y(2, 0, 0), curve),
	}
	return append(cases,
		keySetCase{"Ed25519 good", with(edEntry(`"kid":"ed"`)), []string{"good", "ed"}, nil, ""},
		keySetCase{"Ed25519 with the RFC 9864 name", with(edEntry(`"kid":"ed","alg":"Ed25519"`)), []string{"good", "ed"}, nil, ""},
		keySetCase{"X25519", with(strings.Replace(edEntry(`"kid":"x"`), "Ed25519", "X25519", 1)), []string{"good"}, []string{"crv is missing or not supported"}, ""},
		keySetCase{"Ed448", with(strings.Replace(edEntry(`"kid":"x"`), "Ed25519", "Ed448", 1)), []string{"good"}, []string{"crv is missing or not supported"}, ""},
	)
}

func ecDocuments() []keySetCase {
	one := func(name, members, reason string) keySetCase {
		return keySetCase{"EC " + name, with(`{"kty":"EC","kid":"bad",` + members + `}`), []string{"good"}, []string{reason}, ""}
	}
	point := func(x, y []byte) string {
		return `"crv":"P-256","x":"` + b64(string(x)) + `","y":"` + b64(string(y)) + `"`
	}
	x, y := testPoint()
	other := slices.Clone(y)
	other[31] ^= 1
	prime := unhex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff")
	const length, curve, encoding = "coordinate has the wrong length", "not a point of the curve", "key material is missing or not canonical base64url"
	return []keySetCase{
		one("x too long", point(append([]byte{0}, x...), y), length),
		one("x far too long", point(make([]byte, 4096), y), length),
		one("y too short", point(x, y[1:]), length),
		one("empty", point(nil, nil), length),
		one("off the curve", point(x, other), curve),
		one("(0,0)", point(make([]byte, 32), make([]byte, 32)), curve),
		one("x = p", point(prime, y), curve),
		one("x and y swapped", point(y, x), curve),
		one("no y", `"crv":"P-256","x":"`+b64(string(x))+`"`, encoding),
		one("padding", `"crv":"P-256","x":"`+b64(string(x))+`=","y":"`+b64(string(y))+`"`, encoding),
		one("line feed in x", `"crv":"P-256","x":"`+b64(string(x))+`\n","y":"`+b64(string(y))+`"`, encoding),
		one("x as number", `"crv":"P-256","x":1,"y":"`+b64(string(y))+`"`, encoding),
		one("P-384", `"crv":"P-384","x":"`+b64(string(make([]byte, 48)))+`","y":"`+b64(string(make([]byte, 48)))+`"`, "crv is missing or not supported"),
		one("secp256k1", `"crv":"secp256k1","x":"`+b64(string(x))+`","y":"`+b64(string(y))+`"`, "crv is missing or not supported"),
		one("no crv", `"x":"`+b64(string(x))+`","y":"`+b64(string(y))+`"`, "crv is missing or not supported"),
		one("crv as a list", `"crv":["P-256"],"x":"`+b64(string(x))+`","y":"`+b64(string(y))+`"`, "crv is missing or not supported"),
	}
}

func rsaDocuments() []keySetCase {
	one := func(name string, n, e []byte, reason string) keySetCase {
		return keySetCase{"RSA " + name, with(`{"kty":"RSA","kid":"bad","n":"` + b64(string(n)) + `","e":"` + b64(string(e)) + `"}`), []string{"good"}, []string{reason}, ""}
	}
	n := testModulus()
	even := slices.Clone(n)
	even[len(even)-1] &^= 1
	e := []byte{1, 0, 1}
	const size, exponent, form = "modulus is not 2048 to 8192 bits", "exponent is not odd, or not in 3 to 2^31-1", "integer is empty or has leading zeros"
	return []keySetCase{
		one("512 bits", n[:64], e, size),
		one("1024 bits", n[:128], e, size),
		one("2047 bits", append([]byte{n[0] >> 1}, n[1:]...), e, size),
		one("8193 bits", append([]byte{1}, slices.Repeat([]byte{0xFF}, 1024)...), e, size),
		one("65,536 bits", slices.Repeat([]byte{0xFF}, 8192), e, size),
		one("n = 0", []byte{0}, e, form),
		one("n empty", nil, e, form),
		one("n with a leading zero", append([]byte{0}, n...), e, form),
		one("n even", even, e, "modulus is even"),
		one("e = 0", n, []byte{0}, form),
		one("e = 1", n, []byte{1}, exponent),
		one("e = 2", n, []byte{2}, exponent),
		one("e even", n, []byte{1, 0, 0}, exponent),
		one("e with a leading zero", n, []byte{0, 1, 0, 1}, form),
		one("e of 32 bits", n, []byte{0x80, 0, 0, 1}, exponent),
		one("e of 64 bits", n, slices.Repeat([]byte{0xFF}, 8), exponent),
		one("e empty", n, nil, form),
		one("made by the ROCA generator", rocaModulus(), e, "modulus was made by a broken generator (CVE-2017-15361)"),
		{"RSA no e", with(`{"kty":"RSA","kid":"bad","n":"` + b64(string(n)) + `"}`), []string{"good"}, []string{"key material is missing or not canonical base64url"}, ""},
		{"RSA e = 3", with(`{"kty":"RSA","kid":"rsa","n":"` + b64(string(n)) + `","e":"Aw"}`), []string{"good", "rsa"}, nil, ""},
		{"RSA 8192 bits, e = 2^31-1", with(`{"kty":"RSA","kid":"rsa","n":"` + b64(string(slices.Repeat([]byte{0xFF}, 1024))) + `","e":"f____w"}`), []string{"good", "rsa"}, nil, ""},
	}
}

func purposeDocuments() []keySetCase {
	one := func(name, entry, reason string) keySetCase {
		return keySetCase{name, with(entry), []string{"good"}, []string{reason}, ""}
	}
	good := func(name, entry string) keySetCase {
		return keySetCase{name, with(entry), []string{"good", "k"}, nil, ""}
	}
	const operations, alg, fit = "key_ops does not allow verify", "alg is not supported", "alg does not fit the key"
	return []keySetCase{
		one("symmetric", `{"kty":"oct","kid":"k","k":"c2VjcmV0","alg":"HS256"}`, "symmetric key in a public set"),
		one("symmetric without k", `{"kty":"oct","kid":"k"}`, "symmetric key in a public set"),
		one("symmetric inside an EC key", ecEntry(`"kid":"k","k":"c2VjcmV0"`), "symmetric key in a public set"),
		one("private EC", ecEntry(`"kid":"k","d":"c2VjcmV0"`), "private key in a public set"),
		one("private RSA, only one prime", rsaEntry(`"kid":"k","p":"c2VjcmV0"`), "private key in a public set"),
		one("private, d null", edEntry(`"kid":"k","d":null`), "private key in a public set"),
		one("use enc", ecEntry(`"kid":"k","use":"enc"`), "use is not sig"),
		one("use list", ecEntry(`"kid":"k","use":["sig"]`), "use is not sig"),
		one("use null", ecEntry(`"kid":"k","use":null`), "use is not sig"),
		one("key_ops without verify", ecEntry(`"kid":"k","key_ops":["sign","encrypt"]`), operations),
		one("key_ops empty", ecEntry(`"kid":"k","key_ops":[]`), operations),
		one("key_ops string", ecEntry(`"kid":"k","key_ops":"verify"`), operations),
		one("key_ops with a list inside", ecEntry(`"kid":"k","key_ops":[["verify"],{}]`), operations),
		one("unknown kty", `{"kty":"AKP","kid":"k","alg":"ML-DSA-44","pub":"AAAA"}`, "kty is missing or not supported"),
		one("no kty", `{"kid":"k"}`, "kty is missing or not supported"),
		one("kty in lower case", `{"kty":"rsa","kid":"k"}`, "kty is missing or not supported"),
		one("kty object", `{"kty":{},"kid":"k"}`, "kty is missing or not supported"),
		one("alg HS256 on an EC key", ecEntry(`"kid":"k","alg":"HS256"`), alg),
		one("alg none", ecEntry(`"kid":"k","alg":"none"`), alg),
		one("alg null", ecEntry(`"kid":"k","alg":null`), alg),
		one("alg ES384 on P-256", ecEntry(`"kid":"k","alg":"ES384"`), alg),
		one("alg RS512", rsaEntry(`"kid":"k","alg":"RS512"`), alg),
		one("alg RS256 on an EC key", ecEntry(`"kid":"k","alg":"RS256"`), fit),
		one("alg ES256 on an RSA key", rsaEntry(`"kid":"k","alg":"ES256"`), fit),
		one("alg EdDSA on an EC key", ecEntry(`"kid":"k","alg":"EdDSA"`), fit),
		one("a string in place of a key", `"key"`, "not an object"),
		one("null in place of a key", `null`, "not an object"),
		one("a list in place of a key", `[]`, "not an object"),
		good("use sig and key_ops verify", ecEntry(`"kid":"k","use":"sig","key_ops":["verify"]`)),
		good("PS256", rsaEntry(`"kid":"k","alg":"PS256"`)),
		good("RSA without alg", rsaEntry(`"kid":"k"`)),
		good("certificate and unknown members", ecEntry(`"kid":"k","x5c":["MIIB"],"x5t":"AAAA","nbf":1,"more":{}`)),
	}
}

func keyIDDocuments() []keySetCase {
	const form, twice = "kid is missing or not 1 to 128 visible ASCII characters", "kid is used by another verification key of the set"
	one := func(name, members string) keySetCase {
		return keySetCase{"kid " + name, with(ecEntry(members)), []string{"good"}, []string{form}, ""}
	}
	beside := func(name, entry, reason string) keySetCase { // RFC 7517 s4.5: equal kids, no two of which verify
		return keySetCase{"kid of a good key and one " + name, with(entry), []string{"good"}, []string{reason}, ""}
	}
	return []keySetCase{
		one("missing", `"use":"sig"`),
		one("empty", `"kid":""`),
		one("number", `"kid":1`),
		one("null", `"kid":null`),
		one("space", `"kid":"a b"`),
		one("line feed", `"kid":"a\n"`),
		one("not ASCII", `"kid":"é"`),
		one("129 characters", `"kid":"`+strings.Repeat("k", 129)+`"`),
		{"kid twice", with(ecEntry(`"kid":"k"`), edEntry(`"kid":"k"`)), []string{"good"}, []string{twice, twice}, ""},
		{"kid twice, the same key", with(ecEntry(`"kid":"k"`), ecEntry(`"kid":"k"`)), []string{"good"}, []string{twice, twice}, ""},
		{"kid twice, one escaped", with(ecEntry(`"kid":"k"`), edEntry(`"kid":"\u006b"`)), []string{"good"}, []string{twice, twice}, ""},
		{"kid three times", with(ecEntry(`"kid":"k"`), edEntry(`"kid":"k"`), rsaEntry(`"kid":"k"`)), []string{"good"}, []string{twice, twice, twice}, ""},
		beside("of an unknown kty", `{"kty":"AKP","kid":"good"}`, "kty is missing or not supported"),
		beside("for encryption", rsaEntry(`"kid":"good","use":"enc"`), "use is not sig"),
		beside("without verify", edEntry(`"kid":"good","key_ops":["encrypt"]`), "key_ops does not allow verify"),
		beside("of an algorithm that is not ours", rsaEntry(`"kid":"good","alg":"RSA-OAEP"`), "alg is not supported"),
		beside("that is symmetric", `{"kty":"oct","k":"AA","kid":"good"}`, "symmetric key in a public set"),
		beside("that cannot be read", `{"kty":"EC","kid":"good","kid":"good"}`, "cannot be read in one way only: duplicate member"),
		beside("of a curve that is not ours", `{"kty":"EC","crv":"P-384","kid":"good"}`, "crv is missing or not supported"),
		{"kid of two verification keys and one for encryption", with(ecEntry(`"kid":"k"`), edEntry(`"kid":"k"`), rsaEntry(`"kid":"k","use":"enc"`)), []string{"good"}, []string{twice, twice, "use is not sig"}, ""},
		{"kid that differs in case", with(ecEntry(`"kid":"k"`), edEntry(`"kid":"K"`)), []string{"good", "k", "K"}, nil, ""},
	}
}

// unreadableDocuments hold a key that two readers could read differently. That is its own problem: the good one beside it stays.
func unreadableDocuments() []keySetCase {
	one := func(name, entry, reason string) keySetCase {
		return keySetCase{"unreadable: " + name, with(entry), []string{"good"}, []string{"cannot be read in one way only: " + reason}, ""}
	}
	var members strings.Builder
	for i := range 128 {
		fmt.Fprintf(&members, `,"m%d":0`, i)
	}
	return []keySetCase{
		one("member twice", `{"kty":"EC","kty":"oct"}`, "duplicate member"),
		one("kid twice", ecEntry(`"kid":"good","kid":"k"`), "duplicate member"),
		one("member twice, one escaped", ecEntry(`"kid":"k","\u006bid":"l"`), "duplicate member"),
		one("member twice, further in", ecEntry(`"kid":"k","x":{"a":1,"a":1}`), "duplicate member"),
		one("1e400", ecEntry(`"kid":"k","nbf":1e400`), "number out of range"),
		one("lone surrogate", ecEntry(`"kid":"\ud800"`), "lone surrogate"),
		one("kid that is not UTF-8", ecEntry("\"kid\":\"k\xff\""), "invalid UTF-8"),
		one("name that is not UTF-8", ecEntry("\"kid\":\"k\",\"\xc0\xaf\":1"), "invalid UTF-8"),
		one("129 members", `{"kid":"k"`+members.String()+`}`, "too many members"),
		one("513 values", ecEntry(`"kid":"k","x5c":[0`+strings.Repeat(",0", 512)+`]`), "too many values"),
		one("depth 7", ecEntry(`"kid":"k","x":`+strings.Repeat("[", 6)+strings.Repeat("]", 6)), "nested too deeply"),
		one("depth 10,000", strings.Repeat("[", 10000)+strings.Repeat("]", 10000), "nested too deeply"),
		one("control character", ecEntry("\"kid\":\"a\nb\""), "control character in a string"),
		one("unknown escape", ecEntry(`"kid":"\x41"`), "unknown escape"),
		one("NaN", `{"kid":"k","nbf":NaN}`, "no value"),
		one("two values", goodKey+" "+goodKey, "bytes after the value"),
		one("trailing comma", `{"kid":"k",}`, "no member name"),
		one("no JSON", `key`, "no value"),
	}
}

func wholeDocuments() []keySetCase {
	whole := func(name, doc, err string) keySetCase { return keySetCase{name: name, doc: doc, err: err} }
	many := func(n int) (string, []string) {
		var entries, kids []string
		for i := range n {
			kids = append(kids, fmt.Sprintf("k%d", i))
			entries = append(entries, ecEntry(`"kid":"`+kids[i]+`"`))
		}
		return `{"keys":[` + strings.Join(entries, ",") + `]}`, kids
	}
	full, fullKids := many(64)
	tooMany, _ := many(65)
	return []keySetCase{
		whole("nothing", "", strict),
		whole("bare key", goodKey, notASet),
		whole("list", "["+goodKey+"]", strict+"not an object"),
		whole("null", "null", strict),
		whole("keys null", `{"keys":null}`, notASet),
		whole("keys object", `{"keys":{}}`, notASet),
		whole("keys string", `{"keys":"[]"}`, notASet),
		whole("no keys", `{}`, notASet),
		whole("Keys in the wrong case", `{"Keys":[`+goodKey+`]}`, notASet),
		whole("keys twice", `{"keys":[`+goodKey+`],"keys":[]}`, strict+"duplicate member"),
		whole("keys twice, one escaped", `{"keys":[`+goodKey+`],"\u006beys":[]}`, strict+"duplicate member"),
		whole("bytes behind", `{"keys":[]}x`, strict+"bytes after the value"),
		whole("document behind", `{"keys":[]}{"keys":[]}`, strict+"bytes after the value"),
		whole("byte order mark", "\ufeff"+with(), strict+"byte order mark"),
		whole("HTML", "<html>404</html>", strict),
		whole("invalid UTF-8", "{\"keys\":[],\"x\":\"\xff\"}", strict+"invalid UTF-8"),
		whole("65 keys", tooMany, "key set: 65 keys"),
		whole("257 KiB", with()+strings.Repeat(" ", 257<<10), strict+"document is too long"),
		whole("deep, outside of keys", `{"x":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000)+`,"keys":[]}`, strict+"nested too deeply"),
		whole("brackets that do not match", `{"keys":[{"kty":"EC"],`+goodKey+`]}`, strict+"no comma and no end of the container"),
		whole("a key without end", `{"keys":[`+goodKey+`,{"kty":"EC"`, strict+"no comma and no end of the container"),
		whole("a string without end", `{"keys":[`+goodKey+`,{"kty":"EC]}`, strict+"string does not end"),
		whole("no key between commas", `{"keys":[`+goodKey+`,,`+goodKey+`]}`, strict+"no value"),
		whole("comma behind the last key", `{"keys":[`+goodKey+`,]}`, strict+"no value"),
		whole("member twice, outside of keys", `{"x":{"a":1,"a":2},"keys":[`+goodKey+`]}`, strict+"duplicate member"),
		whole("1e400, outside of keys", `{"x":1e400,"keys":[`+goodKey+`]}`, strict+"number out of range"),
		whole("keys twice, one of them no list", `{"keys":[`+goodKey+`],"keys":1}`, strict+"duplicate member"),
		{"64 keys", full, fullKids, nil, ""},
		{"empty set", `{"keys":[]}`, nil, nil, ""},
		{"other members beside keys", `{"issuer":"x","keys":[` + goodKey + `],"more":{"keys":[]}}`, []string{"good"}, nil, ""},
	}
}

// TestManyUnreadableKeysAreCheap: what a whole document of them costs is bounded by its size, whatever its keys are made of.
func TestManyUnreadableKeysAreCheap(t *testing.T) { // not parallel: AllocsPerRun counts what everybody allocates
	room := (256<<10)/64 - 64
	for name, entry := range map[string]string{
		"deep": strings.Repeat("[", room/2) + strings.Repeat("]", room/2), "flat": "[" + strings.Repeat("0,", room/2) + "0]", "text": `"` + strings.Repeat(`\u0041`, room/6) + `"`,
	} {
		doc := []byte(`{"keys":[` + strings.Repeat(entry+",", 63) + goodKey + `]}`)
		allocations := testing.AllocsPerRun(3, func() {
			if set, problems, err := jose.ParseKeySet(doc); err != nil || set.Len() != 1 || len(problems) != 63 {
				t.Fatalf("%s: %v, %d problems, %v", name, set, len(problems), err)
			}
		})
		if allocations > 64*600 { // at most one for each value that is read, and then some
			t.Errorf("%s: %v allocations", name, allocations)
		}
	}
}

// TestKeyProblemNamesTheKey: an operator must find the key, and the log must survive its kid.
func TestKeyProblemNamesTheKey(t *testing.T) {
	t.Parallel()
	_, problems, err := jose.ParseKeySet([]byte(with(ecEntry(`"kid":"k1","use":"enc"`), ecEntry(`"kid":"a\r\nb \u007f~`+strings.Repeat("x", 200)+`"`), `1`)))
	if err != nil {
		t.Fatal(err)
	}
	want := []jose.KeyProblem{
		{Index: 0, KeyID: "k1", Reason: "use is not sig"},
		{Index: 1, KeyID: "a??b??~" + strings.Repeat("x", 121), Reason: "kid is missing or not 1 to 128 visible ASCII characters"},
		{Index: 2, Reason: "not an object"},
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKeyWithoutAlgIsPinned(t *testing.T) {
	t.Parallel()
	set, _, err := jose.ParseKeySet([]byte(`{"keys":[` + ecEntry(`"kid":"ec"`) + "," + rsaEntry(`"kid":"rsa"`) + "," + edEntry(`"kid":"ed"`) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for kid, want := range map[string]jose.Algorithm{"ec": jose.ES256, "rsa": jose.RS256, "ed": jose.EdDSA} {
		if key, ok := set.Lookup(kid); !ok || key.Algorithm() != want {
			t.Errorf("key %s: %v, %+v; want %s", kid, ok, key, want)
		}
	}
}

// TestRSAKeyWithoutAlgIsForWhatIsAccepted: an issuer that signs with PS256 alone need not say so in each key.
func TestRSAKeyWithoutAlgIsForWhatIsAccepted(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"keys":[` + rsaEntry(`"kid":"unnamed"`) + "," + rsaEntry(`"kid":"rs","alg":"RS256"`) + "," + rsaEntry(`"kid":"ps","alg":"PS256"`) + "," + ecEntry(`"kid":"ec"`) + "," + rsaEntry(`"kid":"null","alg":null`) + `]}`)
	for _, tt := range []struct {
		accepted []jose.Algorithm
		unnamed  jose.Algorithm
	}{
		{nil, jose.RS256},
		{[]jose.Algorithm{jose.RS256}, jose.RS256},
		{[]jose.Algorithm{jose.PS256}, jose.PS256},
		{[]jose.Algorithm{jose.ES256, jose.PS256}, jose.PS256},
		{[]jose.Algorithm{jose.PS256, jose.RS256}, jose.RS256},
		{[]jose.Algorithm{jose.ES256}, jose.RS256},
	} {
		set, problems, err := jose.ParseKeySetFor(doc, tt.accepted)
		if err != nil || len(problems) != 1 || problems[0].KeyID != "null" {
			t.Fatalf("%v: %v, %v", tt.accepted, problems, err)
		}
		for kid, want := range map[string]jose.Algorithm{"unnamed": tt.unnamed, "rs": jose.RS256, "ps": jose.PS256, "ec": jose.ES256} {
			if key, ok := set.Lookup(kid); !ok || key.Algorithm() != want {
				t.Errorf("%v: key %s: %v, %+v; want %s", tt.accepted, kid, ok, key, want)
			}
		}
	}
}

func TestNilKeySetHasNoKeys(t *testing.T) {
	t.Parallel()
	var set *jose.KeySet
	if _, ok := set.Lookup(""); ok || set.Len() != 0 {
		t.Error("a nil set has keys")
	}
}

func TestMarshalKeySetIsReadAgain(t *testing.T) {
	t.Parallel()
	if got := string(jose.MarshalKeySet(nil)); got != `{"keys":[]}` {
		t.Errorf("empty set: %s", got)
	}
	doc := jose.MarshalKeySet([]json.RawMessage{[]byte(ecEntry(`"kid":"a"`)), []byte(edEntry(`"kid":"b"`))})
	set, problems, err := jose.ParseKeySet(doc)
	if err != nil || set.Len() != 2 || len(problems) != 0 {
		t.Errorf("%s: %v, %v", doc, problems, err)
	}
}
