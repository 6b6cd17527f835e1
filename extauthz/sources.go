package extauthz

import (
	"fmt"

	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/trust"
)

// newStore starts with every configured issuer known and nothing of them loaded: until then all their tokens are refused.
func newStore(cfg *Config) *state.Store {
	issuers := make(map[string]*state.Issuer, len(cfg.Issuers))
	for i := range cfg.Issuers {
		c := &cfg.Issuers[i]
		var partner settings.Partner
		if c.Partner != nil {
			partner = *c.Partner
		}
		issuers[c.Issuer] = &state.Issuer{
			Rules: c.Rules(), OrganizationID: c.OrganizationID, HasRevocations: c.Revocations != nil, RequireBound: c.RequireBound, RequireBoundOf: c.RequireBoundOf,
			TokensNotBefore: c.TokensNotBefore.Seconds(), PartnerID: partner.ID, PartnerOf: partner.Of,
		}
	}
	return state.NewStore(&state.Snapshot{Issuers: issuers})
}

// sources are the feeds of a configuration, and what they share.
type sources struct {
	feeds   []feed.Feed
	hints   *feed.Hints
	clients []*fetch.Client

	organizations *orgpolicy.Set // nil: none has a policy of its own
}

// newSources makes one feed for each source the configuration names. Control will replace them all by one.
func newSources(cfg *Config, env *feed.Env) (*sources, error) {
	s := &sources{hints: feed.NewHints()}
	disk, err := cfg.OpenDisk(env.Log)
	if err != nil {
		return nil, err
	}
	for i := range cfg.Issuers {
		if err := s.addIssuer(&cfg.Issuers[i], env, disk); err != nil {
			return nil, fmt.Errorf("issuers[%d]: %w", i, err)
		}
	}
	if err := s.addPolicy(cfg, env, disk); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if o := cfg.Policy.Organizations; o != nil {
		s.organizations = orgpolicy.New(orgpolicy.Config{
			Dir: string(o.Dir), Policy: cfg.OrganizationConfig(), Max: o.Max, BytesMax: int64(o.Bytes), Log: env.Log, Now: env.Now,
		})
		s.feeds = append(s.feeds, s.organizations)
	}
	return s, nil
}

func (s *sources) addPolicy(cfg *Config, env *feed.Env, disk *feed.LastGood) error {
	p := &cfg.Policy
	if p.Bundle == "" {
		s.feeds = append(s.feeds, feed.NewPolicyDir(env, string(p.Dir), cfg.PolicyConfig()))
		return nil
	}
	client, err := p.Fetcher()
	if err != nil {
		return err
	}
	s.clients = append(s.clients, client)
	s.feeds = append(s.feeds, feed.NewPolicyBundle(env, p.Bundle, client, disk, p.Interval.Duration, cfg.PolicyConfig()))
	return nil
}

func (s *sources) addIssuer(c *settings.Issuer, env *feed.Env, disk *feed.LastGood) error {
	if c.JWKS.URL == "" {
		s.feeds = append(s.feeds, feed.NewKeyFile(env, c.Issuer, string(c.JWKS.File)))
	} else {
		client, err := s.client(c.JWKS.CA, 0)
		if err != nil {
			return err
		}
		keys := feed.NewKeyURL(env, c.Issuer, c.JWKS.URL, client, disk, c.JWKS.MaxStale.Duration)
		s.hints.Add(c.Issuer, keys)
		s.feeds = append(s.feeds, keys)
	}
	if r := c.Revocations; r != nil {
		client, err := s.client(r.CA, trust.ListBytesMax)
		if err != nil {
			return err
		}
		s.feeds = append(s.feeds, feed.NewRevocationURL(env, c.Issuer, r.URL, client, disk, r.Interval.Duration, r.MaxStale.Duration))
	}
	return nil
}

func (s *sources) client(ca config.Path, bodyBytesMax int64) (*fetch.Client, error) {
	c, err := settings.NewFetcher(ca, bodyBytesMax)
	if err == nil {
		s.clients = append(s.clients, c)
	}
	return c, err
}

func (s *sources) close() {
	s.organizations.Close()
	for _, c := range s.clients {
		c.Close()
	}
}
