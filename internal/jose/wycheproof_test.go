package jose

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// wycheproofModule holds the vectors of C2SP/wycheproof. They are not part of this repository; they come with a module of our module graph, which make deps gets.
const wycheproofModule = "github.com/c2sp/wycheproof"

// wycheproofFolder is where the module is on this machine.
var wycheproofFolder = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", wycheproofModule).Output()
	if err == nil && len(bytes.TrimSpace(dir)) == 0 {
		err = errors.New("it is not downloaded")
	}
	if err != nil {
		return "", fmt.Errorf("module %s: %w (make deps, or: go mod download %s)", wycheproofModule, err, wycheproofModule)
	}
	return filepath.Join(string(bytes.TrimSpace(dir)), "testvectors_v1"), nil
})

type wycheproofFile struct {
	TestGroups []wycheproofGroup `json:"testGroups"`
}

type wycheproofGroup struct {
	Public       map[string]any `json:"public"`
	Private      map[string]any `json:"private"`
	PublicKeyJWK map[string]any `json:"publicKeyJwk"`
	KeyJWK       map[string]any `json:"keyJwk"`
	Tests        []struct {
		ID      int        `json:"tcId"`
		Comment string     `json:"comment"`
		JWS     serialized `json:"jws"`
		JWE     serialized `json:"jwe"`
		Msg     string     `json:"msg"`
		Sig     string     `json:"sig"`
		Result  string     `json:"result"`
	} `json:"tests"`
}

// serialized is a token: a string in the compact serialization; in the JSON serialization, which is none of ours, the text of an object.
type serialized string

func (s *serialized) UnmarshalJSON(text []byte) error {
	*s = serialized(text)
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(s))
	}
	return nil
}

func readWycheproof(t *testing.T, name string) wycheproofFile {
	t.Helper()
	folder, err := wycheproofFolder()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	var file wycheproofFile
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

// wycheproofExceptions are valid vectors of algorithms of ours that are refused all the same.
var wycheproofExceptions = map[string]string{
	"json_web_signature_test.json 259": "empty payload: claims are never empty, and detached tokens are refused",
	"json_web_signature_test.json 272": "empty payload",
	"json_web_signature_test.json 346": "the key is labelled PS256, the token PS384",
	"json_web_signature_test.json 350": "the key is labelled PS256, the token PS384",
}

// TestWycheproofJWS puts the JOSE vectors through form, header, key intake and signature. Their payloads are no claims, so
// the rest of Verify has no part in it. Whatever is marked invalid must be refused, without exception; what is marked valid
// must be accepted if its algorithm is one of ours.
func TestWycheproofJWS(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		file := readWycheproof(t, name)
		judged, accepted, foreign := 0, 0, 0
		for _, group := range file.TestGroups {
			for _, test := range group.Tests {
				judged++
				problem := judgeJWS(group, string(test.JWS+test.JWE))
				exception, excepted := wycheproofExceptions[fmt.Sprintf("%s %d", name, test.ID)]
				switch {
				case problem == "" && test.Result == "invalid":
					t.Errorf("%s %d (%s): WRONG ACCEPT", name, test.ID, test.Comment)
				case problem == "" && excepted:
					t.Errorf("%s %d (%s): accepted, so it is no exception: %s", name, test.ID, test.Comment, exception)
				case problem == "":
					accepted++
				case test.Result == "valid" && !ourAlgorithm(group):
					foreign++
				case test.Result == "valid" && !excepted:
					t.Errorf("%s %d (%s): refused: %s", name, test.ID, test.Comment, problem)
				}
			}
		}
		t.Logf("%s: %d vectors, %d accepted, %d valid ones of algorithms that are not ours", name, judged, accepted, foreign)
	}
}

// TestWycheproofJWE: an encrypted token is never one of ours, good or bad.
func TestWycheproofJWE(t *testing.T) {
	t.Parallel()
	file := readWycheproof(t, "json_web_encryption_test.json")
	refused := 0
	for _, group := range file.TestGroups {
		for _, test := range group.Tests {
			if _, err := ParseToken(string(test.JWE)); err == nil || test.JWE == "" {
				t.Errorf("%d (%s): %q, error %v", test.ID, test.Comment, test.JWE, err)
			} else {
				refused++
			}
		}
	}
	t.Logf("%d encrypted tokens refused", refused)
}

// judgeJWS says why a vector is refused, or nothing.
func judgeJWS(group wycheproofGroup, compact string) string {
	set, _, err := ParseKeySet(group.keySet())
	if err != nil {
		return err.Error()
	}
	form, err := splitCompact(compact)
	if err != nil {
		return err.Error()
	}
	h, err := parseHeader(form.header)
	if err != nil {
		return err.Error()
	}
	key, ok := set.Lookup(h.keyID)
	if !ok {
		return "no such key"
	}
	if key.algorithm != h.algorithm {
		return "alg is not the key's"
	}
	if err := key.verify([]byte(form.signed), form.signature); err != nil {
		return err.Error()
	}
	return ""
}

// jwks are the group's keys; a group of asymmetric keys also has the private half, which is not read.
func (g wycheproofGroup) jwks() []any {
	keys := g.Public
	if keys == nil {
		keys = g.Private
	}
	if list, ok := keys["keys"].([]any); ok {
		return list
	}
	return []any{keys}
}

func (g wycheproofGroup) keySet() []byte {
	for _, jwk := range g.jwks() {
		if jwk := jwk.(map[string]any); jwk["kty"] != "oct" {
			delete(jwk, "d")
		}
	}
	doc, err := json.Marshal(map[string]any{"keys": g.jwks()})
	if err != nil {
		panic(err)
	}
	return doc
}

func ourAlgorithm(g wycheproofGroup) bool {
	for _, jwk := range g.jwks() {
		name, _ := jwk.(map[string]any)["alg"].(string)
		if _, ok := parseAlgorithm(name); !ok {
			return false
		}
	}
	return true
}

// TestWycheproofSignatures puts the vectors of bare signatures through the verifier of a key read as JWK.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	for name, alg := range map[string]Algorithm{
		"ecdsa_secp256r1_sha256_p1363_test.json": ES256, "ed25519_test.json": EdDSA,
		"rsa_signature_2048_sha256_test.json": RS256, "rsa_pss_2048_sha256_mgf1_32_test.json": PS256,
	} {
		file := readWycheproof(t, name)
		judged, accepted := 0, 0
		for _, group := range file.TestGroups {
			key := wycheproofKey(t, name, group, alg)
			if key == nil {
				continue
			}
			for _, test := range group.Tests {
				judged++
				verified := key.verify(unhexVector(t, test.Msg), unhexVector(t, test.Sig)) == nil
				if verified {
					accepted++
				}
				if verified && test.Result == "invalid" || !verified && test.Result == "valid" {
					t.Errorf("%s %d (%s): %s, verified %v", name, test.ID, test.Comment, test.Result, verified)
				}
			}
		}
		if accepted == 0 {
			t.Errorf("%s: nothing of %d vectors verified", name, judged)
		}
		t.Logf("%s: %d vectors, %d verified", name, judged, accepted)
	}
}

// wycheproofKey is nil for a group without a JWK.
func wycheproofKey(t *testing.T, name string, group wycheproofGroup, alg Algorithm) *VerificationKey {
	t.Helper()
	jwk := group.PublicKeyJWK
	if jwk == nil {
		jwk = group.KeyJWK
	}
	if jwk == nil {
		return nil
	}
	jwk["alg"] = string(alg)
	key, problem := parseKey("k", jwk)
	if problem != "" {
		t.Errorf("%s: key refused: %s", name, problem)
	}
	return key
}

func unhexVector(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
