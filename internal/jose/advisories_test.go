package jose_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// What brought down other libraries for tokens does not work here. The name of a subtest is the id of the advisory;
// docs/security-edge.md has the whole list.

// refusedCheaply asserts that none of the tokens is accepted, and that refusing it costs next to nothing. Not parallel: AllocsPerRun counts
// what everybody allocates.
func refusedCheaply(t *testing.T, tokens ...string) {
	t.Helper()
	keys, rules := corpusKeys(t), josetest.Rules()
	for _, token := range tokens {
		claims, err := verify(token, keys, rules, fixedNow)
		if err == nil || claims != nil {
			t.Errorf("%.60q was accepted", token)
		}
		if n := testing.AllocsPerRun(3, func() { _, _ = verify(token, keys, rules, fixedNow) }); n > refusalAllocationsMax {
			t.Errorf("%.60q costs %v allocations", token, n)
		}
	}
}

// refusalAllocationsMax is less than half of what a good token costs.
const refusalAllocationsMax = 60

// compact joins segments, each encoded.
func compact(segments ...string) string {
	for i, s := range segments {
		segments[i] = base64.RawURLEncoding.EncodeToString([]byte(s))
	}
	return strings.Join(segments, ".")
}

func TestAdvisoriesOfTokenLibraries(t *testing.T) { // not parallel: see refusedCheaply
	valid := josetest.Valid()
	parts := strings.Split(valid, ".")
	const claims, key = `{"sub":"agt_1"}`, "0123456789abcdef"
	flat := func(members string) string {
		return `{"payload":"` + parts[1] + `","signature":"` + parts[2] + `"` + members + `}`
	}
	for id, tokens := range map[string][]string{
		// jwx: rounds of PBES2 that the sender chooses
		"GHSA-rm8v-mxj3-5rmq": {
			compact(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2s":"c2FsdA","p2c":2147483647}`, key, "iv", claims, "tag"),
			compact(`{"typ":"at+jwt","alg":"ES256","kid":"ec-1","p2c":2147483647}`, claims, key),
		},
		"CVE-2023-49290": {
			compact(`{"alg":"PBES2-HS512+A256KW","enc":"A256CBC-HS512","p2s":"","p2c":9223372036854775807}`, key, "iv", claims, "tag"),
			compact(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":1e400}`, key, "iv", claims, "tag"),
		},
		// jwx: no protected header in a JSON serialisation
		"CVE-2024-21664": {flat(""), flat(`,"protected":null`), flat(`,"header":{"alg":"ES256","kid":"ec-1"}`), `{"payload":"` + parts[1] + `","signatures":[{}]}`, `{"payload":"","signatures":[null]}`},
		// jwx: what is small becomes large
		"CVE-2024-28122": {
			compact(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`, "", "iv", strings.Repeat("\x00", 4000), "tag"),
			compact(`{"typ":"at+jwt","alg":"ES256","kid":"ec-1","zip":"DEF"}`, strings.Repeat("\x00", 4000), key),
		},
		// go-jose, golang-jwt: splitting what has many dots
		"CVE-2025-27144": {strings.Repeat(".", 8000), strings.Repeat(".", 1<<20), parts[0] + strings.Repeat(".", 4000)},
		"CVE-2025-30204": {strings.Repeat("a.", 4000), "." + valid, valid + ".", valid + strings.Repeat(".", 7000)},
		// Authlib: segments without an end
		"CVE-2025-61920": {
			strings.Repeat("A", 1<<20) + ".e30.AA", parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2], parts[0] + "." + parts[1] + "." + strings.Repeat("A", 1<<20),
			compact(`{"alg":"ES256","kid":"`+strings.Repeat("k", 4000)+`"}`, claims, key),
		},
		// OpenPubkey: a token in a form that skips the signature
		"CVE-2025-3757": {
			compact(`{"alg":"GQ256","kid":"ec-1","typ":"JWT"}`, claims, parts[0]), parts[0] + "." + parts[1] + ".", parts[0] + ":" + parts[1] + ":" + parts[2],
			valid + ":" + parts[0] + ":" + parts[2], compact(`{"typ":"at+jwt","alg":"ES256","kid":"ec-1","jkt":"x","cic":{}}`, claims, ""), parts[1] + "." + parts[1] + "." + parts[2],
		},
	} {
		t.Run(id, func(t *testing.T) { refusedCheaply(t, tokens...) })
	}
}

// golang-jwt told its callers of a token with a bad signature that it was expired, and gave them its claims. Here a signature that does not
// hold is all that is ever said, and no claims are given with an error.
func TestAdvisoryOfErrorsTogether(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2024-51744", func(t *testing.T) {
		t.Parallel()
		valid := josetest.Valid()
		dot := strings.LastIndexByte(valid, '.')
		forged := valid[:dot+1] + strings.Repeat("A", len(valid)-dot-1)
		for name, tt := range map[string]struct {
			token string
			now   time.Time
			want  jose.Reason
		}{
			"forged":             {forged, fixedNow, jose.ReasonSignature},
			"forged and expired": {forged, fixedNow.Add(time.Hour), jose.ReasonSignature},
			"forged, not yet":    {forged, fixedNow.Add(-time.Hour), jose.ReasonSignature},
			"expired":            {valid, fixedNow.Add(time.Hour), jose.ReasonExpired},
		} {
			claims, err := verify(tt.token, corpusKeys(t), josetest.Rules(), tt.now)
			if reasonOf(err) != tt.want || claims != nil {
				t.Errorf("%s: %v and claims %v, want %q and none", name, err, claims, tt.want)
			}
		}
	})
}

// jwx wrote the names of claims into the token as they came: a quote in one made others. Ours are written by encoding/json and read again
// before they are signed.
func TestAdvisoryOfClaimNames(t *testing.T) {
	t.Parallel()
	t.Run("GHSA-4cf7-xm37-g63h", func(t *testing.T) {
		t.Parallel()
		key := newKey(t, jose.ES256)
		keys, _, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{key.PublicJWK()}))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{`x":1,"admin":true,"y`, `a","sub":"agt_2`, "a\\", "a\nb", "a\u2028", `}`, `"`} {
			var claims map[string]any
			if err := json.Unmarshal([]byte(goodClaims), &claims); err != nil {
				t.Fatal(err)
			}
			claims[name] = "v"
			doc, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			token, err := key.Sign("at+jwt", doc)
			if err != nil {
				continue // refused, also good
			}
			got, err := verify(token, keys, josetest.Rules(), fixedNow)
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			if len(got.Extra) != 3 || got.Extra[name] != "v" || got.Subject != "agt_1" {
				t.Errorf("%q became %v of %s", name, got.Extra, got.Subject)
			}
		}
		for _, raw := range []string{`{"x":1,"admin":true,"x":2}`, `{"a"b":1}`, `{"sub":"a","\u0073ub":"b"}`} { // whoever writes the document by hand
			if token, err := key.Sign("at+jwt", []byte(raw)); err == nil {
				t.Errorf("%s was signed: %s", raw, token)
			}
		}
	})
}
