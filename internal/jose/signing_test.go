package jose_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

var algorithms = []jose.Algorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256}

const goodClaims = `{"iss":"https://issuer.example/org/a","sub":"agt_1","aud":["svc://payments","svc://other"],"exp":1790000290,` +
	`"iat":1789999990,"nbf":1789999991,"jti":"tok_1","scope":"a b","agent":{"name":"bot"}}`

// TestSignedTokensVerify goes the whole way: key, storage form, token, key set, claims.
func TestSignedTokensVerify(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		t.Run(string(alg), func(t *testing.T) {
			t.Parallel()
			generated, err := jose.GenerateSigningKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := generated.PKCS8()
			if err != nil {
				t.Fatal(err)
			}
			key, err := jose.ParseSigningKey(alg, stored)
			if err != nil {
				t.Fatal(err)
			}
			if key.ID() != generated.ID() || key.Algorithm() != alg || key.Verification().Thumbprint() != key.ID() {
				t.Errorf("key %s %s became %s %s", generated.ID(), alg, key.ID(), key.Algorithm())
			}
			token, err := key.Sign("at+jwt", []byte(goodClaims))
			if err != nil {
				t.Fatal(err)
			}
			keys, problems, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()}))
			if err != nil || len(problems) > 0 {
				t.Fatal(problems, err)
			}
			rules := josetest.Rules()
			rules.Algorithms = []jose.Algorithm{alg}
			claims, err := verify(token, keys, rules, fixedNow)
			if err != nil {
				t.Fatal(err)
			}
			want := &jose.Claims{
				Type: "at+jwt", KeyID: key.ID(), Issuer: "https://issuer.example/org/a", Subject: "agt_1", ID: "tok_1",
				Audience: []string{"svc://payments", "svc://other"}, IssuedAt: 1789999990, ExpiresAt: 1790000290, NotBefore: 1789999991,
				Extra: map[string]any{"scope": "a b", "agent": map[string]any{"name": "bot"}},
			}
			if diff := cmp.Diff(want, claims); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSignedTextIsFixed: the header has one order, and the claims are the caller's bytes.
func TestSignedTextIsFixed(t *testing.T) {
	t.Parallel()
	key := newKey(t, jose.EdDSA)
	claims := "{ \"b\":1,\n\"a\":\"<&>\" }"
	token, err := key.Sign("JWT", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Split(token, ".")
	if want := `{"typ":"JWT","alg":"EdDSA","kid":"` + key.ID() + `"}`; unb64(t, part[0]) != want {
		t.Errorf("header %s, want %s", unb64(t, part[0]), want)
	}
	if unb64(t, part[1]) != claims {
		t.Errorf("payload %s, want %s", unb64(t, part[1]), claims)
	}
	again, err := key.Sign("JWT", []byte(claims))
	if err != nil || again != token {
		t.Errorf("Ed25519 is deterministic, yet signed twice: %s and %s (%v)", token, again, err)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	key := newKey(t, jose.ES256)
	for name, tt := range map[string]struct{ typ, claims, err string }{
		"empty typ":            {"", `{}`, "typ"},
		"typ with a quote":     {`a"b`, `{}`, "typ"},
		"typ with a backslash": {`a\b`, `{}`, "typ"},
		"typ with a space":     {"at jwt", `{}`, "typ"},
		"typ with a slash":     {"text/plain", `{}`, "typ"},
		"long typ":             {strings.Repeat("a", 65), `{}`, "typ"},
		"no claims":            {"at+jwt", ``, "claims"},
		"claims as list":       {"at+jwt", `[]`, "not an object"},
		"duplicate claim":      {"at+jwt", `{"sub":"a","sub":"b"}`, "duplicate member"},
		"injected claim name":  {"at+jwt", `{"x":1,"a":"b","\u0078":2}`, "duplicate member"},
		"invalid UTF-8":        {"at+jwt", "{\"a\":\"\xff\"}", "invalid UTF-8"},
		"bytes behind":         {"at+jwt", `{}{}`, "bytes after the value"},
		"too deep":             {"at+jwt", `{"a":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + `}`, "nested too deeply"},
		"too long as a token":  {"at+jwt", `{"a":"` + strings.Repeat("x", 6100) + `"}`, "at most 8192 are accepted"},
		"too long as claims":   {"at+jwt", `{"a":"` + strings.Repeat("x", 9000) + `"}`, "document is too long"},
	} {
		token, err := key.Sign(tt.typ, []byte(tt.claims))
		if err == nil || !strings.Contains(err.Error(), tt.err) || token != "" {
			t.Errorf("%s: token %q, error %v, want %q", name, token, err, tt.err)
		}
	}
}

func TestParseSigningKeyRefuses(t *testing.T) {
	t.Parallel()
	der := func(key any) []byte {
		b, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		alg jose.Algorithm
		der []byte
	}{
		"nothing":         {jose.ES256, nil},
		"garbage":         {jose.ES256, []byte("secret-garbage")},
		"P-256 as EdDSA":  {jose.EdDSA, der(p256)},
		"P-256 as RS256":  {jose.RS256, der(p256)},
		"P-384 as ES256":  {jose.ES256, der(p384)},
		"RSA-1024":        {jose.RS256, der(short)},
		"X25519":          {jose.EdDSA, der(x25519)},
		"no algorithm":    {"", der(p256)},
		"nothing fits":    {"", der(p384)},
		"other algorithm": {"HS256", der(p256)},
	} {
		key, err := jose.ParseSigningKey(tt.alg, tt.der)
		if err == nil || key != nil {
			t.Errorf("%s: accepted", name)
		} else if bytes.Contains([]byte(err.Error()), []byte("garbage")) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
	for _, alg := range []jose.Algorithm{"", "none", "HS256", "ES384"} {
		if _, err := jose.GenerateSigningKey(alg); err == nil {
			t.Errorf("generated a key for %q", alg)
		}
	}
}

// TestThumbprints has the two examples that RFCs print.
func TestThumbprints(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ jwk, want string }{
		"RFC 7638 s3.1": {`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W` +
			`-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0f` +
			`M4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		"RFC 8037 A.3": {`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"2011-04-29"}`, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		set, problems, err := jose.ParseKeySet([]byte(`{"keys":[` + tt.jwk + `]}`))
		if err != nil || len(problems) > 0 {
			t.Fatalf("%s: %v %v", name, problems, err)
		}
		if key, _ := set.Lookup("2011-04-29"); key.Thumbprint() != tt.want {
			t.Errorf("%s: %s, want %s", name, key.Thumbprint(), tt.want)
		}
	}
}

func TestPublicJWKHoldsNoSecret(t *testing.T) {
	t.Parallel()
	members := map[jose.Algorithm][]string{
		jose.ES256: {"alg", "crv", "kid", "kty", "use", "x", "y"},
		jose.EdDSA: {"alg", "crv", "kid", "kty", "use", "x"},
		jose.RS256: {"alg", "e", "kid", "kty", "n", "use"},
		jose.PS256: {"alg", "e", "kid", "kty", "n", "use"},
	}
	for _, alg := range algorithms {
		key := newKey(t, alg)
		var jwk map[string]string
		if err := json.Unmarshal(key.PublicJWK(), &jwk); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(members[alg], slices.Sorted(maps.Keys(jwk))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", alg, diff)
		}
		if jwk["kid"] != key.ID() || jwk["alg"] != string(alg) || jwk["use"] != "sig" {
			t.Errorf("%s: %v", alg, jwk)
		}
	}
}

func newKey(t *testing.T, alg jose.Algorithm) *jose.SigningKey {
	t.Helper()
	key, err := jose.GenerateSigningKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func unb64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
