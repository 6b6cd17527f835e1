package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/jose"
)

const (
	assertionClient = "agt_0199f6c3d5e67f108a2b3c4d5e6f7081"
	assertionIssuer = "https://id.example.com"
)

// signAssertion signs by a library that is not ours.
func signAssertion(t *testing.T, alg jose4.SignatureAlgorithm, key any, header map[jose4.HeaderKey]any, payload string) string {
	t.Helper()
	signer, err := jose4.NewSigner(jose4.SigningKey{Algorithm: alg, Key: key}, &jose4.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// clientKeys is the key set of a client, made by the other library too.
func clientKeys(t *testing.T, keys ...jose4.JSONWebKey) []*jose.VerificationKey {
	t.Helper()
	doc, err := json.Marshal(jose4.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	set, problems, err := jose.ParseKeySet(doc)
	if err != nil || len(problems) != 0 {
		t.Fatal(err, problems)
	}
	return set.Keys()
}

func assertionRules() *jose.AssertionRules {
	return &jose.AssertionRules{
		Subject: assertionClient, Issuer: assertionClient, Audience: assertionIssuer, Types: []string{"jwt", "client-authentication+jwt"},
		Algorithms: []jose.Algorithm{jose.ES256, jose.EdDSA, jose.PS256}, AheadMax: 5 * time.Minute, Skew: 30 * time.Second, SingleUse: true,
	}
}

// assertionClaims is a good payload with changes: name, JSON text, …; an empty text takes the claim out.
func assertionClaims(changes ...string) string {
	now := fixedNow.Unix()
	claims := map[string]string{
		"iss": `"` + assertionClient + `"`, "sub": `"` + assertionClient + `"`, "aud": `"` + assertionIssuer + `"`,
		"jti": `"one"`, "iat": fmt.Sprint(now), "exp": fmt.Sprint(now + 60),
	}
	for n := 0; n < len(changes); n += 2 {
		claims[changes[n]] = changes[n+1]
	}
	maps.DeleteFunc(claims, func(_, v string) bool { return v == "" })
	members := make([]string, 0, len(claims))
	for name, v := range claims {
		members = append(members, `"`+name+`":`+v)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func verifyAssertion(compact string, keys []*jose.VerificationKey, r *jose.AssertionRules) (*jose.AssertionClaims, error) {
	a, err := jose.ParseAssertion(compact)
	if err != nil {
		return nil, err
	}
	return a.Verify(keys, r, fixedNow)
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAssertionOfEachAlgorithm(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		alg     jose4.SignatureAlgorithm
		private crypto.Signer
	}{{jose4.ES256, p256(t)}, {jose4.EdDSA, edKey}, {jose4.RS256, rsaKey}, {jose4.PS256, rsaKey}} {
		keys := clientKeys(t, jose4.JSONWebKey{Key: tt.private.Public(), KeyID: "k", Algorithm: string(tt.alg), Use: "sig"})
		r := assertionRules()
		r.Algorithms = []jose.Algorithm{jose.Algorithm(tt.alg)}
		for name, header := range map[string]map[jose4.HeaderKey]any{
			"with kid": {"kid": "k"}, "bare": nil, "typ JWT": {"typ": "JWT"}, "typ of rfc7523bis": {"typ": "client-authentication+jwt"},
		} {
			got, err := verifyAssertion(signAssertion(t, tt.alg, tt.private, header, assertionClaims()), keys, r)
			if err != nil {
				t.Errorf("%s %s: %v", tt.alg, name, err)
				continue
			}
			if d := cmp.Diff(&jose.AssertionClaims{ID: "one", KeyID: "k", ExpiresAt: fixedNow.Unix() + 60}, got); d != "" {
				t.Errorf("%s %s (-want +got):\n%s", tt.alg, name, d)
			}
		}
		r.Algorithms = []jose.Algorithm{}
		if _, err := verifyAssertion(signAssertion(t, tt.alg, tt.private, nil, assertionClaims()), keys, r); reasonOf(err) != jose.ReasonAlgorithm {
			t.Errorf("%s is accepted though it is not offered: %v", tt.alg, err)
		}
	}
}

// An RSA key is for the one algorithm it names: a client with a key for PS256 cannot use RS256 (FAPI 2.0 s5.4.1).
func TestAssertionKeyHasOneAlgorithm(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := assertionRules()
	r.Algorithms = []jose.Algorithm{jose.PS256, jose.RS256}
	keys := clientKeys(t, jose4.JSONWebKey{Key: key.Public(), KeyID: "k", Algorithm: "PS256"})
	if _, err := verifyAssertion(signAssertion(t, jose4.RS256, key, map[jose4.HeaderKey]any{"kid": "k"}, assertionClaims()), keys, r); reasonOf(err) != jose.ReasonKeyID {
		t.Errorf("%v", err)
	}
}

func TestAssertionClaims(t *testing.T) {
	t.Parallel()
	key := p256(t)
	keys := clientKeys(t, jose4.JSONWebKey{Key: key.Public(), KeyID: "k"})
	now := fixedNow.Unix()
	at := func(offset int64) string { return fmt.Sprint(now + offset) }
	for name, tt := range map[string]struct {
		changes []string
		want    jose.Reason
	}{
		"as it should be":                   {nil, ""},
		"without iat":                       {[]string{"iat", ""}, ""},
		"with nbf":                          {[]string{"nbf", at(0)}, ""},
		"10 seconds ahead (FAPI 2.0)":       {[]string{"iat", at(10), "nbf", at(10)}, ""},
		"exp just passed, within the skew":  {[]string{"exp", at(-29), "iat", at(-60)}, ""},
		"exp as far ahead as allowed":       {[]string{"exp", at(330)}, ""},
		"unknown claims":                    {[]string{"purpose", `"x"`}, ""},
		"no exp":                            {[]string{"exp", ""}, jose.ReasonClaims},
		"exp 0":                             {[]string{"exp", "0"}, jose.ReasonClaims},
		"exp as text":                       {[]string{"exp", `"` + at(60) + `"`}, jose.ReasonClaims},
		"exp with a fraction":               {[]string{"exp", at(60) + ".5"}, jose.ReasonClaims},
		"expired five minutes ago (FAPI 2)": {[]string{"exp", at(-300), "iat", at(-360)}, jose.ReasonExpired},
		"expired by the skew":               {[]string{"exp", at(-30), "iat", at(-60)}, jose.ReasonExpired},
		"exp an hour ahead":                 {[]string{"exp", at(3600)}, jose.ReasonLifetime},
		"exp a second too far ahead":        {[]string{"exp", at(331)}, jose.ReasonLifetime},
		"iat after exp":                     {[]string{"iat", at(61)}, jose.ReasonClaims},
		"iat in the future (FAPI 2.0)":      {[]string{"iat", at(61), "exp", at(120)}, jose.ReasonNotYetValid},
		"nbf in the future":                 {[]string{"nbf", at(31)}, jose.ReasonNotYetValid},
		"iat as text":                       {[]string{"iat", `"now"`}, jose.ReasonClaims},
		"no aud":                            {[]string{"aud", ""}, jose.ReasonAudience},
		"aud of another":                    {[]string{"aud", `"https://other.example.com"`}, jose.ReasonAudience},
		"aud is the token endpoint":         {[]string{"aud", `"` + assertionIssuer + `/oauth2/token"`}, jose.ReasonAudience},
		"aud with a slash":                  {[]string{"aud", `"` + assertionIssuer + `/"`}, jose.ReasonAudience},
		"aud is a list of one":              {[]string{"aud", `["` + assertionIssuer + `"]`}, jose.ReasonAudience},
		"aud is a list with another":        {[]string{"aud", `["` + assertionIssuer + `","https://other.example.com"]`}, jose.ReasonAudience},
		"aud is null":                       {[]string{"aud", "null"}, jose.ReasonAudience},
		"no sub (FAPI 2.0)":                 {[]string{"sub", ""}, jose.ReasonClaims},
		"sub of another":                    {[]string{"sub", `"agt_other"`}, jose.ReasonClaims},
		"no iss":                            {[]string{"iss", ""}, jose.ReasonIssuer},
		"iss of another":                    {[]string{"iss", `"agt_other"`}, jose.ReasonIssuer},
		"iss is us":                         {[]string{"iss", `"` + assertionIssuer + `"`}, jose.ReasonIssuer},
		"no jti":                            {[]string{"jti", ""}, jose.ReasonClaims},
		"jti is empty":                      {[]string{"jti", `""`}, jose.ReasonClaims},
		"jti is a number":                   {[]string{"jti", "1"}, jose.ReasonClaims},
		"jti is huge":                       {[]string{"jti", `"` + strings.Repeat("a", 257) + `"`}, jose.ReasonClaims},
		"a claim in another case":           {[]string{"Exp", at(3600)}, jose.ReasonClaims},
	} {
		_, err := verifyAssertion(signAssertion(t, jose4.ES256, key, map[jose4.HeaderKey]any{"kid": "k"}, assertionClaims(tt.changes...)), keys, assertionRules())
		if reasonOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestAssertionForm(t *testing.T) {
	t.Parallel()
	key, other := p256(t), p256(t)
	keys := clientKeys(t, jose4.JSONWebKey{Key: key.Public(), KeyID: "k"}, jose4.JSONWebKey{Key: p256(t).Public(), KeyID: "l"})
	sign := func(header map[jose4.HeaderKey]any) string {
		return signAssertion(t, jose4.ES256, key, header, assertionClaims())
	}
	none := b64(`{"alg":"none"}`) + "." + b64(assertionClaims()) + "."
	hmac := signAssertion(t, jose4.HS256, []byte(strings.Repeat("k", 32)), nil, assertionClaims())
	good := sign(map[jose4.HeaderKey]any{"kid": "k"})
	for name, tt := range map[string]struct {
		compact string
		want    jose.Reason
	}{
		"good":                  {good, ""},
		"unsigned":              {none, jose.ReasonMalformed},
		"unsigned, with bytes":  {none + "AA", jose.ReasonAlgorithm},
		"HMAC":                  {hmac, jose.ReasonAlgorithm},
		"padded":                {good + "=", jose.ReasonMalformed},
		"kid of the other key":  {sign(map[jose4.HeaderKey]any{"kid": "l"}), jose.ReasonSignature},
		"kid of no key":         {sign(map[jose4.HeaderKey]any{"kid": "m"}), jose.ReasonKeyID},
		"kid is empty":          {sign(map[jose4.HeaderKey]any{"kid": ""}), jose.ReasonKeyID},
		"typ of a DPoP proof":   {sign(map[jose4.HeaderKey]any{"typ": "dpop+jwt"}), jose.ReasonType},
		"typ of a token":        {sign(map[jose4.HeaderKey]any{"typ": "at+jwt"}), jose.ReasonType},
		"key in the header":     {sign(map[jose4.HeaderKey]any{"jwk": jose4.JSONWebKey{Key: key.Public()}}), jose.ReasonHeader},
		"crit":                  {sign(map[jose4.HeaderKey]any{"crit": []string{"x"}}), jose.ReasonHeader},
		"signed by a stranger":  {signAssertion(t, jose4.ES256, other, nil, assertionClaims()), jose.ReasonSignature},
		"payload is not strict": {signAssertion(t, jose4.ES256, key, nil, `{"sub":"a","sub":"b"}`), jose.ReasonClaims},
	} {
		if _, err := verifyAssertion(tt.compact, keys, assertionRules()); reasonOf(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	for name, c := range map[string]struct {
		keys  []*jose.VerificationKey
		rules *jose.AssertionRules
	}{"no keys": {nil, assertionRules()}, "no rules": {keys, &jose.AssertionRules{}}} {
		if _, err := verifyAssertion(good, c.keys, c.rules); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A stranger cannot make us compute many signatures by leaving kid out.
func TestAssertionWithoutKeyIDTriesFewKeys(t *testing.T) {
	t.Parallel()
	last := p256(t)
	var set []jose4.JSONWebKey
	for i := range 4 {
		set = append(set, jose4.JSONWebKey{Key: p256(t).Public(), KeyID: fmt.Sprint(i)})
	}
	keys := clientKeys(t, append(set, jose4.JSONWebKey{Key: last.Public(), KeyID: "5"})...)
	if _, err := verifyAssertion(signAssertion(t, jose4.ES256, last, nil, assertionClaims()), keys, assertionRules()); reasonOf(err) != jose.ReasonSignature {
		t.Errorf("the fifth key was tried: %v", err)
	}
	if _, err := verifyAssertion(signAssertion(t, jose4.ES256, last, map[jose4.HeaderKey]any{"kid": "5"}, assertionClaims()), keys, assertionRules()); err != nil {
		t.Errorf("named, it is used: %v", err)
	}
}

// A JWT-SVID has no iss, no jti, and a SPIFFE ID as sub.
func TestAssertionAsJWTSVID(t *testing.T) {
	t.Parallel()
	key := p256(t)
	keys := clientKeys(t, jose4.JSONWebKey{Key: key.Public(), KeyID: "k"})
	r := assertionRules()
	r.Subject, r.Issuer, r.SingleUse = "spiffe://example.org/payer", "", false
	svid := signAssertion(t, jose4.ES256, key, map[jose4.HeaderKey]any{"kid": "k", "typ": "JWT"}, assertionClaims("sub", `"spiffe://example.org/payer"`, "iss", "", "jti", ""))
	if _, err := verifyAssertion(svid, keys, r); err != nil {
		t.Error(err)
	}
	a, err := jose.ParseAssertion(svid)
	if err != nil || a.Subject() != "spiffe://example.org/payer" || a.KeyID() != "k" {
		t.Errorf("%v, %v", a, err)
	}
	r.Subject = "spiffe://example.org/other"
	if _, err := verifyAssertion(svid, keys, r); reasonOf(err) != jose.ReasonClaims {
		t.Error(err)
	}
}
