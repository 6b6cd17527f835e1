package issuers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/changecache"
	"github.com/agentidp/agentidp/issuer/internal/orgs"
)

// register counts how often it is asked.
type register struct {
	asked int
	known map[string]orgs.Organization
}

func (r *register) OrganizationBySlug(_ context.Context, slug string) (orgs.Organization, error) {
	r.asked++
	if o, ok := r.known[slug]; ok {
		return o, nil
	}
	return orgs.Organization{}, &problem.Error{Kind: problem.NotFound}
}

// Who has no issuer is looked up once in a while, is found soon after being registered, and drives out nobody who has one.
func TestMissesAreRemembered(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	clock, always := func() time.Time { return now }, func() bool { return true }
	acme := orgs.Organization{ID: agentid.New[agentid.Organization]()}
	r := &register{known: map[string]orgs.Organization{"acme": acme}}
	s := &Set{
		cfg:    Config{Organizations: r},
		slugs:  changecache.New[string, agentid.Organization](slugsMax, slugsLife, always, clock),
		misses: changecache.New[string, struct{}](slugsMax, missesLife, always, clock),
	}
	ask := func(slug string, found bool) {
		t.Helper()
		if _, err := s.bySlug(t.Context(), slug); (err == nil) != found || err != nil && problem.KindOf(err) != problem.NotFound {
			t.Errorf("%s: %v", slug, err)
		}
	}
	ask("acme", true)
	for range 100 {
		ask("nobody", false)
	}
	if r.asked != 2 {
		t.Errorf("asked %d times", r.asked)
	}
	for n := range 2 * slugsMax {
		ask(fmt.Sprintf("nobody-%d", n), false)
	}
	r.asked = 0
	ask("acme", true)
	if r.asked != 0 {
		t.Error("strangers drove an organization out")
	}
	r.known["nobody"] = acme
	now = now.Add(missesLife)
	ask("nobody", true)
}
