package dn_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/agentidp/agentidp/issuer/internal/dn"
)

func parse(t *testing.T, text string) dn.Name {
	t.Helper()
	name, err := dn.Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return name
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]string{
		"escapes":            {`CN=a\, b,O=x`, `CN=a\2c b,O=x`},
		"spaces around":      {"CN=a , O=x", "CN=a,O=x"},
		"case of the type":   {"cn=a,o=x", "CN=a,O=x"},
		"identifier":         {"2.5.4.3=a,2.5.4.10=x", "CN=a,O=x"},
		"order in a set":     {"CN=a+OU=b,O=x", "OU=b+CN=a,O=x"},
		"UTF-8 in hex":       {`CN=Stra\c3\9fe`, "CN=Straße"},
		"an escaped space":   {`CN=a\ `, `CN=a\20`},
		"an equals sign":     {`CN=a\=b`, "CN=a=b"},
		"a hash in a value":  {`CN=\#1`, `CN=\231`},
		"a backslash itself": {`CN=a\\b`, `CN=a\5cb`},
	} {
		if !parse(t, pair[0]).Equal(parse(t, pair[1])) {
			t.Errorf("%s: %q and %q are the same name", name, pair[0], pair[1])
		}
	}
	for name, pair := range map[string][2]string{
		"case of a value":   {"CN=A", "CN=a"},
		"order of the sets": {"CN=a,O=x", "O=x,CN=a"},
		"a set, two sets":   {"CN=a+O=x", "CN=a,O=x"},
		"one more":          {"CN=a,O=x", "CN=a,O=x,C=DE"},
		"spaces inside":     {"CN=a b", "CN=a  b"},
		"a comma inside":    {`CN=a\,O=x`, "CN=a,O=x"},
	} {
		if parse(t, pair[0]).Equal(parse(t, pair[1])) {
			t.Errorf("%s: %q and %q are different names", name, pair[0], pair[1])
		}
	}
}

func TestWhatIsNoName(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "a", "CN", "CN=", "=a", "CN=a,", "CN=a+", ",CN=a", "XX=a", "CN=#0403", `CN=a\`, `CN=a\g`, `CN=a\zz`, `CN="a"`, "CN=a;O=b", "CN=a<b", "CN=\x00", `CN=\ff`, "1=a", ".1=a", "CN=a,,O=x",
	} {
		if name, err := dn.Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, name)
		}
	}
	if (dn.Name{}).Equal(dn.Name{}) {
		t.Error("nobody equals nobody")
	}
}

func TestSubjectOfACertificate(t *testing.T) {
	t.Parallel()
	subject := pkix.Name{CommonName: "payer, of bills", Organization: []string{"Acme Ltd."}, Country: []string{"DE"}, SerialNumber: "7"}
	raw, err := asn1.Marshal(subject.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	got, ok := dn.OfCertificate(raw)
	if !ok || !got.Equal(parse(t, subject.String())) { // the standard library's RFC 2253 form
		t.Errorf("%v is not %s", got, subject)
	}
	if !got.Equal(parse(t, `SERIALNUMBER=7,CN=payer\, of bills,O=Acme Ltd.,C=DE`)) {
		t.Errorf("%v", got)
	}
	for name, raw := range map[string][]byte{"trailing bytes": append(raw, 0), "not DER": []byte("x"), "empty": nil} {
		if name2, ok := dn.OfCertificate(raw); ok {
			t.Errorf("%s: %v", name, name2)
		}
	}
}

// Whatever is read is read the same again, and never panics.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`CN=a\, b+OU=c,O=x`, `2.5.4.3=\c3\9f`, "CN=a ,O= b", `CN=\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := dn.Parse(text)
		if err != nil {
			return
		}
		again, err := dn.Parse(text)
		if err != nil || !name.Equal(again) {
			t.Errorf("%q: %v, then %v, %v", text, name, again, err)
		}
	})
}
