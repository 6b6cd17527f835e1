package trust

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	drawnID     = rapid.StringMatching(`[a-z0-9_:/.-]{1,40}`)
	drawnSecond = rapid.Int64Range(0, 253402300799)
)

// drawList draws what an issuer could render: any kind, any number of entries.
func drawList(t *rapid.T) RevocationList {
	return RevocationList{
		Issuer: drawnID.Draw(t, "issuer"), Sequence: drawnSecond.Draw(t, "sequence"), IssuedAt: drawnSecond.Draw(t, "issuedAt"),
		Agents:        drawEntries(t, "agents", func(id string, s int64) Agent { return Agent{id, s} }),
		Organizations: drawEntries(t, "organizations", func(id string, s int64) Organization { return Organization{id, s} }),
		Credentials:   drawEntries(t, "credentials", func(id string, _ int64) Credential { return Credential{id} }),
		Keys:          drawEntries(t, "keys", func(id string, _ int64) Key { return Key{id} }),
		Tokens:        drawEntries(t, "tokens", func(id string, s int64) Token { return Token{id, s} }),
		Issuers:       drawEntries(t, "issuers", func(id string, s int64) Issuer { return Issuer{id, s} }),
		Partners:      drawEntries(t, "partners", func(id string, s int64) Partner { return Partner{id, s} }),
	}
}

func drawEntries[T any](t *rapid.T, kind string, entry func(string, int64) T) []T {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) T { return entry(drawnID.Draw(t, "id"), drawnSecond.Draw(t, "second")) }), 0, 5).Draw(t, kind)
}

// What the issuer renders, the sidecar reads back as it was; also from a list that was never filled.
func TestRenderedListsParse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := drawList(t)
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

// The index refuses exactly what the entries say, one by one.
func TestIndexSaysWhatTheEntriesSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := drawList(t)
		ids := []string{drawnID.Draw(t, "stranger")}
		for _, e := range l.Agents {
			ids = append(ids, e.ID)
		}
		for _, e := range l.Credentials {
			ids = append(ids, e.ID)
		}
		for _, e := range l.Issuers {
			ids = append(ids, e.ID)
		}
		for _, e := range l.Partners {
			ids = append(ids, e.ID)
		}
		id := rapid.SampledFrom(ids)
		f := Facts{
			TokenID: id.Draw(t, "token"), Agent: id.Draw(t, "agent"), OrganizationID: id.Draw(t, "organization"), CredentialID: id.Draw(t, "credential"),
			KeyID: id.Draw(t, "key"), Issuer: id.Draw(t, "issuer"), PartnerID: id.Draw(t, "partner"), IssuedAt: drawnSecond.Draw(t, "issued"),
		}
		if got, want := Index(&l).Check(&f) != "", revokedBy(&l, &f); got != want {
			t.Fatalf("%+v in %+v: dead %v, want %v", f, l, got, want)
		}
	})
}

// revokedBy is the meaning of a list, written the long way.
func revokedBy(l *RevocationList, f *Facts) bool {
	dead := false
	hit := func(entry, fact string, before int64) {
		dead = dead || entry == fact && (before == 0 || f.IssuedAt < before)
	}
	for _, e := range l.Agents {
		hit(e.ID, f.Agent, e.IssuedBefore)
	}
	for _, e := range l.Organizations {
		hit(e.ID, f.OrganizationID, e.IssuedBefore)
	}
	for _, e := range l.Credentials {
		hit(e.ID, f.CredentialID, 0)
	}
	for _, e := range l.Keys {
		hit(e.ID, f.KeyID, 0)
	}
	for _, e := range l.Tokens {
		hit(e.ID, f.TokenID, 0)
	}
	for _, e := range l.Issuers {
		hit(e.ID, f.Issuer, e.IssuedBefore)
	}
	for _, e := range l.Partners {
		hit(e.ID, f.PartnerID, e.IssuedBefore)
	}
	return dead
}

// A list may grow by kinds, and says so when it holds something that this version cannot apply.
func TestListsOfOtherVersions(t *testing.T) {
	t.Parallel()
	const old = `{"issuer":"i","sequence":1,"issuedAt":1,"agents":[{"id":"agt_1"}],"organizations":[],"keys":[],"tokens":[]`
	for name, c := range map[string]struct {
		more string
		want []string
	}{
		"an older issuer's":                 {``, nil},
		"a new kind, nothing in it":         {`,"devices":[]`, nil},
		"a new kind":                        {`,"devices":[{"id":"d"}]`, []string{"devices"}},
		"its entries need not be like ours": {`,"devices":["d",1,null]`, []string{"devices"}},
		"two, in order":                     {`,"zones":[1],"devices":[1],"empty":[]`, []string{"devices", "zones"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := ParseRevocationList([]byte(old + c.more + "}"))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, l.NotUnderstood); d != "" {
				t.Error(d)
			}
			if Index(l).Check(&Facts{Agent: "agt_1"}) != RevokedAgent {
				t.Error("what is understood does not count")
			}
		})
	}
	var many strings.Builder
	for i := range 40 {
		many.WriteString(`,"k` + strings.Repeat("x", i) + `":[]`)
	}
	if l, err := ParseRevocationList([]byte(old + many.String() + "}")); err == nil {
		t.Errorf("forty kinds: %+v", l)
	}
}
