package orgs

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// fake keeps what it is given; the real store is tested in package postgres.
type fake struct {
	Store
	saved   []Organization
	updates int
}

func (f *fake) CreateOrganization(_ context.Context, _ audit.Actor, o Organization) (Organization, error) {
	f.saved = append(f.saved, o)
	return o, nil
}

func (f *fake) UpdateOrganization(_ context.Context, _ audit.Actor, _ agentid.Organization, _ int64, change func(*Organization) error) (Organization, error) {
	f.updates++
	o := f.saved[0]
	err := change(&o)
	return o, err
}

func fixed() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 123456789, time.FixedZone("", 3600)) }

func TestCreateChecksEveryField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in    Create
		field string // "" when accepted
		code  string
	}{
		"good":                  {Create{"acme", "Acme GmbH"}, "", ""},
		"shortest":              {Create{"a1", "A"}, "", ""},
		"longest":               {Create{strings.Repeat("a", 40), strings.Repeat("é", 200)}, "", ""},
		"hyphen inside":         {Create{"a-b", "A"}, "", ""},
		"slug missing":          {Create{"", "A"}, "/slug", "slug_length"},
		"slug too short":        {Create{"a", "A"}, "/slug", "slug_length"},
		"slug too long":         {Create{strings.Repeat("a", 41), "A"}, "/slug", "slug_length"},
		"slug upper case":       {Create{"Acme", "A"}, "/slug", "slug_characters"},
		"slug with a dot":       {Create{"a.b", "A"}, "/slug", "slug_characters"},
		"slug with a slash":     {Create{"a/b", "A"}, "/slug", "slug_characters"},
		"slug not ASCII":        {Create{"äb", "A"}, "/slug", "slug_characters"},
		"slug with NUL":         {Create{"a\x00", "A"}, "/slug", "slug_characters"},
		"slug begins hyphen":    {Create{"-ab", "A"}, "/slug", "slug_characters"},
		"slug ends hyphen":      {Create{"ab-", "A"}, "/slug", "slug_characters"},
		"name missing":          {Create{"acme", ""}, "/displayName", "display_name_length"},
		"name too long":         {Create{"acme", strings.Repeat("é", 201)}, "/displayName", "display_name_length"},
		"name of white space":   {Create{"acme", "  "}, "/displayName", "display_name_characters"},
		"name with line break":  {Create{"acme", "a\nb"}, "/displayName", "display_name_characters"},
		"name with NUL":         {Create{"acme", "a\x00b"}, "/displayName", "display_name_characters"},
		"name with ESC":         {Create{"acme", "a\x1b[31mb"}, "/displayName", "display_name_characters"},
		"name with U+2028":      {Create{"acme", "a\u2028b"}, "/displayName", "display_name_characters"},
		"name nobody sees":      {Create{"acme", "\u200b"}, "/displayName", "display_name_characters"},
		"name turned around":    {Create{"acme", "a\u202eb"}, "/displayName", "display_name_characters"},
		"name not UTF-8":        {Create{"acme", "a\xffb"}, "/displayName", "display_name_characters"},
		"name with a joiner":    {Create{"acme", "می\u200cخواهم"}, "", ""},
		"name with surrounding": {Create{"acme", " Acme"}, "/displayName", "display_name_characters"},
	} {
		f := &fake{}
		_, err := NewService(f, fixed).Create(t.Context(), audit.Actor{}, c.in)
		if c.field == "" {
			if err != nil || len(f.saved) != 1 {
				t.Errorf("%s: refused: %v", name, err)
			}
			continue
		}
		p, ok := err.(*problem.Error)
		if !ok || p.Kind != problem.Invalid || p.Field != c.field || p.Code != c.code || len(f.saved) != 0 {
			t.Errorf("%s: %#v, want %s at %s and nothing stored", name, err, c.code, c.field)
		}
	}
}

func TestCreateFillsIn(t *testing.T) {
	t.Parallel()
	o, err := NewService(&fake{}, fixed).Create(t.Context(), audit.Actor{}, Create{"acme", "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2025, 12, 31, 23, 0, 0, 123456000, time.UTC) // UTC, microseconds
	if o.ID.IsZero() || o.Version != 1 || o.CreatedAt != at || o.UpdatedAt != at {
		t.Errorf("created %+v", o)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	f := &fake{saved: []Organization{{DisplayName: "old"}}}
	s := NewService(f, fixed)
	bad := ""
	if _, err := s.Update(t.Context(), audit.Actor{}, agentid.Organization{}, 0, Update{DisplayName: &bad}); problem.KindOf(err) != problem.Invalid || f.updates != 0 {
		t.Errorf("empty name: %v after %d store calls", err, f.updates)
	}
	name := "new"
	for want, in := range map[string]Update{"old": {}, "new": {DisplayName: &name}} {
		got, err := s.Update(t.Context(), audit.Actor{}, agentid.Organization{}, 0, in)
		if err != nil || got.DisplayName != want || got.UpdatedAt.IsZero() {
			t.Errorf("got %+v, %v; want name %q", got, err, want)
		}
	}
}
