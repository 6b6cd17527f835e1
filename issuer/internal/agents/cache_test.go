package agents

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
)

func (f *fake) DeleteAgent(context.Context, audit.Actor, agentid.Agent, int64) error { return nil }

func (f *fake) DeleteCredential(context.Context, audit.Actor, agentid.Agent, agentid.Credential) error {
	f.hashes = nil
	return nil
}

func (f *fake) RecordTokenIssued(context.Context, audit.Actor, issuance.Record) error { return f.err }

// remembered is a service with one agent, its secret, and a cache that is in good standing.
func remembered(t *testing.T) (s *Service, f *fake, secret string) {
	t.Helper()
	f = &fake{}
	s = newService(t, f)
	s.UseCache(changecache.New[agentid.Agent, CachedClient](10, time.Minute, func() bool { return true }, func() time.Time { return at }))
	a, err := s.Create(t.Context(), audit.Actor{}, good())
	if err != nil {
		t.Fatal(err)
	}
	if _, secret, err = s.CreateCredential(t.Context(), audit.Actor{}, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	return s, f, secret
}

func TestARightSecretIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	s, f, secret := remembered(t)
	for range 3 {
		a, c, err := s.AuthenticateSecret(t.Context(), f.agent.ID.String(), secret)
		if err != nil || a.ID != f.agent.ID || a.OrganizationID != f.agent.OrganizationID || c != f.hashes[0].Credential {
			t.Fatalf("%+v, %v, %v", a, c, err)
		}
	}
	if f.lookups != 1 {
		t.Errorf("%d look-ups", f.lookups)
	}
}

// A wrong secret is looked up each time, whether the client is remembered or does not exist; and one that was made a moment ago works.
func TestAWrongSecretIsNeverAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	s, f, secret := remembered(t)
	if _, _, err := s.AuthenticateSecret(t.Context(), f.agent.ID.String(), secret); err != nil {
		t.Fatal(err)
	}
	for n, id := range []string{f.agent.ID.String(), agentid.New[agentid.Agent]().String(), "nonsense", ""} {
		if _, _, err := s.AuthenticateSecret(t.Context(), id, "wrong"); !errors.Is(err, credentials.ErrAuthentication) {
			t.Errorf("%s: %v", id, err)
		}
		if f.lookups != n+2 {
			t.Errorf("%s: %d look-ups, want %d", id, f.lookups, n+2)
		}
	}
	fresh, hash := s.secrets.New() // made by another instance, not heard of yet
	f.hashes = append(f.hashes, credentials.Registered{Credential: agentid.New[agentid.Credential](), Kind: credentials.KindClientSecret, Hash: hash})
	if _, _, err := s.AuthenticateSecret(t.Context(), f.agent.ID.String(), fresh); err != nil {
		t.Errorf("a new secret: %v", err)
	}
}

// What this service changes it forgets at once.
func TestChangesAreForgotten(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*Service, *fake) error
		works  bool
	}{
		"suspend": {func(s *Service, f *fake) error {
			_, err := s.Suspend(t.Context(), audit.Actor{}, f.agent.ID)
			return err
		}, false},
		"revoke": {func(s *Service, f *fake) error {
			_, err := s.Revoke(t.Context(), audit.Actor{}, f.agent.ID)
			return err
		}, false},
		"update": {func(s *Service, f *fake) error {
			_, err := s.Update(t.Context(), audit.Actor{}, f.agent.ID, 0, Update{Scopes: &[]string{"other"}})
			return err
		}, true},
		"delete credential": {func(s *Service, f *fake) error {
			return s.DeleteCredential(t.Context(), audit.Actor{}, f.agent.ID, f.hashes[0].Credential)
		}, false},
		"rotate credential": {func(s *Service, f *fake) error {
			_, _, err := s.RotateCredential(t.Context(), audit.Actor{}, f.agent.ID, f.hashes[0].Credential, time.Hour)
			return err
		}, true},
		"delete": {func(s *Service, f *fake) error {
			id := f.agent.ID
			f.agent.ID = agentid.New[agentid.Agent]()
			return s.Delete(t.Context(), audit.Actor{}, id, 0)
		}, false},
		"refused by the record": {func(s *Service, f *fake) error {
			f.err = &problem.Error{Kind: problem.NotFound}
			_ = s.RecordTokenIssued(t.Context(), audit.Actor{}, issuance.Record{Agent: f.agent.ID})
			f.err = nil
			return nil
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, f, secret := remembered(t)
			id := f.agent.ID.String()
			if _, _, err := s.AuthenticateSecret(t.Context(), id, secret); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(s, f); err != nil {
				t.Fatal(err)
			}
			a, _, err := s.AuthenticateSecret(t.Context(), id, secret)
			if (err == nil) != tt.works || f.lookups != 2 {
				t.Errorf("%v after %d look-ups", err, f.lookups)
			}
			if name == "update" && a.Scopes[0] != "other" {
				t.Errorf("the old scopes: %v", a.Scopes)
			}
		})
	}
}
