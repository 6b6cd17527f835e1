package agents

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// fake holds one agent and its hashes in memory; the real store is tested in package postgres.
type fake struct {
	Store
	agent   Agent
	hashes  []credentials.Registered
	created []Credential
	err     error // of ClientForAuthentication
	lookups int
	actions []audit.Action
}

func (f *fake) CreateAgent(_ context.Context, _ audit.Actor, a Agent) (Agent, error) {
	f.agent = a
	return a, nil
}

func (f *fake) UpdateAgent(_ context.Context, _ audit.Actor, _ agentid.Agent, _ int64, action audit.Action, change func(*Agent) error) (Agent, error) {
	a := f.agent
	if err := change(&a); err != nil {
		return Agent{}, err
	}
	f.agent = a
	f.actions = append(f.actions, action)
	return a, nil
}

func (f *fake) CreateCredential(_ context.Context, _ audit.Actor, c Credential, hash []byte) (Credential, error) {
	f.created = append(f.created, c)
	f.hashes = append(f.hashes, credentials.Registered{Credential: c.ID, Kind: c.Kind, Hash: hash})
	return c, nil
}

func (f *fake) RotateCredential(_ context.Context, _ audit.Actor, _ agentid.Agent, _ agentid.Credential, next Credential, hash []byte, until time.Time) (Credential, error) {
	next.ExpiresAt = until // shown back to the test
	f.hashes = append(f.hashes, credentials.Registered{Credential: next.ID, Kind: next.Kind, Hash: hash})
	return next, nil
}

func (f *fake) ClientForAuthentication(_ context.Context, id agentid.Agent, _ time.Time) (Agent, []credentials.Registered, error) {
	f.lookups++
	if f.err != nil {
		return Agent{}, nil, f.err
	}
	if id != f.agent.ID {
		return Agent{}, nil, &problem.Error{Kind: problem.NotFound}
	}
	return f.agent, f.hashes, nil
}

var at = time.Date(2026, 1, 1, 12, 0, 0, 700_000_000, time.UTC)

func newService(t *testing.T, store Store) *Service {
	t.Helper()
	s, err := NewService(store, []byte(strings.Repeat("k", 32)), func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func good() Create {
	return Create{
		OrganizationID: agentid.New[agentid.Organization](), Name: "payer", Type: "assistant", Description: "pays\nbills",
		Capabilities: []string{"payments.send"}, Scopes: []string{"payments:read"}, Audiences: []string{"svc://payments"},
	}
}

func many(n int, format string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(format, i)
	}
	return list
}

func TestCreateChecksEveryField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Create)
		field  string // "" when accepted
		code   string
	}{
		"good": {func(*Create) {}, "", ""},
		"only what is needed": {func(c *Create) {
			*c = Create{OrganizationID: c.OrganizationID, Name: "a", Audiences: []string{"https://a"}}
		}, "", ""},
		"limits": {func(c *Create) { c.Name, c.Description = strings.Repeat("é", 100), strings.Repeat("é", 500) }, "", ""},
		"limits of lists": {func(c *Create) {
			c.Capabilities, c.Scopes, c.Audiences = many(50, "c%d"), many(100, "s%d"), many(8, "urn:a:%d")
		}, "", ""},
		"no organization":        {func(c *Create) { c.OrganizationID = agentid.Organization{} }, "/organizationId", "organization_missing"},
		"no name":                {func(c *Create) { c.Name = "" }, "/name", "name_length"},
		"long name":              {func(c *Create) { c.Name = strings.Repeat("é", 101) }, "/name", "name_length"},
		"name with tab":          {func(c *Create) { c.Name = "a\tb" }, "/name", "name_characters"},
		"name with NUL":          {func(c *Create) { c.Name = "a\x00b" }, "/name", "name_characters"},
		"name with a space":      {func(c *Create) { c.Name = "a " }, "/name", "name_characters"},
		"name not UTF-8":         {func(c *Create) { c.Name = "\xc3\x28" }, "/name", "name_characters"},
		"name turned around":     {func(c *Create) { c.Name = "a\u2066b" }, "/name", "name_characters"},
		"name nobody sees":       {func(c *Create) { c.Name = "\u200b\u200d" }, "/name", "name_characters"},
		"type upper case":        {func(c *Create) { c.Type = "Assistant" }, "/type", "type_format"},
		"long type":              {func(c *Create) { c.Type = strings.Repeat("a", 41) }, "/type", "type_format"},
		"long description":       {func(c *Create) { c.Description = strings.Repeat("é", 501) }, "/description", "description_length"},
		"description with ESC":   {func(c *Create) { c.Description = "\x1b[2J" }, "/description", "description_characters"},
		"many capabilities":      {func(c *Create) { c.Capabilities = many(51, "c%d") }, "/capabilities", "capabilities_count"},
		"empty capability":       {func(c *Create) { c.Capabilities = []string{"a", ""} }, "/capabilities/1", "capability_format"},
		"long capability":        {func(c *Create) { c.Capabilities = []string{strings.Repeat("a", 101)} }, "/capabilities/0", "capability_format"},
		"capability upper case":  {func(c *Create) { c.Capabilities = []string{"A"} }, "/capabilities/0", "capability_format"},
		"capability twice":       {func(c *Create) { c.Capabilities = []string{"a", "b", "a"} }, "/capabilities/2", "duplicate_entry"},
		"many scopes":            {func(c *Create) { c.Scopes = many(101, "s%d") }, "/scopes", "scopes_count"},
		"empty scope":            {func(c *Create) { c.Scopes = []string{""} }, "/scopes/0", "scope_format"},
		"scope with a space":     {func(c *Create) { c.Scopes = []string{"a b"} }, "/scopes/0", "scope_format"},
		"scope with a quote":     {func(c *Create) { c.Scopes = []string{`a"b`} }, "/scopes/0", "scope_format"},
		"scope with a backslash": {func(c *Create) { c.Scopes = []string{`a\b`} }, "/scopes/0", "scope_format"},
		"scope not ASCII":        {func(c *Create) { c.Scopes = []string{"é"} }, "/scopes/0", "scope_format"},
		"long scope":             {func(c *Create) { c.Scopes = []string{strings.Repeat("a", 101)} }, "/scopes/0", "scope_format"},
		"scope of edges":         {func(c *Create) { c.Scopes = []string{"!#$%&'()*+,-./:;<=>?@[]^_`{|}~"} }, "", ""},
		"no audience":            {func(c *Create) { c.Audiences = nil }, "/audiences", "audiences_count"},
		"many audiences":         {func(c *Create) { c.Audiences = many(9, "urn:a:%d") }, "/audiences", "audiences_count"},
		"relative audience":      {func(c *Create) { c.Audiences = []string{"payments"} }, "/audiences/0", "audience_format"},
		"scheme only":            {func(c *Create) { c.Audiences = []string{"svc:"} }, "/audiences/0", "audience_format"},
		"audience of a path":     {func(c *Create) { c.Audiences = []string{"//host/path"} }, "/audiences/0", "audience_format"},
		"audience with fragment": {func(c *Create) { c.Audiences = []string{"https://a/#b"} }, "/audiences/0", "audience_format"},
		"empty fragment":         {func(c *Create) { c.Audiences = []string{"https://a/#"} }, "/audiences/0", "audience_format"},
		"audience with a user":   {func(c *Create) { c.Audiences = []string{"https://u@a/"} }, "/audiences/0", "audience_format"},
		"audience with a space":  {func(c *Create) { c.Audiences = []string{"https://a/ b"} }, "/audiences/0", "audience_format"},
		"audience not ASCII":     {func(c *Create) { c.Audiences = []string{"https://é/"} }, "/audiences/0", "audience_format"},
		"long audience":          {func(c *Create) { c.Audiences = []string{"urn:" + strings.Repeat("a", 500)} }, "/audiences/0", "audience_format"},
		"audience as urn":        {func(c *Create) { c.Audiences = []string{"urn:example:a", "https://a:8443/x?y"} }, "", ""},
	} {
		in := good()
		c.change(&in)
		f := &fake{}
		_, err := newService(t, f).Create(t.Context(), audit.Actor{}, in)
		if c.field == "" {
			if err != nil || f.agent.ID.IsZero() {
				t.Errorf("%s: refused: %v", name, err)
			}
			continue
		}
		p, ok := err.(*problem.Error)
		if !ok || p.Kind != problem.Invalid || p.Field != c.field || p.Code != c.code || !f.agent.ID.IsZero() {
			t.Errorf("%s: %v, want %s at %s and nothing stored", name, err, c.code, c.field)
		}
	}
}

func TestCreateFillsIn(t *testing.T) {
	t.Parallel()
	in := good()
	in.Capabilities, in.Scopes = nil, nil
	a, err := newService(t, &fake{}).Create(t.Context(), audit.Actor{}, in)
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != Active || a.Version != 1 || a.ID.IsZero() || a.CreatedAt != at || a.UpdatedAt != at || !a.TokensNotBefore.IsZero() {
		t.Errorf("created %+v", a)
	}
	if a.Capabilities == nil || a.Scopes == nil {
		t.Error("absent lists are null, not empty")
	}
}

func TestUpdateChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	f := &fake{}
	s := newService(t, f)
	before, err := s.Create(t.Context(), audit.Actor{}, good())
	if err != nil {
		t.Fatal(err)
	}
	same, err := s.Update(t.Context(), audit.Actor{}, before.ID, 0, Update{})
	if err != nil || len(same.Changes(before)) != 0 {
		t.Fatalf("empty update changed %v, %v", same.Changes(before), err)
	}
	name, kind, text, lists, audiences := "n", "t", "d", []string{"x"}, []string{"urn:x:y"}
	after, err := s.Update(t.Context(), audit.Actor{}, before.ID, 0, Update{
		Name: &name, Type: &kind, Description: &text, Capabilities: &lists, Scopes: &lists, Audiences: &audiences,
	})
	if err != nil {
		t.Fatal(err)
	}
	change := func(from, to any) map[string]any { return map[string]any{"from": from, "to": to} }
	want := map[string]any{
		"name": change("payer", "n"), "type": change("assistant", "t"), "description": change("pays\nbills", "d"),
		"capabilities": change([]string{"payments.send"}, lists), "scopes": change([]string{"payments:read"}, lists), "audiences": change([]string{"svc://payments"}, audiences),
	}
	if diff := cmp.Diff(want, after.Changes(before)); diff != "" {
		t.Error(diff)
	}
	empty := ""
	if _, err := s.Update(t.Context(), audit.Actor{}, before.ID, 0, Update{Name: &empty}); problem.KindOf(err) != problem.Invalid || f.agent.Name != "n" {
		t.Errorf("empty name: %v, stored %q", err, f.agent.Name)
	}
}

func TestTransitions(t *testing.T) {
	t.Parallel()
	watermark := time.Date(2026, 1, 1, 12, 0, 1, 0, time.UTC) // the whole second after `at`
	old := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		from, to  Status
		action    audit.Action
		call      func(*Service) (Agent, error)
		watermark time.Time
		refused   bool
	}{
		"suspend active":       {Active, Suspended, audit.AgentSuspend, suspend, watermark, false},
		"suspend again":        {Suspended, Suspended, audit.AgentSuspend, suspend, watermark, false},
		"suspend revoked":      {Revoked, Revoked, "", suspend, old, true},
		"reactivate suspended": {Suspended, Active, audit.AgentReactivate, reactivate, old, false},
		"reactivate active":    {Active, Active, audit.AgentReactivate, reactivate, old, false},
		"reactivate revoked":   {Revoked, Revoked, "", reactivate, old, true},
		"revoke active":        {Active, Revoked, audit.AgentRevoke, revoke, watermark, false},
		"revoke suspended":     {Suspended, Revoked, audit.AgentRevoke, revoke, watermark, false},
		"revoke again":         {Revoked, Revoked, audit.AgentRevoke, revoke, watermark, false},
		"update revoked":       {Revoked, Revoked, "", update, old, true},
	} {
		f := &fake{agent: Agent{Status: c.from, TokensNotBefore: old}}
		_, err := c.call(newService(t, f))
		p, _ := err.(*problem.Error)
		if refused := p != nil && p.Kind == problem.Conflict && p.Code == "agent_revoked"; refused != c.refused || (err == nil) == c.refused {
			t.Errorf("%s: %v, want refused %v", name, err, c.refused)
		}
		if f.agent.Status != c.to || !f.agent.TokensNotBefore.Equal(c.watermark) {
			t.Errorf("%s: now %s with watermark %s, want %s with %s", name, f.agent.Status, f.agent.TokensNotBefore, c.to, c.watermark)
		}
		if !c.refused && (len(f.actions) != 1 || f.actions[0] != c.action) {
			t.Errorf("%s: recorded as %v, want %s", name, f.actions, c.action)
		}
	}
}

var none = agentid.Agent{}

func suspend(s *Service) (Agent, error) {
	return s.Suspend(context.Background(), audit.Actor{}, none)
}

func reactivate(s *Service) (Agent, error) {
	return s.Reactivate(context.Background(), audit.Actor{}, none)
}

func revoke(s *Service) (Agent, error) {
	return s.Revoke(context.Background(), audit.Actor{}, none)
}

func update(s *Service) (Agent, error) {
	return s.Update(context.Background(), audit.Actor{}, none, 0, Update{})
}
