package state

import (
	"strings"
	"sync"
	"testing"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/trust"
)

func TestUpdatePublishesACopy(t *testing.T) {
	t.Parallel()
	s := NewStore(nil)
	before := s.Load()
	s.Update(func(n *Snapshot) { n.Issuers["a"] = &Issuer{OrganizationID: "org_a"} })
	s.Update(func(n *Snapshot) { n.Issuers["b"] = &Issuer{}; n.Epoch = 99 })
	after := s.Load()
	if before.Epoch != 0 || len(before.Issuers) != 0 {
		t.Errorf("a published snapshot changed: %+v", before)
	}
	if after.Epoch != 2 || len(after.Issuers) != 2 || after.Issuers["a"].OrganizationID != "org_a" {
		t.Errorf("got %+v", after)
	}
}

func TestUpdateThatPanicsPublishesNothing(t *testing.T) {
	t.Parallel()
	s := NewStore(&Snapshot{Epoch: 4})
	func() {
		defer func() { _ = recover() }()
		s.Update(func(n *Snapshot) { n.Issuers["half"] = nil; panic("fault") })
	}()
	if got := s.Load(); got.Epoch != 4 || len(got.Issuers) != 0 {
		t.Errorf("published %+v", got)
	}
	s.Update(func(*Snapshot) {}) // would block if the lock had been lost
	if got := s.Load().Epoch; got != 5 {
		t.Errorf("epoch %d", got)
	}
}

func TestUpdatesAreNotLost(t *testing.T) {
	t.Parallel()
	const writers, changes = 8, 50
	s := NewStore(&Snapshot{})
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range changes {
				s.Update(func(n *Snapshot) {
					old := n.Issuers["a"]
					next := Issuer{}
					if old != nil {
						next = *old
					}
					next.Rules.Audiences = append(next.Rules.Audiences[:len(next.Rules.Audiences):len(next.Rules.Audiences)], "x")
					n.Issuers["a"] = &next
				})
				_ = s.Load().Epoch
			}
		})
	}
	group.Wait()
	got := s.Load()
	if got.Epoch != writers*changes || len(got.Issuers["a"].Rules.Audiences) != writers*changes {
		t.Errorf("epoch %d, %d changes", got.Epoch, len(got.Issuers["a"].Rules.Audiences))
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	keys, list, rules := &jose.KeySet{}, &trust.Revocations{}, &policy.Policy{}
	for _, c := range []struct {
		name     string
		snapshot *Snapshot
		missing  []string
	}{
		{"nothing", nil, []string{"policy"}},
		{"policy without issuers", &Snapshot{Policy: rules}, nil},
		{"keys missing", &Snapshot{Policy: rules, Issuers: map[string]*Issuer{"i1": {}}}, []string{"keys of i1"}},
		{"no issuer behind the name", &Snapshot{Policy: rules, Issuers: map[string]*Issuer{"i1": nil}}, []string{"keys of i1"}},
		{"revocations missing", &Snapshot{Policy: rules, Issuers: map[string]*Issuer{
			"i1": {Keys: keys, HasRevocations: true}, "i2": {Keys: keys},
		}}, []string{"revocation list of i1"}},
		{
			"all missing", &Snapshot{Issuers: map[string]*Issuer{"i2": {HasRevocations: true}, "i1": {}}},
			[]string{"policy", "keys of i1", "keys of i2", "revocation list of i2"},
		},
		{"complete", &Snapshot{Policy: rules, Issuers: map[string]*Issuer{
			"i1": {Keys: keys, HasRevocations: true, Revocations: list},
		}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := NewStore(c.snapshot).Ready()
			if c.missing == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if want := "not loaded yet: " + strings.Join(c.missing, ", "); err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// What counts is what is published, not when it was confirmed: a list that stays the same ends nothing.
func TestEpochOfAnIssuer(t *testing.T) {
	t.Parallel()
	keys, revocations := &jose.KeySet{}, &trust.Revocations{}
	s := NewStore(&Snapshot{Issuers: map[string]*Issuer{"a": {}, "b": {}}})
	for i, tt := range []struct {
		name   string
		change func(*Issuer)
		want   uint64
	}{
		{"keys", func(i *Issuer) { i.Keys = keys }, 1},
		{"confirmed", func(i *Issuer) { i.KeysUntil = i.KeysUntil.Add(1) }, 1},
		{"a list", func(i *Issuer) { i.Revocations = revocations }, 3},
		{"confirmed again", func(i *Issuer) { i.RevocationsUntil = i.RevocationsUntil.Add(1) }, 3},
		{"another list", func(i *Issuer) { i.Revocations = &trust.Revocations{} }, 5},
		{"the list of before", func(i *Issuer) { i.Revocations = revocations }, 6},
		{"a list becomes necessary", func(i *Issuer) { i.HasRevocations = true }, 7},
		{"organization", func(i *Issuer) { i.OrganizationID = "org_a" }, 8},
		{"audiences", func(i *Issuer) { i.Rules.Audiences = []string{"a"} }, 9},
		{"the same audiences", func(i *Issuer) { i.Rules.Audiences = []string{"a"} }, 9},
		{"types", func(i *Issuer) { i.Rules.Types = []string{"jwt"} }, 11},
		{"algorithms", func(i *Issuer) { i.Rules.Algorithms = []jose.Algorithm{jose.ES256} }, 12},
		{"lifetime", func(i *Issuer) { i.Rules.LifetimeMax = 1 }, 13},
		{"skew", func(i *Issuer) { i.Rules.Skew = 1 }, 14},
		{"an epoch of one's own", func(i *Issuer) { i.Epoch = 99 }, 14},
		{"a watermark", func(i *Issuer) { i.TokensNotBefore = 1 }, 16},
		{"a partner", func(i *Issuer) { i.PartnerID = "prt_1" }, 17},
		{"of another", func(i *Issuer) { i.PartnerOf = "c" }, 18},
	} {
		s.Update(func(n *Snapshot) {
			next := *n.Issuers["a"]
			tt.change(&next)
			n.Issuers["a"] = &next
		})
		got := s.Load()
		if got.Epoch != uint64(i)+1 || got.Issuers["a"].Epoch != tt.want || got.Issuers["b"].Epoch != 0 {
			t.Errorf("%s: epoch %d of snapshot %d, want %d; of the other issuer %d", tt.name, got.Issuers["a"].Epoch, got.Epoch, tt.want, got.Issuers["b"].Epoch)
		}
	}
}

// What was concluded for a partner's callers ends with the list that speaks about the partner, and with its own.
func TestEpochOfAPartner(t *testing.T) {
	t.Parallel()
	s := NewStore(&Snapshot{Issuers: map[string]*Issuer{"home": {}, "partner": {PartnerID: "prt_1", PartnerOf: "home"}, "stranger": {PartnerID: "prt_2", PartnerOf: "gone"}}})
	list := func(name string) {
		s.Update(func(n *Snapshot) {
			next := *n.Issuers[name]
			next.Revocations = &trust.Revocations{}
			n.Issuers[name] = &next
		})
	}
	for i, tt := range []struct {
		changed                 string
		home, partner, stranger uint64
	}{{"home", 1, 1, 0}, {"partner", 1, 2, 0}, {"stranger", 1, 2, 3}, {"home", 4, 4, 3}} {
		list(tt.changed)
		got := s.Load().Issuers
		if got["home"].Epoch != tt.home || got["partner"].Epoch != tt.partner || got["stranger"].Epoch != tt.stranger {
			t.Errorf("%d: %d, %d, %d; want %+v", i, got["home"].Epoch, got["partner"].Epoch, got["stranger"].Epoch, tt)
		}
	}
}
