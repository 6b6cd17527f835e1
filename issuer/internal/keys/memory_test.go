package keys

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// memory is a Store with the promises of the interface and nothing else.
type memory struct {
	mu       sync.Mutex
	revision int64
	issuers  map[agentid.Organization]*stored
	leader   string
	until    time.Time
	changes  []recorded
	err      error
}

type stored struct {
	set Set
	due time.Time
}

// recorded is a change with who made it.
type recorded struct {
	actor  audit.Actor
	org    agentid.Organization
	change Change
}

func newMemory() *memory {
	return &memory{revision: 1, issuers: make(map[agentid.Organization]*stored)}
}

func (m *memory) SigningKeys(_ context.Context, org agentid.Organization) (Set, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.issuers[org]
	if !ok || m.err != nil {
		return Set{}, m.err
	}
	set := i.set
	set.Keys = nil
	for _, k := range i.set.Keys {
		if k.State != Destroyed || !k.RevokedAt.IsZero() {
			k.Sealed = bytes.Clone(k.Sealed)
			set.Keys = append(set.Keys, k)
		}
	}
	return set, nil
}

func (m *memory) ChangeSigningKeys(_ context.Context, actor audit.Actor, org agentid.Organization, c Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if err := actor.Validate(); err != nil {
		return err
	}
	i, ok := m.issuers[org]
	if !ok {
		i = &stored{}
	}
	if i.set.Revision != c.Revision {
		return &problem.Error{Kind: problem.Conflict}
	}
	for _, move := range c.Moves {
		if !slices.ContainsFunc(i.set.Keys, func(k Stored) bool { return k.ID == move.ID && k.State == move.From }) {
			return &problem.Error{Kind: problem.Conflict}
		}
	}
	next := i.set.apply(c)
	for _, use := range Uses() {
		for _, single := range []State{ActiveKey, Pending} {
			if n := count(next.Keys, func(k Stored) bool { return k.Use == use && k.State == single }); n > 1 {
				panic("two keys of one use are " + string(single))
			}
		}
	}
	m.revision++
	next.Revision = m.revision
	i.set, i.due = next, c.DueAt
	m.issuers[org] = i
	m.changes = append(m.changes, recorded{actor, org, c})
	return nil
}

func count(all []Stored, of func(Stored) bool) (n int) {
	for _, k := range all {
		if of(k) {
			n++
		}
	}
	return n
}

func (m *memory) PostponeSigningKeys(_ context.Context, org agentid.Organization, revision int64, due time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.issuers[org]; ok && i.set.Revision == revision {
		i.due = due
	}
	return m.err
}

func (m *memory) ChangedSigningKeys(_ context.Context, since int64) (int64, []Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var changed []Revision
	for org, i := range m.issuers {
		if i.set.Revision > since {
			changed = append(changed, Revision{org, i.set.Revision})
		}
	}
	return m.revision, changed, m.err
}

func (m *memory) DueSigningKeys(_ context.Context, at time.Time, after agentid.Organization, limit int) ([]agentid.Organization, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []agentid.Organization
	for org, i := range m.issuers {
		if !i.due.After(at) && (after.IsZero() || org.String() > after.String()) {
			due = append(due, org)
		}
	}
	slices.SortFunc(due, func(a, b agentid.Organization) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	return due[:min(limit, len(due))], m.err
}

func (m *memory) LeadSigningSchedule(_ context.Context, process string, now, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leader != process && m.until.After(now) {
		return false, m.err
	}
	m.leader, m.until = process, until
	return m.err == nil, m.err
}

// scopes is seal.Keysets in memory.
type scopes struct {
	mu sync.Mutex
	m  map[string]seal.WrappedKeyset
}

func (s *scopes) Keyset(_ context.Context, scope string) (seal.WrappedKeyset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.m[scope]
	if !ok {
		return w, seal.ErrNoKeyset
	}
	return w, nil
}

func (s *scopes) CreateKeyset(_ context.Context, scope string, w seal.WrappedKeyset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.m[scope]; ok {
		return seal.ErrKeysetExists
	}
	s.m[scope] = w
	return nil
}

func (s *scopes) ReplaceKeyset(_ context.Context, scope string, _, next seal.WrappedKeyset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[scope] = next
	return nil
}

func newSealer(t *testing.T) *seal.Sealer {
	t.Helper()
	document, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	w, err := seal.ParseWrapper(document)
	if err != nil {
		t.Fatal(err)
	}
	return seal.New(seal.NewKEK(w), &scopes{m: make(map[string]seal.WrappedKeyset)})
}

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// usual is the schedule of these tests.
var usual = Schedule{Period: PeriodDefault, MaxAge: 5 * time.Minute}

// quick makes every key an ES256 one: an RSA key takes a thousand times as long.
func quick(jose.Algorithm) (*jose.SigningKey, error) { return jose.GenerateSigningKey(jose.ES256) }
