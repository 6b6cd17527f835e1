package policy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
)

const tokenPolicy = `package t

valid := [v, object.get(payload, "sub", "none")] if {
	[v, _, payload] := io.jwt.decode_verify(input.token, {"secret": "top secret", "alg": "HS256", "iss": "me"})
}

mocked if io.jwt.decode_verify("x", {}) == [true, {}, {}] with io.jwt.decode_verify as yes

yes(_, _) := [true, {}, {}]
`

func signed(payload string) Value {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(payload))
	mac := hmac.New(sha256.New, []byte("top secret"))
	mac.Write([]byte(text))
	return Object(Member{"token", String(text + "." + encode(mac.Sum(nil)))})
}

// TestTokenWithOddIssuer: correctly signed tokens with claims of odd types are not valid, and nothing worse.
func TestTokenWithOddIssuer(t *testing.T) {
	t.Parallel()
	p := mustCompile(t, "t/valid", Config{TokenBuiltins: true}, tokenPolicy)
	for payload, want := range map[string]string{
		`{"iss":"me","sub":"a"}`:     "[true a]",
		`{"iss":"you","sub":"a"}`:    "[false none]",
		`{"iss":5,"sub":"a"}`:        "[false none]",
		`{"iss":["me"],"sub":"a"}`:   "[false none]",
		`{"iss":{},"sub":"a"}`:       "[false none]",
		`{"iss":null,"sub":"a"}`:     "[false none]",
		`{"iss":"me","exp":"x"}`:     "",
		`{"iss":"me","nbf":{}}`:      "",
		`{"iss":"me","aud":{"a":1}}`: "",
		`[]`:                         "",
	} {
		got, err := p.Eval(context.Background(), signed(payload))
		if want == "" { // undefined or not valid, as OPA likes: never valid, never a panic
			if list, ok := got.([]any); ok && list[0] != false {
				t.Errorf("%s: %v", payload, got)
			}
			continue
		}
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("%s: %v, %v; want %s", payload, got, err, want)
		}
	}
}

func TestTokenBuiltinCanBeMocked(t *testing.T) {
	t.Parallel()
	wantEval(t, mustCompile(t, "t/mocked", Config{TokenBuiltins: true}, tokenPolicy), Object(), true, nil)
}
