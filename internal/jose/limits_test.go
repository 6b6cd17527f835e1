package jose_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// The corpus shows that one more is refused; these tests, that the stated maximum itself is not.

func TestLongestToken(t *testing.T) {
	t.Parallel()
	key := newKey(t, jose.EdDSA)
	// Base64 grows by four characters for three bytes, so the type makes up what the payload cannot.
	for _, typ := range []string{"a", "ab", "abc", "abcd"} {
		for filler := 5500; filler < 6100; filler++ {
			claims := strings.TrimSuffix(goodClaims, "}") + `,"x":"` + strings.Repeat("x", filler) + `"}`
			token, err := key.Sign(typ, []byte(claims))
			if err != nil || len(token) != 8192 {
				continue
			}
			rules := josetest.Rules()
			rules.Types = []string{typ}
			parsed, err := jose.ParseToken(token)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.Verify(key.Verification(), rules, fixedNow); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Error("no token of 8192 bytes could be signed")
}

func TestLargestHeader(t *testing.T) {
	t.Parallel()
	members := []string{`"alg":"ES256"`, `"kid":"` + strings.Repeat("k", 128) + `"`, `"typ":"application/` + strings.Repeat("t", 52) + `"`, `"d2":[1]`}
	for i := len(members); i < 15; i++ {
		members = append(members, fmt.Sprintf(`"m%d":1`, i))
	}
	text := "{" + strings.Join(members, ",")
	text += `,"x":"` + strings.Repeat("x", 1024-len(text)-len(`,"x":""}`)) + `"}`
	token, err := jose.ParseToken(b64(text) + "." + b64(`{"iss":"i"}`) + "." + b64("signature"))
	if err != nil || len(text) != 1024 || token.KeyID() != strings.Repeat("k", 128) {
		t.Errorf("header of %d bytes, %d members: %v", len(text), len(members)+1, err)
	}
}

func TestLongestNames(t *testing.T) {
	t.Parallel()
	key := newKey(t, jose.EdDSA)
	long := strings.Repeat("x", 512)
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"aud":%q,"jti":%q,"iat":%d,"exp":%d}`, long, long, long, long[:256], fixedNow.Unix(), fixedNow.Unix()+9)
	token, err := key.Sign("at+jwt", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	rules := josetest.Rules()
	rules.Issuer, rules.Audiences = long, []string{long}
	got, err := parsed.Verify(key.Verification(), rules, fixedNow)
	if err != nil || got.Subject != long || got.ID != long[:256] || got.Issuer != long {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLargestKeySetDocument(t *testing.T) {
	t.Parallel()
	doc := `{"keys":[` + ecEntry(`"kid":"`+strings.Repeat("k", 128)+`"`) + `]}`
	doc += strings.Repeat(" ", 256<<10-len(doc))
	set, problems, err := jose.ParseKeySet([]byte(doc))
	if err != nil || set.Len() != 1 {
		t.Errorf("%v, %v", problems, err)
	}
}
