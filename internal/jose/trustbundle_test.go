package jose_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"

	"github.com/agentidp/agentidp/internal/jose"
)

func TestParseTrustBundle(t *testing.T) {
	t.Parallel()
	certificate := base64.StdEncoding.EncodeToString([]byte("a certificate, which is not looked at here"))
	doc := `{"spiffe_sequence":7,"spiffe_refresh_hint":300,"keys":[` + strings.Join([]string{
		ecEntry(`"use":"jwt-svid","kid":"jwt"`),
		ecEntry(`"use":"x509-svid","x5c":["` + certificate + `"]`),
		ecEntry(`"use":"sig","kid":"neither"`),
		ecEntry(`"kid":"no use"`),
		ecEntry(`"use":"jwt-svid"`),
		ecEntry(`"use":"x509-svid","x5c":[]`),
		ecEntry(`"use":"x509-svid","x5c":["` + certificate + `","` + certificate + `"]`),
		ecEntry(`"use":"x509-svid","x5c":["%"]`),
		`{"kty":"oct","k":"AA","use":"jwt-svid","kid":"secret"}`,
		`7`,
		ecEntry(`"use":"jwt-svid","kid":"a","kid":"b"`),
		ecEntry(`"use":"x509-svid","kid":"jwt"`),
	}, ",") + `]}`
	b, problems, err := jose.ParseTrustBundle([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.Keys.Lookup("jwt"); !ok || b.Keys.Len() != 1 || len(b.Authorities) != 1 || b.RefreshHint != 5*time.Minute {
		t.Errorf("%+v, %d keys", b, b.Keys.Len())
	}
	if len(problems) != 10 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for name, doc := range map[string]string{
		"no JSON": `x`, "no keys": `{}`, "keys null": `{"keys":null}`, "trailing": `{"keys":[]} x`, "too many": `{"keys":[` + strings.Repeat("1,", 64) + `1]}`,
	} {
		if _, _, err := jose.ParseTrustBundle([]byte(doc)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, hint := range []string{`"300"`, `-1`, `1e3`, `86401`} {
		if b, _, err := jose.ParseTrustBundle([]byte(`{"keys":[],"spiffe_refresh_hint":` + hint + `}`)); err != nil || b.RefreshHint != 0 {
			t.Errorf("hint %s: %v, %v", hint, b, err)
		}
	}
}

func TestThumbprintOfACertificatesKey(t *testing.T) {
	t.Parallel()
	key := p256(t)
	keys := clientKeys(t, jose4.JSONWebKey{Key: key.Public(), KeyID: "k"})
	if got, ok := jose.Thumbprint(key.Public()); !ok || got != keys[0].Thumbprint() {
		t.Errorf("%q, %v", got, ok)
	}
	if _, ok := jose.Thumbprint("no key"); ok {
		t.Error("a string has a thumbprint")
	}
}
