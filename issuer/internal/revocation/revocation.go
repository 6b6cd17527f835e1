// Package revocation publishes the list of what sidecars must refuse.
package revocation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// reuse is how long one rendering serves everybody who asks: a thousand sidecars polling each second then cost five queries a second, and a
// revocation reaches them within their poll interval plus this.
const reuse = 200 * time.Millisecond

// Source renders the current list. postgres.Store implements it.
type Source interface {
	RevocationList(ctx context.Context, issuer string, org agentid.Organization) (*trust.RevocationList, error)
}

// List serves GET /revocations, and that of each organization's issuer.
type List struct {
	source Source
	issuer string // of the instance, whose list has everything
	now    func() time.Time

	mu         sync.Mutex
	renderings map[string]*rendering // by issuer
}

// renderingsMax bounds the issuers whose last rendering is kept.
const renderingsMax = 4096

// rendering is the list of one issuer.
type rendering struct {
	mu       sync.Mutex // held while rendering: concurrent requests wait for one query instead of making their own
	rendered time.Time
	document web.Document
	list     *trust.RevocationList
	index    *trust.Revocations // of list; nil until somebody asks
}

// New returns the lists of the instance's issuer and of the organizations'.
func New(source Source, issuer string, now func() time.Time) *List {
	return &List{source: source, issuer: issuer, now: now, renderings: make(map[string]*rendering)}
}

// GetRevocations answers with the list, or with 304 when the client has it. When the list cannot be rendered the answer is 503, never an old list: the
// sidecar must know that it does not know.
func (l *List) GetRevocations(w http.ResponseWriter, r *http.Request) {
	document, _, err := l.current(r.Context(), issuers.From(r.Context()))
	if err != nil {
		web.Fail(w, r, &problem.Error{Kind: problem.Unavailable, Detail: "The revocation list cannot be read right now.", RetryAfter: time.Second, Err: err})
		return
	}
	document.Serve(w, r)
}

// GetOrganizationRevocations answers with the list of an organization's issuer.
func (l *List) GetOrganizationRevocations(w http.ResponseWriter, r *http.Request) {
	l.GetRevocations(w, r)
}

func (l *List) of(issuer string) *rendering {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.renderings[issuer]
	if !ok {
		if len(l.renderings) >= renderingsMax {
			clear(l.renderings)
		}
		r = &rendering{}
		l.renderings[issuer] = r
	}
	return r
}

func (l *List) current(ctx context.Context, issuer issuers.Issuer) (web.Document, *rendering, error) {
	r := l.of(issuer.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := l.now()
	if age := now.Sub(r.rendered); age >= 0 && age < reuse && r.document.Body != nil {
		return r.document, r, nil
	}
	list, err := l.source.RevocationList(ctx, issuer.ID, issuer.Organization)
	if err != nil {
		return web.Document{}, nil, err
	}
	document, err := render(*list)
	if err != nil {
		return web.Document{}, nil, err
	}
	if r.list == nil || document.ETag != r.document.ETag {
		r.list, r.index = list, nil
	}
	r.rendered, r.document = now, document
	return document, r, nil
}

// Revoked asks the list what it says about a token: facts of the token, and of each actor in it. The answer is what revokes it, "" for nothing. What this
// list does not say no sidecar knows.
func (l *List) Revoked(ctx context.Context, facts ...trust.Facts) (string, error) {
	index, err := l.indexed(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range facts {
		if what := index.Check(&f); what != "" {
			return what, nil
		}
	}
	return "", nil
}

func (l *List) indexed(ctx context.Context) (*trust.Revocations, error) {
	_, r, err := l.current(ctx, issuers.Issuer{ID: l.issuer})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.index == nil {
		r.index = trust.Index(r.list)
	}
	return r.index, nil
}

// render tags the list by its contents without issuedAt, weakly (RFC 9110 s8.8.1): two renderings of the same state differ in nothing else.
func render(list trust.RevocationList) (web.Document, error) {
	body, err := json.Marshal(list)
	if err != nil {
		return web.Document{}, fmt.Errorf("encode the revocation list: %w", err)
	}
	list.IssuedAt = 0
	contents, err := json.Marshal(list)
	if err != nil {
		return web.Document{}, fmt.Errorf("encode the revocation list: %w", err)
	}
	return web.Document{ContentType: "application/json", CacheControl: "no-cache", ETag: "W/" + web.ContentTag(contents), Body: body}, nil
}
