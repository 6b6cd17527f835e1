package revocation

import (
	"context"
	"errors"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// source renders what it is given and counts.
type source struct {
	rendered atomic.Int64
	list     trust.RevocationList
	err      error
}

func (s *source) RevocationList(_ context.Context, issuer string, org agentid.Organization) (*trust.RevocationList, error) {
	s.rendered.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	l := s.list
	l.Issuer = issuer
	if !org.IsZero() {
		l.Agents = nil
	}
	return &l, nil
}

func get(l *List, tag string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/revocations", nil)
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	w := httptest.NewRecorder()
	l.GetRevocations(w, r.WithContext(issuers.With(r.Context(), issuers.Issuer{ID: "https://id.example.com"})))
	return w
}

func TestOneRenderingServesEverybodyForAMoment(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &source{list: trust.RevocationList{Sequence: 1, IssuedAt: 1000}}
	l := New(s, "https://id.example.com", func() time.Time { return now })
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() { get(l, "") })
	}
	asking.Wait()
	if n := s.rendered.Load(); n != 1 {
		t.Errorf("%d renderings for 50 requests", n)
	}
	now = now.Add(reuse - 1)
	get(l, "")
	if n := s.rendered.Load(); n != 1 {
		t.Errorf("rendered again after %s", reuse-1)
	}
	now = now.Add(1)
	get(l, "")
	if n := s.rendered.Load(); n != 2 {
		t.Errorf("not rendered again after %s", reuse)
	}
	now = now.Add(-time.Hour) // the clock was set back
	get(l, "")
	if n := s.rendered.Load(); n != 3 {
		t.Error("a clock set back keeps an old list alive")
	}
}

func TestTagNamesTheContents(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &source{list: trust.RevocationList{Sequence: 1, IssuedAt: 1000}}
	l := New(s, "https://id.example.com", func() time.Time { return now })
	first := get(l, "")
	if got, err := trust.ParseRevocationList(first.Body.Bytes()); err != nil || got.Sequence != 1 || got.Issuer != "https://id.example.com" {
		t.Fatalf("%s, %v", first.Body, err)
	}
	tag := first.Header().Get("ETag")
	now = now.Add(time.Minute)
	s.list.IssuedAt = 1060
	if again := get(l, tag); again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("the same list a minute later: %d %s", again.Code, again.Body)
	}
	now = now.Add(time.Minute)
	s.list.Agents = []trust.Agent{{ID: "agt_1"}}
	if changed := get(l, tag); changed.Code != 200 || changed.Header().Get("ETag") == tag {
		t.Errorf("another list: %d %v", changed.Code, changed.Header())
	}
}

// A sidecar must know that it does not know: no old list, and the next request tries again.
func TestFailureIsNotAnOldList(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &source{}
	l := New(s, "https://id.example.com", func() time.Time { return now })
	tag := get(l, "").Header().Get("ETag")
	now = now.Add(time.Second)
	s.err = errors.New("canary: connection refused")
	if w := get(l, tag); w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Header().Get("ETag") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	s.err = nil
	if w := get(l, tag); w.Code != 304 {
		t.Errorf("after the failure: %d", w.Code)
	}
}

// Each issuer has a list of its own, also while another's rendering is reused.
func TestIssuersHaveTheirOwnList(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	s := &source{list: trust.RevocationList{Sequence: 1, Agents: []trust.Agent{{ID: "agt_1"}}}}
	l := New(s, "https://id.example.com", func() time.Time { return now })
	get(l, "")
	of := issuers.Issuer{ID: "https://id.example.com/o/acme", Organization: agentid.New[agentid.Organization]()}
	r := httptest.NewRequest("GET", "/o/acme/revocations", nil)
	w := httptest.NewRecorder()
	l.GetOrganizationRevocations(w, r.WithContext(issuers.With(r.Context(), of)))
	if got, err := trust.ParseRevocationList(w.Body.Bytes()); err != nil || got.Issuer != of.ID || len(got.Agents) != 0 {
		t.Errorf("%s, %v", w.Body, err)
	}
	for i := range 2 * renderingsMax {
		l.of(string(rune(i)))
	}
	if n := len(l.renderings); n > renderingsMax {
		t.Errorf("%d renderings are kept", n)
	}
}
