package agents

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

func TestSecretsAreRandomAndStoredHashed(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		f := &fake{}
		c, secret, err := newService(t, f).CreateCredential(t.Context(), audit.Actor{}, agentid.New[agentid.Agent](), 0)
		if err != nil {
			t.Fatal(err)
		}
		random, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(secret, credentials.SecretPrefix))
		if err != nil || !strings.HasPrefix(secret, credentials.SecretPrefix) || len(random) != 32 || seen[secret] {
			t.Fatalf("secret %q: want %s and 256 fresh random bits", secret, credentials.SecretPrefix)
		}
		seen[secret] = true
		if h := f.hashes[0].Hash; len(h) != 32 || bytes.Contains(h, random[:8]) || bytes.Equal(h, random) {
			t.Fatalf("stored %x", h)
		}
		if c.Kind != credentials.KindClientSecret || c.CreatedAt != at || !c.ExpiresAt.IsZero() {
			t.Fatalf("created %+v", c)
		}
	}
}

func TestLifetimeAndOverlapRanges(t *testing.T) {
	t.Parallel()
	for lifetime, ok := range map[time.Duration]bool{
		-time.Second: false, 0: true, credentials.LifetimeMin - 1: false, credentials.LifetimeMin: true, credentials.LifetimeMax: true, credentials.LifetimeMax + 1: false,
	} {
		f := &fake{}
		c, secret, err := newService(t, f).CreateCredential(t.Context(), audit.Actor{}, none, lifetime)
		if ok {
			if err != nil || (lifetime > 0 && !c.ExpiresAt.Equal(at.Add(lifetime))) {
				t.Errorf("lifetime %s: %+v, %v", lifetime, c, err)
			}
		} else if !invalidAt(err, "/lifetimeSeconds") || len(f.created) != 0 || secret != "" {
			t.Errorf("lifetime %s: %v, want refused", lifetime, err)
		}
	}
	for overlap, ok := range map[time.Duration]bool{-1: false, 0: true, credentials.OverlapMax: true, credentials.OverlapMax + 1: false} {
		f := &fake{}
		c, secret, err := newService(t, f).RotateCredential(t.Context(), audit.Actor{}, none, agentid.Credential{}, overlap)
		if ok {
			if err != nil || !c.ExpiresAt.Equal(at.Add(overlap)) || !strings.HasPrefix(secret, credentials.SecretPrefix) {
				t.Errorf("overlap %s: %+v, %v", overlap, c, err)
			}
		} else if !invalidAt(err, "/overlapSeconds") || len(f.hashes) != 0 || secret != "" {
			t.Errorf("overlap %s: %v, want refused", overlap, err)
		}
	}
}

func invalidAt(err error, field string) bool {
	p, ok := errors.AsType[*problem.Error](err)
	return ok && p.Kind == problem.Invalid && p.Field == field
}

// registered is an active agent with two secrets.
func registered(t *testing.T) (*Service, *fake, [2]string) {
	t.Helper()
	f := &fake{}
	s := newService(t, f)
	a, err := s.Create(t.Context(), audit.Actor{}, good())
	if err != nil {
		t.Fatal(err)
	}
	var secrets [2]string
	for i := range secrets {
		if _, secrets[i], err = s.CreateCredential(t.Context(), audit.Actor{}, a.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	return s, f, secrets
}

func TestAuthenticateAcceptsEachSecret(t *testing.T) {
	t.Parallel()
	s, f, secrets := registered(t)
	for i, secret := range secrets {
		a, c, err := s.AuthenticateSecret(t.Context(), f.agent.ID.String(), secret)
		if err != nil || a.ID != f.agent.ID || c != f.hashes[i].Credential {
			t.Errorf("secret %d: %v, %v, %v", i, a.ID, c, err)
		}
	}
}

// Every refusal is the very same error after the very same calls: one look-up, also when the id cannot exist.
func TestAuthenticateRefusalsAreAlike(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*fake)
		id     func(id string) string
		secret func(string) string
	}{
		"unknown client":       {id: func(string) string { return agentid.New[agentid.Agent]().String() }},
		"id of another kind":   {id: func(id string) string { return "org_" + id[4:] }},
		"malformed id":         {id: func(string) string { return "' or 1=1 --" }},
		"empty id":             {id: func(string) string { return "" }},
		"upper-case id":        {id: strings.ToUpper},
		"wrong secret":         {secret: func(string) string { return credentials.SecretPrefix + strings.Repeat("x", 43) }},
		"empty secret":         {secret: func(string) string { return "" }},
		"truncated secret":     {secret: func(s string) string { return s[:len(s)-1] }},
		"secret and more":      {secret: func(s string) string { return s + "A" }},
		"secret with no bytes": {secret: func(string) string { return credentials.SecretPrefix }},
		"suspended agent":      {change: func(f *fake) { f.agent.Status = Suspended }},
		"revoked agent":        {change: func(f *fake) { f.agent.Status = Revoked }},
		"state unknown":        {change: func(f *fake) { f.agent.Status = "" }},
		"every secret expired": {change: func(f *fake) { f.hashes = nil }}, // the store returns unexpired ones only
		"empty stored hash":    {change: func(f *fake) { f.hashes = []credentials.Registered{{Hash: nil}} }},
	} {
		s, f, secrets := registered(t)
		id, secret := f.agent.ID.String(), secrets[0]
		if c.change != nil {
			c.change(f)
		}
		if c.id != nil {
			id = c.id(id)
		}
		if c.secret != nil {
			secret = c.secret(secret)
		}
		a, crd, err := s.AuthenticateSecret(t.Context(), id, secret)
		if err != credentials.ErrAuthentication || !a.ID.IsZero() || !crd.IsZero() { //nolint:errorlint // the same value, not only the same kind
			t.Errorf("%s: %v, %v, %v; want ErrAuthentication and nothing else", name, a.ID, crd, err)
		}
		if f.lookups != 1 {
			t.Errorf("%s: %d look-ups, want 1", name, f.lookups)
		}
	}
}

func TestStoreTroubleIsNotARefusal(t *testing.T) {
	t.Parallel()
	trouble := &problem.Error{Kind: problem.Unavailable, RetryAfter: 3 * time.Second}
	for name, c := range map[string]struct {
		err   error
		retry time.Duration
	}{
		"unavailable": {trouble, 3 * time.Second},
		"internal":    {&problem.Error{Kind: problem.Internal}, time.Second},
		"anything":    {errors.New("boom"), time.Second},
	} {
		s, f, secrets := registered(t)
		f.err = c.err
		for _, id := range []string{f.agent.ID.String(), "nonsense"} {
			_, _, err := s.AuthenticateSecret(t.Context(), id, secrets[0])
			p, ok := errors.AsType[*problem.Error](err)
			if !ok || p.Kind != problem.Unavailable || p.RetryAfter != c.retry || errors.Is(err, credentials.ErrAuthentication) {
				t.Errorf("%s: %v, want Unavailable", name, err)
			}
		}
	}
}
