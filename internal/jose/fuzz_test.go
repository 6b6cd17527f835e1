package jose_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// FuzzToken: whatever is accepted was signed by the issuer, that is, its header and payload are those of a good token of
// the corpus, letter for letter. Only the signature may differ (the n-s twin).
func FuzzToken(f *testing.F) {
	keys := corpusKeys(f)
	good := map[string]bool{}
	for _, c := range josetest.Corpus() {
		if len(c.Token) < 4<<10 {
			f.Add(c.Token)
		}
		if c.Accept {
			good[c.Token[:strings.LastIndexByte(c.Token, '.')]] = true
		}
	}
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := verify(token, keys, josetest.Rules(), fixedNow)
		if err != nil {
			if claims != nil {
				t.Fatal("refused, but claims were given")
			}
			return
		}
		if !good[token[:strings.LastIndexByte(token, '.')]] {
			t.Fatalf("WRONG ACCEPT of %q: %+v", token, claims)
		}
	})
}

// FuzzClaims signs whatever is signable, for the checks behind the signature to be reached.
func FuzzClaims(f *testing.F) {
	key, err := jose.GenerateSigningKey(jose.EdDSA)
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range josetest.Corpus() {
		part := strings.Split(c.Token, ".")
		if len(part) == 3 && len(part[1]) < 4<<10 {
			if payload, ok := laxPayload(part[1]); ok {
				f.Add(payload)
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, err := key.Sign("at+jwt", payload)
		if err != nil {
			return
		}
		parsed, err := jose.ParseToken(token)
		if err != nil {
			if reasonOf(err) != jose.ReasonClaims {
				t.Fatalf("%q: signed, but refused for its form: %v", payload, err)
			}
			return
		}
		claims, err := parsed.Verify(key.Verification(), josetest.Rules(), fixedNow)
		if err != nil {
			return
		}
		checkAccepted(t, payload, claims)
	})
}

func laxPayload(segment string) ([]byte, bool) {
	payload := laxDecode(segment)
	return payload, len(payload) > 0
}

// checkAccepted compares with what encoding/json makes of the same payload, and with what the rules promise.
func checkAccepted(t *testing.T, payload []byte, claims *jose.Claims) {
	t.Helper()
	var want struct {
		Iss, Sub, Jti string
		Exp, Iat, Nbf int64
	}
	if err := json.Unmarshal(payload, &want); err != nil {
		t.Fatalf("%q: accepted, encoding/json: %v", payload, err)
	}
	got := want
	got.Iss, got.Sub, got.Jti, got.Exp, got.Iat, got.Nbf = claims.Issuer, claims.Subject, claims.ID, claims.ExpiresAt, claims.IssuedAt, claims.NotBefore
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-encoding/json +claims):\n%s", payload, diff)
	}
	now := fixedNow.Unix()
	if claims.Subject == "" || claims.ID == "" || claims.Issuer != josetest.Issuer || claims.ExpiresAt <= now-60 || claims.IssuedAt > now+60 ||
		claims.NotBefore > now+60 || claims.ExpiresAt-claims.IssuedAt > 3600 {
		t.Fatalf("accepted %+v", claims)
	}
}

// FuzzKeySet: no document panics the reader, and no key it returns panics the verifier or verifies garbage.
func FuzzKeySet(f *testing.F) {
	f.Add(josetest.KeySetDocument())
	for _, tt := range allKeySetDocuments() {
		if len(tt.doc) < 4<<10 {
			f.Add([]byte(tt.doc))
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, problems, err := jose.ParseKeySet(doc)
		if err != nil {
			if set != nil || problems != nil {
				t.Fatal("refused, but something was given")
			}
			return
		}
		var document struct {
			Keys []struct {
				Kid any `json:"kid"`
			} `json:"keys"`
		}
		if json.Unmarshal(doc, &document) != nil {
			return // entries that are not objects
		}
		if set.Len()+len(problems) != len(document.Keys) {
			t.Fatalf("%d keys and %d problems of %d entries", set.Len(), len(problems), len(document.Keys))
		}
		for _, entry := range document.Keys {
			if kid, _ := entry.Kid.(string); kid != "" {
				if _, ok := set.Lookup(kid); ok {
					exercise(t, set, kid)
				}
			}
		}
	})
}
