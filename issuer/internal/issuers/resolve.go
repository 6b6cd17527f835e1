package issuers

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
)

// Mode is which issuers an organization's agents are clients of. Which of several a token carries is the client's choice: that of the endpoint it asks, as RFC 8414 has it.
type Mode string

// The modes.
const (
	Both     Mode = "both"     // the instance's issuer, and the organization's own
	Own      Mode = "own"      // the organization's own; the instance's issues nothing
	Instance Mode = "instance" // the instance's; there is nothing at /o/{slug}
)

// Modes is every mode.
func Modes() []Mode { return []Mode{Both, Own, Instance} }

// slugParam of the contract's paths.
const slugParam = "slug"

// Slugs are remembered for a moment, so that a token costs no look-up of its own. A slug never changes and is never given again, so the worst that a process remembers
// is an organization that was deleted a moment ago: until it hears of it (Forget), and no longer than this where it does not.
const (
	slugsMax  = 4096
	slugsLife = 5 * time.Second
	// Slugs of nobody are remembered apart, so that they drive out none of somebody's, and for a shorter time: an organization may get one at any moment.
	missesLife = time.Second
)

// Organizations finds an organization by the name in its issuer's URL. postgres.Store implements it.
type Organizations interface {
	OrganizationBySlug(ctx context.Context, slug string) (orgs.Organization, error)
}

// Config of the issuers.
type Config struct {
	Issuer        string // of the instance
	Mode          Mode
	Organizations Organizations
	Rings         *keys.Rings
	Now           func() time.Time
}

// Set is every issuer of the instance.
type Set struct {
	cfg      Config
	instance Issuer
	slugs    *changecache.Cache[string, agentid.Organization]
	misses   *changecache.Cache[string, struct{}]
}

// NewSet loads the keys of the instance's issuer, and makes what is missing of them; those of an organization's are made and loaded when they are first asked for.
func NewSet(ctx context.Context, cfg Config) (*Set, error) {
	if _, err := cfg.Rings.Rotator().Advance(ctx, agentid.Organization{}); err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	ring, err := cfg.Rings.Of(ctx, agentid.Organization{})
	if err != nil {
		return nil, err
	}
	always := func() bool { return true }
	return &Set{
		cfg: cfg, instance: Issuer{ID: cfg.Issuer, Keys: ring, closed: cfg.Mode == Own},
		slugs:  changecache.New[string, agentid.Organization](slugsMax, slugsLife, always, cfg.Now),
		misses: changecache.New[string, struct{}](slugsMax, missesLife, always, cfg.Now),
	}, nil
}

// Instance is the issuer that belongs to no organization.
func (s *Set) Instance() Issuer { return s.instance }

// ID of the issuer of the organization with a slug.
func (s *Set) ID(slug string) string { return s.cfg.Issuer + "/o/" + slug }

// Organization is the issuer of the organization with a slug. NotFound where there is none, which is all a stranger learns.
func (s *Set) Organization(ctx context.Context, slug string) (Issuer, error) {
	if s.cfg.Mode == Instance {
		return Issuer{}, web.NoRoute()
	}
	org, err := s.bySlug(ctx, slug)
	if problem.KindOf(err) == problem.NotFound {
		return Issuer{}, web.NoRoute() // as for a path that nobody serves
	}
	if err != nil {
		return Issuer{}, err
	}
	ring, err := s.cfg.Rings.Of(ctx, org)
	if err != nil {
		return Issuer{}, err
	}
	return Issuer{ID: s.ID(slug), Organization: org, Keys: ring}, nil
}

// Forget is told of an organization that changed: it may be gone.
func (s *Set) Forget(org agentid.Organization) {
	s.slugs.ForgetValues(func(known agentid.Organization) bool { return known == org })
}

// Find is the issuer with an identifier. NotFound for one that is none of ours.
func (s *Set) Find(ctx context.Context, id string) (Issuer, error) {
	if id == s.instance.ID {
		return s.instance, nil
	}
	slug, ok := strings.CutPrefix(id, s.ID(""))
	if !ok {
		return Issuer{}, web.NoRoute()
	}
	return s.Organization(ctx, slug)
}

func (s *Set) bySlug(ctx context.Context, slug string) (agentid.Organization, error) {
	if !orgs.IsSlug(slug) {
		return agentid.Organization{}, &problem.Error{Kind: problem.NotFound}
	}
	if org, ok := s.slugs.Get(slug); ok {
		return org, nil
	}
	if _, missed := s.misses.Get(slug); missed {
		return agentid.Organization{}, &problem.Error{Kind: problem.NotFound}
	}
	mark := s.slugs.Mark()
	o, err := s.cfg.Organizations.OrganizationBySlug(ctx, slug)
	if problem.KindOf(err) == problem.NotFound {
		s.misses.Put(s.misses.Mark(), slug, struct{}{})
	}
	if err != nil {
		return agentid.Organization{}, fmt.Errorf("organization of an issuer: %w", err)
	}
	s.slugs.Put(mark, slug, o.ID)
	return o.ID, nil
}

// Resolve makes every route answer as the issuer its path names, and 404 where there is no such issuer: no handler can forget to ask.
func (s *Set) Resolve(routes []web.Route) []web.Route {
	resolved := make([]web.Route, 0, len(routes))
	for _, route := range routes {
		next, ofOrganization := route.Handler, strings.Contains(route.Path, "{"+slugParam+"}")
		route.Handler = func(w http.ResponseWriter, r *http.Request) {
			issuer := s.instance
			if ofOrganization {
				var err error
				if issuer, err = s.Organization(r.Context(), r.PathValue(slugParam)); err != nil {
					web.Fail(w, r, err)
					return
				}
			}
			next(w, r.WithContext(With(r.Context(), issuer)))
		}
		resolved = append(resolved, route)
	}
	return resolved
}
