package trust

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const complete = `{"issuer":"https://issuer.example/org/a","sequence":7,"issuedAt":1700000000,
 "agents":[{"id":"agt_1"},{"id":"agt_2","issuedBefore":1700000100}],
 "organizations":[{"id":"org_x","issuedBefore":1700000200}],
 "credentials":[{"id":"crd_1"}],
 "keys":[{"id":"k1"}],
 "tokens":[{"id":"t1","expiresAt":1700000900}],
 "issuers":[{"id":"https://partner.example"},{"id":"https://other.example","issuedBefore":1700000300}],
 "partners":[{"id":"prt_1","issuedBefore":1700000400}]}`

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
		Credentials:   []Credential{{ID: "crd_1"}},
		Keys:          []Key{{ID: "k1"}},
		Tokens:        []Token{{ID: "t1", ExpiresAt: 1700000900}},
		Issuers:       []Issuer{{ID: "https://partner.example"}, {ID: "https://other.example", IssuedBefore: 1700000300}},
		Partners:      []Partner{{ID: "prt_1", IssuedBefore: 1700000400}},
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
		"empty":                   ``,
		"array":                   `[]`,
		"null":                    `null`,
		"trailing bytes":          complete + `{}`,
		"unknown member":          replace(`"sequence":7`, `"sequence":7,"extra":1`),
		"unknown inner member":    replace(`{"id":"k1"}`, `{"id":"k1","until":1}`),
		"other case":              replace(`"issuer"`, `"Issuer"`),
		"duplicate member":        replace(`"sequence":7`, `"sequence":7,"sequence":8`),
		"escaped duplicate":       replace(`"sequence":7`, `"sequence":7,"\u0073equence":8`),
		"missing agents":          replace(`"agents":[{"id":"agt_1"},{"id":"agt_2","issuedBefore":1700000100}],`, ``),
		"null agents":             replace(`[{"id":"k1"}]`, `null`),
		"agents as object":        replace(`[{"id":"k1"}]`, `{}`),
		"element is a string":     replace(`{"id":"k1"}`, `"k1"`),
		"id missing":              replace(`{"id":"k1"}`, `{}`),
		"id empty":                replace(`"k1"`, `""`),
		"id a number":             replace(`"k1"`, `1`),
		"id too long":             replace(`"k1"`, `"`+strings.Repeat("k", 513)+`"`),
		"sequence a string":       replace(`"sequence":7`, `"sequence":"7"`),
		"sequence negative":       replace(`"sequence":7`, `"sequence":-1`),
		"sequence a fraction":     replace(`"sequence":7`, `"sequence":7.5`),
		"sequence beyond int64":   replace(`"sequence":7`, `"sequence":9223372036854775808`),
		"issuedBefore a string":   replace(`1700000200`, `"1700000200"`),
		"issuedBefore null":       replace(`1700000200`, `null`),
		"expiresAt missing":       replace(`,"expiresAt":1700000900`, ``),
		"issuer missing":          replace(`"issuer":"https://issuer.example/org/a",`, ``),
		"byte order mark":         "\ufeff" + complete,
		"nested where text goes":  replace(`"k1"`, `{"a":"b"}`),
		"credentials null":        replace(`[{"id":"crd_1"}]`, `null`),
		"credential with more":    replace(`{"id":"crd_1"}`, `{"id":"crd_1","issuedBefore":1}`),
		"issuer without an id":    replace(`{"id":"https://partner.example"}`, `{"issuedBefore":1}`),
		"partner's time a text":   replace(`1700000400`, `"soon"`),
		"a kind in other case":    replace(`"credentials"`, `"Credentials"`),
		"a kind as an object":     replace(`"sequence":7`, `"sequence":7,"devices":{}`),
		"a kind with a long name": replace(`"sequence":7`, `"sequence":7,"`+strings.Repeat("k", 65)+`":[]`),
		"a kind nested deeper":    replace(`"sequence":7`, `"sequence":7,"devices":[{"id":{"a":"b"}}]`),
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
		facts Facts
		want  string
	}{
		{Facts{IssuedAt: before}, ""},
		{Facts{TokenID: "t1", IssuedAt: before}, RevokedToken},
		{Facts{Agent: "agt_1", IssuedAt: after}, RevokedAgent},
		{Facts{Agent: "agt_2", IssuedAt: before}, RevokedAgent},
		{Facts{Agent: "agt_2", IssuedAt: after}, ""}, // reactivated
		{Facts{OrganizationID: "org_x", IssuedAt: 1700000199}, RevokedOrganization},
		{Facts{OrganizationID: "org_x", IssuedAt: 1700000200}, ""},
		{Facts{CredentialID: "crd_1", IssuedAt: 1 << 40}, RevokedCredential},
		{Facts{KeyID: "k1", IssuedAt: after}, RevokedKey},
		{Facts{Issuer: "https://partner.example", IssuedAt: 1 << 40}, RevokedIssuer},
		{Facts{Issuer: "https://other.example", IssuedAt: 1700000299}, RevokedIssuer},
		{Facts{Issuer: "https://other.example", IssuedAt: 1700000300}, ""},
		{Facts{PartnerID: "prt_1", IssuedAt: 1700000399}, RevokedPartner},
		{Facts{PartnerID: "prt_1", IssuedAt: 1700000400}, ""},
		{Facts{"agt_9", "agt_8", "org_9", "crd_9", "k9", "https://issuer.example", "prt_9", before}, ""},
		{Facts{"agt_1", "t1", "crd_1", "org_x", "prt_1", "k1", "https://partner.example", before}, ""}, // kinds are never mixed up
	} {
		if got := r.Check(&c.facts); got != c.want {
			t.Errorf("Check(%+v) = %q, want %q", c.facts, got, c.want)
		}
	}
}

func TestIndexKeepsTheStricterOfTwoEntries(t *testing.T) {
	t.Parallel()
	for _, agents := range [][]Agent{
		{{ID: "a"}, {ID: "a", IssuedBefore: 5}},
		{{ID: "a", IssuedBefore: 5}, {ID: "a"}},
	} {
		if got := Index(&RevocationList{Agents: agents}).Check(&Facts{Agent: "a", IssuedAt: 100}); got != RevokedAgent {
			t.Errorf("%v: %q", agents, got)
		}
	}
	if got := Index(nil).Check(&Facts{"t", "a", "o", "c", "k", "i", "p", 1}); got != "" {
		t.Errorf("empty set revokes %q", got)
	}
}

func FuzzParseRevocationList(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte(strings.Replace(complete, `"sequence":7`, `"sequence":7,"devices":[]`, 1)))
	f.Add([]byte(`{"issuer":"a","sequence":0,"issuedAt":0,"agents":[],"organizations":[],"keys":[],"tokens":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := ParseRevocationList(doc)
		if err != nil {
			return
		}
		if len(l.NotUnderstood) > 0 {
			return // what is not understood is not rendered
		}
		rendered, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseRevocationList(rendered)
		if err != nil {
			t.Fatalf("own rendering refused: %v", err)
		}
		if d := cmp.Diff(l, again, cmpopts.EquateEmpty()); d != "" { // a kind that was missing is empty
			t.Error(d)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	r := Index(&RevocationList{Agents: []Agent{{ID: "agt_1"}}, Tokens: []Token{{ID: "t1"}}})
	facts := Facts{"t2", "agt_2", "org_2", "crd_2", "k2", "https://issuer.example", "", 1700000000}
	b.ReportAllocs()
	for b.Loop() {
		if r.Check(&facts) != "" {
			b.Fatal("revoked")
		}
	}
}
