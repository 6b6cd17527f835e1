package trust

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const complete = `{"issuer":"https://issuer.example/org/a","sequence":7,"issuedAt":1700000000,
 "agents":[{"id":"agt_1"},{"id":"agt_2","issuedBefore":1700000100}],
 "organizations":[{"id":"org_x","issuedBefore":1700000200}],
 "keys":[{"id":"k1"}],
 "tokens":[{"id":"t1","expiresAt":1700000900}]}`

func TestParseRevocationList(t *testing.T) {
	t.Parallel()
	got, err := ParseRevocationList([]byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	want := &RevocationList{
		Issuer: "https://issuer.example/org/a", Sequence: 7, IssuedAt: 1700000000,
		Agents:        []Agent{{ID: "agt_1"}, {ID: "agt_2", IssuedBefore: 1700000100}},
		Organizations: []Organization{{ID: "org_x", IssuedBefore: 1700000200}},
		Keys:          []Key{{ID: "k1"}},
		Tokens:        []Token{{ID: "t1", ExpiresAt: 1700000900}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string {
		if !strings.Contains(complete, old) {
			t.Fatalf("the test document has no %q", old)
		}
		return strings.Replace(complete, old, new, 1)
	}
	for name, doc := range map[string]string{
		"empty":                  ``,
		"array":                  `[]`,
		"null":                   `null`,
		"trailing bytes":         complete + `{}`,
		"unknown member":         replace(`"sequence":7`, `"sequence":7,"extra":1`),
		"unknown inner member":   replace(`{"id":"k1"}`, `{"id":"k1","until":1}`),
		"other case":             replace(`"issuer"`, `"Issuer"`),
		"duplicate member":       replace(`"sequence":7`, `"sequence":7,"sequence":8`),
		"escaped duplicate":      replace(`"sequence":7`, `"sequence":7,"\u0073equence":8`),
		"missing agents":         replace(`"agents":[{"id":"agt_1"},{"id":"agt_2","issuedBefore":1700000100}],`, ``),
		"null agents":            replace(`[{"id":"k1"}]`, `null`),
		"agents as object":       replace(`[{"id":"k1"}]`, `{}`),
		"element is a string":    replace(`{"id":"k1"}`, `"k1"`),
		"id missing":             replace(`{"id":"k1"}`, `{}`),
		"id empty":               replace(`"k1"`, `""`),
		"id a number":            replace(`"k1"`, `1`),
		"id too long":            replace(`"k1"`, `"`+strings.Repeat("k", 513)+`"`),
		"sequence a string":      replace(`"sequence":7`, `"sequence":"7"`),
		"sequence negative":      replace(`"sequence":7`, `"sequence":-1`),
		"sequence a fraction":    replace(`"sequence":7`, `"sequence":7.5`),
		"sequence beyond int64":  replace(`"sequence":7`, `"sequence":9223372036854775808`),
		"issuedBefore a string":  replace(`1700000200`, `"1700000200"`),
		"issuedBefore null":      replace(`1700000200`, `null`),
		"expiresAt missing":      replace(`,"expiresAt":1700000900`, ``),
		"issuer missing":         replace(`"issuer":"https://issuer.example/org/a",`, ``),
		"byte order mark":        "\ufeff" + complete,
		"nested where text goes": replace(`"k1"`, `{"a":"b"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if l, err := ParseRevocationList([]byte(doc)); err == nil {
				t.Errorf("accepted as %+v", l)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	l, err := ParseRevocationList([]byte(complete))
	if err != nil {
		t.Fatal(err)
	}
	r := Index(l)
	if r.Sequence() != 7 {
		t.Errorf("sequence %d", r.Sequence())
	}
	const before, after = 1700000099, 1700000100
	for _, c := range []struct {
		subject, organization, key, token string
		issuedAt                          int64
		want                              string
	}{
		{"agt_9", "org_9", "k9", "t9", before, ""},
		{"agt_9", "org_9", "k9", "t1", before, RevokedToken},
		{"agt_1", "org_9", "k9", "t9", after, RevokedAgent},
		{"agt_2", "org_9", "k9", "t9", before, RevokedAgent},
		{"agt_2", "org_9", "k9", "t9", after, ""}, // reactivated
		{"agt_9", "org_x", "k9", "t9", 1700000199, RevokedOrganization},
		{"agt_9", "org_x", "k9", "t9", 1700000200, ""},
		{"agt_9", "org_9", "k1", "t9", after, RevokedKey},
		{"org_x", "agt_1", "t1", "k1", before, ""}, // kinds are never mixed up
	} {
		if got := r.Check(c.subject, c.organization, c.key, c.token, c.issuedAt); got != c.want {
			t.Errorf("Check(%+v) = %q", c, got)
		}
	}
}

func TestIndexKeepsTheStricterOfTwoEntries(t *testing.T) {
	t.Parallel()
	for _, agents := range [][]Agent{
		{{ID: "a"}, {ID: "a", IssuedBefore: 5}},
		{{ID: "a", IssuedBefore: 5}, {ID: "a"}},
	} {
		if got := Index(&RevocationList{Agents: agents}).Check("a", "", "", "", 100); got != RevokedAgent {
			t.Errorf("%v: %q", agents, got)
		}
	}
	if got := Index(nil).Check("a", "o", "k", "t", 1); got != "" {
		t.Errorf("empty set revokes %q", got)
	}
}

// What the issuer renders, the sidecar reads back as it was; also from a list that was never filled.
func TestRenderedListsParse(t *testing.T) {
	t.Parallel()
	id := rapid.StringMatching(`[a-z0-9_:/.-]{1,40}`)
	second := rapid.Int64Range(0, 253402300799)
	rapid.Check(t, func(t *rapid.T) {
		want := RevocationList{
			Issuer:   id.Draw(t, "issuer"),
			Sequence: second.Draw(t, "sequence"),
			IssuedAt: second.Draw(t, "issuedAt"),
			Agents: rapid.SliceOf(rapid.Custom(func(t *rapid.T) Agent {
				return Agent{ID: id.Draw(t, "id"), IssuedBefore: second.Draw(t, "before")}
			})).Draw(t, "agents"),
			Keys: rapid.SliceOf(rapid.Custom(func(t *rapid.T) Key { return Key{ID: id.Draw(t, "id")} })).Draw(t, "keys"),
		}
		doc, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRevocationList(doc)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		again, err := json.Marshal(got)
		if err != nil || string(again) != string(doc) {
			t.Fatalf("%s became %s (%v)", doc, again, err)
		}
	})
}

func FuzzParseRevocationList(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte(`{"issuer":"a","sequence":0,"issuedAt":0,"agents":[],"organizations":[],"keys":[],"tokens":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := ParseRevocationList(doc)
		if err != nil {
			return
		}
		rendered, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRevocationList(rendered)
		if err != nil {
			t.Fatalf("own rendering refused: %v", err)
		}
		if d := cmp.Diff(l, again); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	r := Index(&RevocationList{Agents: []Agent{{ID: "agt_1"}}, Tokens: []Token{{ID: "t1"}}})
	b.ReportAllocs()
	for b.Loop() {
		if r.Check("agt_2", "org_2", "k2", "t2", 1700000000) != "" {
			b.Fatal("revoked")
		}
	}
}
