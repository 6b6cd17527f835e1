package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// The policies, as clients and metrics read them.
const (
	PolicyClient         = "client"
	PolicySource         = "source"
	PolicyOrganization   = "organization"
	PolicyInstance       = "instance"
	PolicyAuthentication = "authentication" // failed ones
	PolicyDocuments      = "documents"
)

// suspectFor is how long a source with a failed authentication is not trusted while failures are beyond the instance's limit.
const suspectFor = time.Minute

// idBytesMax is the length of the ids that we make.
const idBytesMax = 36

// Limits of an instance.
type Limits struct {
	Client       Limit // of each client
	Source       Limit // of each source
	Organization Limit // of each organization that has no limit of its own
	Instance     Limit

	// Failed authentications: of one client from one source, of one source, and of all.
	FailuresOfClient   Limit
	FailuresOfSource   Limit
	FailuresOfInstance Limit

	// Documents that everybody may read, of each source and of all: counted by this process alone, because that is what they cost.
	Documents           Limit
	DocumentsOfInstance Limit
}

// Defaults are far above what an agent needs: its token is good for minutes. Documents of one source are enough for 2,500 sidecars behind one address, each of
// which asks for the revocation list once a second.
func Defaults() Limits {
	return Limits{
		Client: Limit{1_200, 200}, Source: Limit{6_000, 1_000}, Organization: Limit{30_000, 5_000}, Instance: Limit{600_000, 20_000},
		FailuresOfClient: Limit{6, 10}, FailuresOfSource: Limit{60, 100}, FailuresOfInstance: Limit{6_000, 2_000},
		Documents: Limit{180_000, 9_000}, DocumentsOfInstance: Limit{1_200_000, 60_000},
	}
}

// OrganizationLimits are what an organization was given; a zero limit is the instance's.
type OrganizationLimits struct {
	Organization Limit // all of its clients together
	Client       Limit // each of them
}

// Organizations knows the limits of organizations. It is asked for each request, and has an answer without waiting for long: what is not known is zero.
type Organizations interface {
	LimitsOf(ctx context.Context, id agentid.Organization) OrganizationLimits
}

// Gate applies Limits to requests. It is safe for concurrent use.
type Gate struct {
	limiter       *Limiter
	limits        Limits
	organizations Organizations
	now           func() time.Time

	barred   *notes // sources, and clients from a source
	suspects *notes // sources with a failed authentication
	strict   atomic.Int64
	refused  *prometheus.CounterVec
}

// NewGate returns a Gate over a limiter, which it does not close.
func NewGate(limiter *Limiter, limits Limits, organizations Organizations, reg prometheus.Registerer, now func() time.Time) *Gate {
	g := &Gate{limiter: limiter, limits: limits, organizations: organizations, now: now, barred: newNotes(), suspects: newNotes()}
	g.register(reg)
	return g
}

// request is what the Gate knows of one request. It belongs to the request's goroutine.
type request struct {
	header  http.Header
	source  string
	counted bool
	failed  bool   // an authentication failed
	client  string // which one claimed to be; "" when a token alone was presented
}

type requestKey struct{}

// Protect bars sources that are beyond a limit, and counts every request of the handler once: under its client where it was authenticated, else under its source
// alone. Refusals are written in the form that the route's clients read.
func (g *Gate) Protect(refuse Form, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{header: w.Header(), source: sourceOf(web.Source(r.Context()))}
		if err := g.bars(q, PolicySource, q.source); err != nil {
			refuse(w, r, err)
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), requestKey{}, q)))
		g.conclude(r.Context(), q)
	}
}

// ProtectDocument is Protect for documents: nothing is tried out there, so who is barred for failures still gets them, and whoever gets them takes nothing from the
// source's other requests. A fleet whose address somebody guesses from goes on hearing of revocations.
func (g *Gate) ProtectDocument(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		source := sourceOf(web.Source(r.Context()))
		checks := []Check{{PolicyDocuments, "d:" + source, g.limits.Documents}, {PolicyDocuments, "di", g.limits.DocumentsOfInstance}}
		for i, c := range g.limiter.local.take(together, checks, g.now().Sub(g.limiter.start)) {
			if c.Late > 0 {
				AsProblem(w, r, g.refuse(&request{header: w.Header()}, PolicyDocuments, checks[i].Limit, c.Late))
				return
			}
		}
		next(w, r)
	}
}

// Admit is asked before a client is authenticated, or with "" before a token is looked at. It refuses a source that has guessed too often at this client; the client
// itself is admitted from everywhere else.
func (g *Gate) Admit(ctx context.Context, client string) error {
	q, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return nil // not a route of Protect
	}
	q.client = client
	if client != "" {
		if err := g.bars(q, PolicyAuthentication, q.attempt()); err != nil {
			return err
		}
	}
	if strict := time.Duration(g.strict.Load()) - g.now().Sub(g.limiter.start); strict > 0 && g.suspects.left(q.source, g.now()) > 0 {
		return g.refuse(q, PolicyAuthentication, g.limits.FailuresOfInstance, strict)
	}
	return nil
}

// Failed is told of an authentication that failed; with "", of a token that was not good.
func (g *Gate) Failed(ctx context.Context, client string) {
	if q, ok := ctx.Value(requestKey{}).(*request); ok {
		q.failed, q.client = true, client
	}
}

// Authenticated counts a request of a client that has proven itself: under its organization too, if it has one. Its error is the answer.
func (g *Gate) Authenticated(ctx context.Context, client string, org agentid.Organization) error {
	q, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return nil
	}
	var own OrganizationLimits
	if !org.IsZero() {
		own = g.organizations.LimitsOf(ctx, org)
	}
	checks := []Check{
		{PolicyClient, "c:" + short(client), either(own.Client, g.limits.Client)},
		{PolicySource, "s:" + q.source, g.limits.Source},
		{PolicyInstance, "i", g.limits.Instance},
	}
	if !org.IsZero() {
		checks = slices.Insert(checks, 1, Check{PolicyOrganization, "o:" + org.String(), either(own.Organization, g.limits.Organization)})
	}
	q.counted = true
	return g.judge(q, checks, g.limiter.take(ctx, together, checks...))
}

func either(own, standard Limit) Limit {
	if own.IsZero() {
		return standard
	}
	return own
}

// judge refuses by the limit that takes longest, and tells the client of the one it will meet first.
func (g *Gate) judge(q *request, checks []Check, counts []Count) error {
	worst, tightest := -1, 0
	for i, c := range counts {
		if c.Late > 0 && (worst < 0 || c.Late > counts[worst].Late) {
			worst = i
		}
		if c.remaining(checks[i].Limit) < counts[tightest].remaining(checks[tightest].Limit) {
			tightest = i
		}
	}
	if worst < 0 {
		describe(q.header, checks[tightest].Policy, checks[tightest].Limit, counts[tightest].remaining(checks[tightest].Limit), counts[tightest].Used)
		return nil
	}
	if checks[worst].Policy == PolicySource {
		g.barred.add(q.source, g.now().Add(counts[worst].Late), g.now())
	}
	return g.refuse(q, checks[worst].Policy, checks[worst].Limit, counts[worst].Late)
}

// conclude counts what is known of a request only after it was answered: that nobody was authenticated by it, or that somebody failed to be. The next one is barred.
func (g *Gate) conclude(ctx context.Context, q *request) {
	var checks []Check
	var bars []string // who is barred by each
	count := func(policy, key string, l Limit, who string) {
		checks, bars = append(checks, Check{policy, key, l}), append(bars, who)
	}
	if !q.counted {
		count(PolicySource, "s:"+q.source, g.limits.Source, q.source)
		count(PolicyInstance, "i", g.limits.Instance, "")
	}
	if q.failed {
		count(PolicyAuthentication, "fi", g.limits.FailuresOfInstance, "")
		count(PolicyAuthentication, "fs:"+q.source, g.limits.FailuresOfSource, q.source)
		if q.client != "" {
			count(PolicyAuthentication, "fc:"+q.attempt(), g.limits.FailuresOfClient, q.attempt())
		}
	}
	if len(checks) == 0 {
		return
	}
	counts, now := g.limiter.take(ctx, apart, checks...), g.now()
	if q.failed {
		g.suspects.add(q.source, now.Add(suspectFor), now)
	}
	for i, c := range counts {
		switch {
		case bars[i] != "":
			g.bar(bars[i], checks[i].Limit, c, now)
		case checks[i].Policy == PolicyAuthentication && c.remaining(checks[i].Limit) == 0:
			g.strict.Store(int64(now.Add(checks[i].Limit.interval()).Sub(g.limiter.start)))
		}
	}
}

// bar notes who has used a limit up, until one more is within it.
func (g *Gate) bar(name string, l Limit, c Count, now time.Time) {
	switch {
	case c.Late > 0:
		g.barred.add(name, now.Add(c.Late), now)
	case c.remaining(l) == 0:
		g.barred.add(name, now.Add(l.interval()), now)
	}
}

func (g *Gate) bars(q *request, policy, name string) *oauth.Error {
	if left := g.barred.left(name, g.now()); left > 0 {
		limit := g.limits.FailuresOfClient
		if policy == PolicySource {
			limit = g.limits.Source
		}
		return g.refuse(q, policy, limit, left)
	}
	return nil
}

// attempt names a client as somebody who may be anybody claims to be it. What was claimed is not repeated, and has one length.
func (q *request) attempt() string { return digest(q.client) + "@" + q.source }

// short is a client_id, or what stands for one that is a URL: keys have one length, whatever clients are called.
func short(client string) string {
	if len(client) <= idBytesMax {
		return client
	}
	return digest(client)
}

func digest(text string) string {
	hash := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(hash[:16])
}

// sourceOf is who is counted as one source: an IPv4 address, or the /64 that one IPv6 subscriber has at least (RFC 6177 s2).
func sourceOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).Masked().String()
}
