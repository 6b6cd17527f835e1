package possession

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
)

// forwarded is a certificate with URI names, as a hop writes about it.
type forwarded struct{ hash, cert, thumbprint string }

func newForwarded(t testing.TB, uris ...string) forwarded {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(der)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	encoded := strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(text) // as Envoy does
	return forwarded{hex.EncodeToString(digest[:]), encoded, base64.RawURLEncoding.EncodeToString(digest[:])}
}

func TestParseForwarded(t *testing.T) {
	t.Parallel()
	const id, victim = "spiffe://mesh/agent", "spiffe://mesh/victim"
	f, other, two := newForwarded(t, id), newForwarded(t, victim), newForwarded(t, id, victim)
	hash, cert := "Hash="+f.hash, `Cert="`+f.cert+`"`
	for name, c := range map[string]struct {
		header string
		ok     bool
		id     string
	}{
		"as Envoy writes it":             {"By=spiffe://mesh/gateway;" + hash + ";" + cert + `;Subject="CN=a\, b\"c,O=d";URI=` + id + ";DNS=a.example;DNS=b.example", true, id},
		"only the hash":                  {hash, true, ""},
		"without the certificate":        {"By=a;By=b;" + hash + `;Subject="";URI=` + id, true, id},
		"the hash in upper case":         {"Hash=" + strings.ToUpper(f.hash), true, ""},
		"keys in lower case":             {"hash=" + f.hash + ";uri=" + id, true, id},
		"a chain":                        {hash + ";" + cert + `;Chain="x"`, true, id},
		"two names":                      {hash + ";URI=" + id + ";URI=" + victim, true, ""},
		"two names in the certificate":   {"Hash=" + two.hash + `;Cert="` + two.cert + `"`, true, ""},
		"the certificate knows better":   {hash + ";" + cert + ";URI=" + victim, true, id},
		"DNS names may bring one along":  {hash + ";URI=" + victim + ";DNS=a", true, ""},
		"a DNS name that brought it":     {hash + ";DNS=a;URI=" + victim, true, ""},
		"empty":                          {"", false, ""},
		"no hash":                        {cert + ";URI=" + id, false, ""},
		"an empty hash":                  {"Hash=;" + cert, false, ""},
		"half a hash":                    {hash[:len(hash)-2], false, ""},
		"no hexadecimal":                 {"Hash=" + strings.Repeat("g", 64), false, ""},
		"two hashes":                     {hash + ";Hash=" + other.hash, false, ""},
		"the same hash twice":            {hash + ";" + hash, false, ""},
		"two hashes, in two cases":       {hash + ";HASH=" + other.hash, false, ""},
		"another certificate":            {hash + `;Cert="` + other.cert + `"`, false, ""},
		"two certificates":               {hash + ";" + cert + ";" + cert, false, ""},
		"two certificates in one":        {hash + `;Cert="` + f.cert + other.cert + `"`, false, ""},
		"a certificate that is none":     {hash + `;Cert="x"`, false, ""},
		"two elements":                   {"Hash=" + other.hash + "," + hash, false, ""},
		"two elements, the other way":    {hash + ",Hash=" + other.hash, false, ""},
		"an element in a name":           {hash + ";URI=spiffe://mesh/x,Hash=" + other.hash, false, ""},
		"a comma at the end":             {hash + ",", false, ""},
		"an empty element first":         {"," + hash, false, ""},
		"a hash in a name":               {hash + ";URI=x;Hash=" + other.hash, false, ""},
		"quotes around an element":       {`Subject=",By=a;` + hash + `";Hash=` + other.hash + `,` + hash, false, ""},
		"quotes never closed":            {`Subject="CN=a;` + hash, false, ""},
		"quotes that end in a backslash": {hash + `;Subject="CN=a\"`, false, ""},
		"a backslash at the end":         {hash + `;Subject="\`, false, ""},
		"text after the quotes":          {hash + `;Subject="a"b`, false, ""},
		"a comma after the quotes":       {hash + `;Subject="a",Hash=` + other.hash, false, ""},
		"quotes inside":                  {hash + `;Subject=a"b"`, false, ""},
		"quotes in a name":               {hash + `;URI=spiffe://mesh/";DNS="a`, false, ""},
		"a forged start swallowed":       {`Hash=` + other.hash + `;Subject="` + `,By=g;` + hash + `;Subject="CN=a";URI=` + id, false, ""},
		"spaces":                         {hash + "; URI=" + id, false, ""},
		"a space in a value":             {hash + ";URI=a b", false, ""},
		"an unknown key":                 {hash + ";Role=admin", false, ""},
		"no value":                       {hash + ";URI", false, ""},
		"a semicolon at the end":         {hash + ";", false, ""},
		"two semicolons":                 {hash + ";;URI=" + id, false, ""},
	} {
		got, ok := parseForwarded(c.header)
		if ok != c.ok || ok && got.certificateSHA256 != f.thumbprint && got.certificateSHA256 != two.thumbprint || got.spiffeID != c.id || !ok && got != (peer{}) {
			t.Errorf("%s: %+v, %v; want %v, %q", name, got, ok, c.ok, c.id)
		}
	}
}

// Whatever a client writes before or behind what a hop writes, nobody else's certificate comes of it.
func TestForwardedCannotBeMixed(t *testing.T) {
	t.Parallel()
	attacker, victim := newForwarded(t, "spiffe://mesh/attacker"), newForwarded(t, "spiffe://mesh/victim")
	piece := rapid.SampledFrom([]string{
		",", ";", `"`, `\`, "=", " ", "Hash=", "Hash=" + victim.hash, `Cert="` + victim.cert + `"`, "Cert=", "URI=spiffe://mesh/victim", "Subject=", `Subject="`, "By=x", "DNS=y", "Chain=", "z",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string) string { return strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, label), "") }
		// The hop appends to what it was sent, and puts names of the attacker's certificate behind what it says itself.
		header := "By=spiffe://mesh/gateway;Hash=" + attacker.hash + `;Cert="` + attacker.cert + `";URI=` + text("name")
		if before := text("before"); before != "" {
			header = before + "," + header
		}
		if got, ok := parseForwarded(header); ok && (got.certificateSHA256 != attacker.thumbprint || got.spiffeID != "spiffe://mesh/attacker") {
			t.Fatalf("%s is %+v", header, got)
		}
	})
}

func TestHopsAreKnownByTheirCertificate(t *testing.T) {
	t.Parallel()
	gateway, another, f := newForwarded(t), newForwarded(t), newForwarded(t, "spiffe://mesh/agent")
	r := func(principal, certificate string) *checkreq.Request {
		return &checkreq.Request{
			Headers: checkreq.Headers{{Name: ForwardedHeader, Value: "Hash=" + f.hash}},
			Source:  checkreq.Peer{Principal: principal, Certificate: certificate},
		}
	}
	named, pinned, both := Hop{Principal: "spiffe://mesh/gateway"}, Hop{CertificateSHA256: gateway.thumbprint}, Hop{"spiffe://mesh/gateway", gateway.thumbprint}
	for name, c := range map[string]struct {
		hops []Hop
		in   *checkreq.Request
		want bool
	}{
		"no hop":                     {nil, r("spiffe://mesh/gateway", gateway.cert), false},
		"a hop that is nobody":       {[]Hop{{}}, r("", ""), false},
		"by name":                    {[]Hop{named}, r("spiffe://mesh/gateway", ""), true},
		"by another's name":          {[]Hop{named}, r("spiffe://mesh/gateway2", ""), false},
		"without a name":             {[]Hop{named}, r("", gateway.cert), false},
		"by certificate":             {[]Hop{pinned}, r("spiffe://other", gateway.cert), true},
		"by another certificate":     {[]Hop{pinned}, r("spiffe://mesh/gateway", another.cert), false},
		"without a certificate":      {[]Hop{pinned}, r("spiffe://mesh/gateway", ""), false},
		"by both":                    {[]Hop{both}, r("spiffe://mesh/gateway", gateway.cert), true},
		"by both, one is another's":  {[]Hop{both}, r("spiffe://mesh/gateway", another.cert), false},
		"one of two":                 {[]Hop{pinned, named}, r("spiffe://mesh/gateway", another.cert), true},
		"a hop that sends no header": {[]Hop{named}, &checkreq.Request{Source: checkreq.Peer{Principal: "spiffe://mesh/gateway"}}, false},
	} {
		checker, err := New(Config{Hops: c.hops})
		if err != nil {
			t.Fatal(err)
		}
		if got := checker.Believes(c.in); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		_, detail := checker.checkPeer(c.in, f.thumbprint, "")
		if got := detail == ""; got != c.want {
			t.Errorf("%s: what it says counts: %v", name, got)
		}
	}
}

func FuzzParseForwarded(f *testing.F) {
	one := newForwarded(f, "spiffe://mesh/agent")
	f.Add("By=a;Hash=" + one.hash + `;Cert="` + one.cert + `";Subject="CN=\"x";URI=spiffe://mesh/agent`)
	f.Add(`Hash=` + one.hash + `,Hash=` + one.hash)
	f.Fuzz(func(t *testing.T, header string) {
		got, ok := parseForwarded(header)
		if ok && len(got.certificateSHA256) != 43 || !ok && got != (peer{}) {
			t.Errorf("%q: %+v, %v", header, got, ok)
		}
	})
}
