package identity

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfirmation(t *testing.T) {
	t.Parallel()
	digest := strings.Repeat("A", 43)
	type cnf = map[string]any
	for name, c := range map[string]struct {
		claim        any
		confirmation string // "" is refused
		binding      Binding
	}{
		"absent":              {nil, ConfirmationNone, Binding{}},
		"key":                 {cnf{"jkt": digest}, ConfirmationDPoP, Binding{KeyThumbprint: digest}},
		"certificate":         {cnf{"x5t#S256": digest}, ConfirmationMTLS, Binding{CertificateSHA256: digest}},
		"workload":            {cnf{"spiffe_id": "spiffe://a/b"}, ConfirmationSPIFFE, Binding{SPIFFEID: "spiffe://a/b"}},
		"all":                 {cnf{"spiffe_id": "spiffe://a/b", "jkt": digest, "x5t#S256": digest}, ConfirmationDPoP, Binding{digest, digest, "spiffe://a/b"}},
		"two":                 {cnf{"spiffe_id": "spiffe://a/b", "x5t#S256": digest}, ConfirmationMTLS, Binding{CertificateSHA256: digest, SPIFFEID: "spiffe://a/b"}},
		"empty":               {cnf{}, "", Binding{}},
		"no object":           {"x", "", Binding{}},
		"list":                {[]any{cnf{"jkt": digest}}, "", Binding{}},
		"unknown":             {cnf{"kid": "k"}, "", Binding{}},
		"unknown beside":      {cnf{"jkt": digest, "jwk": cnf{}}, "", Binding{}},
		"in upper case":       {cnf{"JKT": digest}, "", Binding{}},
		"not a string":        {cnf{"jkt": true}, "", Binding{}},
		"null":                {cnf{"jkt": nil}, "", Binding{}},
		"empty string":        {cnf{"jkt": ""}, "", Binding{}},
		"too short":           {cnf{"jkt": digest[1:]}, "", Binding{}},
		"unused bits":         {cnf{"jkt": digest[1:] + "B"}, "", Binding{}},
		"line break":          {cnf{"x5t#S256": digest[1:] + "\n"}, "", Binding{}},
		"SHA-1":               {cnf{"x5t": strings.Repeat("A", 27)}, "", Binding{}},
		"no SPIFFE ID":        {cnf{"spiffe_id": "https://a/b"}, "", Binding{}},
		"SPIFFE ID, a space":  {cnf{"spiffe_id": "spiffe://a/b "}, "", Binding{}},
		"SPIFFE ID, too long": {cnf{"spiffe_id": "spiffe://a/" + strings.Repeat("b", 512)}, "", Binding{}},
	} {
		i := &Identity{Confirmation: ConfirmationNone}
		claims := map[string]any{}
		if c.claim != nil {
			claims["cnf"] = c.claim
		}
		refusal := i.readConfirmation(claims)
		if c.confirmation == "" {
			if refusal == nil || refusal.Reason != ReasonConstrained {
				t.Errorf("%s: %v", name, refusal)
			}
			continue
		}
		if diff := cmp.Diff(c.binding, i.Binding); refusal != nil || i.Confirmation != c.confirmation || diff != "" {
			t.Errorf("%s: %v, %q, %s", name, refusal, i.Confirmation, diff)
		}
	}
}
