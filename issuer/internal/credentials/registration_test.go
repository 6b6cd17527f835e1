package credentials

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
)

func keySet(t *testing.T, algorithms ...jose.Algorithm) (json.RawMessage, []string) {
	t.Helper()
	var keys []json.RawMessage
	var thumbprints []string
	for _, alg := range algorithms {
		key, err := jose.GenerateSigningKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		keys, thumbprints = append(keys, key.PublicJWK()), append(thumbprints, key.ID())
	}
	return jose.MarshalKeySet(keys), thumbprints
}

func TestRegistrationsAccepted(t *testing.T) {
	t.Parallel()
	keys, _ := keySet(t, jose.ES256, jose.EdDSA)
	for name, tt := range map[string]struct {
		kind string
		r    Registration
	}{
		"keys":            {KindPrivateKeyJWT, Registration{Keys: keys}},
		"keys at a URL":   {KindPrivateKeyJWT, Registration{KeysURL: "https://client.example:8443/jwks?x=y"}},
		"subject":         {KindTLS, Registration{SubjectDN: `CN=a\, b,O=Acme`}},
		"host":            {KindTLS, Registration{SANDNS: "a.example"}},
		"URI":             {KindTLS, Registration{SANURI: "urn:a"}},
		"address":         {KindTLS, Registration{SANIP: "2001:db8::1"}},
		"mail":            {KindTLS, Registration{SANEmail: "a@example.com"}},
		"thumbprint":      {KindSelfSignedTLS, Registration{CertificateThumbprint: "A1_-56789012345678901234567890123456789012X"}},
		"certificate key": {KindSelfSignedTLS, Registration{Keys: keys}},
		"JWT-SVID":        {KindSPIFFEJWT, Registration{SPIFFEID: "spiffe://example.org/a"}},
		"X.509-SVID":      {KindSPIFFEX509, Registration{SPIFFEID: "spiffe://example.org/a"}},
	} {
		r := tt.r
		if err := r.Validate(tt.kind); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if rs256 := slices.Contains(r.Algorithms, "RS256"); rs256 || tt.kind == KindPrivateKeyJWT && len(r.Algorithms) != 3 {
			t.Errorf("%s: algorithms %v", name, r.Algorithms)
		}
	}
}

func TestRegistrationsRefused(t *testing.T) {
	t.Parallel()
	keys, _ := keySet(t, jose.ES256)
	many, _ := keySet(t, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA, jose.EdDSA)
	for name, tt := range map[string]struct {
		kind  string
		r     Registration
		field string
	}{
		"nothing":                  {KindTLS, Registration{}, "/registration"},
		"two names":                {KindTLS, Registration{SANDNS: "a.example", SANIP: "192.0.2.1"}, "/registration"},
		"keys and a URL":           {KindPrivateKeyJWT, Registration{Keys: keys, KeysURL: "https://a.example"}, "/registration"},
		"a secret":                 {KindClientSecret, Registration{}, "/kind"},
		"no kind":                  {"", Registration{}, "/kind"},
		"no algorithm":             {KindPrivateKeyJWT, Registration{Keys: keys, Algorithms: []string{}}, "/registration/algorithms"},
		"algorithm of no key":      {KindPrivateKeyJWT, Registration{Keys: keys, Algorithms: []string{"EdDSA"}}, "/registration/jwks/keys"},
		"algorithm of certificate": {KindSelfSignedTLS, Registration{Keys: keys, Algorithms: []string{"ES256"}}, "/registration/algorithms"},
		"no key set":               {KindPrivateKeyJWT, Registration{Keys: json.RawMessage("[]")}, "/registration/jwks"},
		"nine keys":                {KindPrivateKeyJWT, Registration{Keys: many}, "/registration/jwks/keys"},
		"long":                     {KindPrivateKeyJWT, Registration{Keys: make([]byte, KeysBytesMax+1)}, "/registration/jwks"},
		"http":                     {KindPrivateKeyJWT, Registration{KeysURL: "http://a.example"}, "/registration/jwksUri"},
		"user in the URL":          {KindPrivateKeyJWT, Registration{KeysURL: "https://u@a.example"}, "/registration/jwksUri"},
		"fragment":                 {KindSelfSignedTLS, Registration{KeysURL: "https://a.example/#"}, "/registration/jwksUri"},
		"subject":                  {KindTLS, Registration{SubjectDN: "Acme"}, "/registration/subjectDn"},
		"long name":                {KindTLS, Registration{SANURI: "urn:" + string(make([]byte, NameBytesMax))}, "/registration/sanUri"},
		"relative URI":             {KindTLS, Registration{SANURI: "/a"}, "/registration/sanUri"},
		"wildcard":                 {KindTLS, Registration{SANDNS: "*.example"}, "/registration/sanDns"},
		"upper case":               {KindTLS, Registration{SANDNS: "A.example"}, "/registration/sanDns"},
		"long address":             {KindTLS, Registration{SANIP: "2001:0db8::1"}, "/registration/sanIp"},
		"zone":                     {KindTLS, Registration{SANIP: "fe80::1%eth0"}, "/registration/sanIp"},
		"thumbprint in hex":        {KindSelfSignedTLS, Registration{CertificateThumbprint: "ab:cd"}, "/registration/certificateThumbprint"},
		"thumbprint characters":    {KindSelfSignedTLS, Registration{CertificateThumbprint: "A1+/56789012345678901234567890123456789012X"}, "/registration/certificateThumbprint"},
		"trust domain alone":       {KindSPIFFEJWT, Registration{SPIFFEID: "spiffe://example.org"}, "/registration/spiffeId"},
		"of another kind":          {KindSPIFFEX509, Registration{SPIFFEID: "spiffe://example.org/a", SANDNS: "a.example"}, "/registration/sanDns"},
	} {
		p, ok := errors.AsType[*problem.Error](tt.r.Validate(tt.kind))
		if !ok || p.Kind != problem.Invalid || p.Field != tt.field {
			t.Errorf("%s: %+v, want a problem at %s", name, p, tt.field)
		}
	}
}

// The log says which keys, by thumbprint, and not what is too long to read.
func TestFacts(t *testing.T) {
	t.Parallel()
	keys, thumbprints := keySet(t, jose.ES256, jose.EdDSA)
	facts := Registration{Keys: keys, Algorithms: []string{"ES256"}}.Facts()
	got, _ := facts["keyThumbprints"].([]string)
	slices.Sort(got)
	slices.Sort(thumbprints)
	if !slices.Equal(got, thumbprints) || len(facts) != 2 {
		t.Errorf("%v, want the thumbprints %v", facts, thumbprints)
	}
	if facts := (Registration{SPIFFEID: "spiffe://example.org/a"}).Facts(); len(facts) != 1 || facts["spiffeId"] != "spiffe://example.org/a" {
		t.Errorf("%v", facts)
	}
}
