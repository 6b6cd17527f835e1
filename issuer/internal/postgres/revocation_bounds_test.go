package postgres

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// However much is revoked, the list has room for everybody: who says too much is said in one line, which kills at least as much.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 5)
	orgs := []uuid.UUID{{1}, {2}, {3}}
	var rows []platformdb.RevocationListRow
	add := func(org uuid.UUID, n int) {
		for i := range n {
			at, expires := now.Add(-time.Duration(i)*time.Second), now.Add(time.Hour)
			rows = append(rows, platformdb.RevocationListRow{OrgID: org, AgentID: uuid.New(), TokenID: uuid.NewString(), DeadBefore: &at, ExpiresAt: &expires})
		}
	}
	add(orgs[0], 5)
	add(orgs[1], 11)
	add(orgs[2], 8)
	for name, tt := range map[string]struct {
		perOrganization, total int
		tokens, watermarks     int
	}{
		"room for all":               {20, 24, 24, 0},
		"one says too much":          {10, 24, 13, 1},
		"together too much":          {20, 23, 13, 1},
		"one too much, and together": {10, 12, 5, 2},
		"no room":                    {20, 4, 0, 3},
	} {
		list := &trust.RevocationList{}
		for _, o := range bounded(byOrganization(rows), tt.perOrganization, tt.total) {
			o.render(list, now)
		}
		if len(list.Tokens) != tt.tokens || len(list.Organizations) != tt.watermarks {
			t.Errorf("%s: %d tokens, %d watermarks", name, len(list.Tokens), len(list.Organizations))
		}
		index := trust.Index(list)
		for _, row := range rows {
			f := trust.Facts{TokenID: row.TokenID, OrganizationID: agentid.FromUUID[agentid.Organization](row.OrgID).String(), IssuedAt: row.DeadBefore.Unix()}
			if index.Check(&f) == "" {
				t.Fatalf("%s: a revoked token lives", name)
			}
		}
		later := trust.Facts{OrganizationID: agentid.FromUUID[agentid.Organization](orgs[1]).String(), IssuedAt: now.Unix() + 1}
		if index.Check(&later) != "" {
			t.Errorf("%s: what is issued later is dead", name)
		}
	}
	if got := byOrganization([]platformdb.RevocationListRow{{}}); len(got) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

// What the bounds allow, a sidecar reads.
func TestLargestListIsRead(t *testing.T) {
	t.Parallel()
	list := trust.RevocationList{Issuer: "https://issuer.example", Sequence: 1, IssuedAt: 1}
	for range listEntriesMax {
		list.Tokens = append(list.Tokens, trust.Token{ID: uuid.NewString(), ExpiresAt: 1_800_000_000})
	}
	doc, err := list.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.ParseRevocationList(doc)
	if err != nil || len(got.Tokens) != listEntriesMax {
		t.Errorf("%d bytes: %v", len(doc), err)
	}
	t.Logf("%d entries, %d bytes", listEntriesMax, len(doc))
}
