package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/agentidp/agentidp/internal/policy"
)

// PolicyBundle feeds the policy from an OPA bundle at a URL, which is asked again and again whether it has changed. A bundle that cannot be fetched, read
// or compiled leaves the policy in force as it is. Policies do not age: the last good one stays, from disk after a restart, until there is another.
//
// Nothing is known about the order of revisions: whatever the URL serves is taken, an older bundle too, and who may write there decides who gets in.
type PolicyBundle struct {
	env    *Env
	url    string
	getter Getter
	disk   *LastGood
	every  time.Duration
	cfg    policy.Config
	build  Compiler
	slot   Slot
	health *health

	// Owned by the goroutine of Run (and by Load, before it).
	etag     string            // of the bundle judged last
	judged   [sha256.Size]byte // what was judged last, good or not
	problem  error             // why it is not in force; nil when it is
	failures int               // to fetch, in a row
}

const kindPolicy = "policy"

// NewPolicyBundle makes the feed of the policy that decides.
func NewPolicyBundle(env *Env, url string, getter Getter, disk *LastGood, every time.Duration, cfg policy.Config) *PolicyBundle {
	return &PolicyBundle{env: env, url: url, getter: getter, disk: disk, every: every, cfg: cfg, build: compileWithin(cfg), slot: inForce{env}, health: newHealth(env, kindPolicy, "")}
}

// Name implements Feed.
func (f *PolicyBundle) Name() string { return "policy of " + f.url }

// Load implements Feed: the last good bundle on disk.
func (f *PolicyBundle) Load(ctx context.Context) error {
	r, err := f.disk.load(kindPolicy, "", f.url)
	if errors.Is(err, errNoRecord) {
		return nil
	}
	if err != nil {
		f.health.bad(ctx, resultFailed, err)
		return nil
	}
	if f.judge(ctx, r.Body, r.ETag); f.problem == nil {
		f.health.lastSuccess = earlier(r.FetchedAt, f.env.Now())
	}
	return nil
}

// Run implements Feed.
func (f *PolicyBundle) Run(ctx context.Context) error { return follow(ctx, f.slot, 0, f.refresh) }

// refresh asks once and returns when to ask again.
func (f *PolicyBundle) refresh(ctx context.Context) time.Duration {
	doc, err := f.getter.Get(ctx, f.url, f.etag)
	if ctx.Err() != nil {
		return f.every // the end, not a failure
	}
	if err != nil {
		f.failures++
		f.health.bad(ctx, resultFailed, err)
		return retryDelay(f.failures)
	}
	f.failures = 0
	switch {
	case !doc.NotModified && sha256.Sum256(doc.Body) != f.judged:
		if f.judge(ctx, doc.Body, doc.ETag); f.problem == nil && ctx.Err() == nil {
			f.health.good(ctx, resultChanged)
			f.keep(ctx, doc.Body)
		}
	case f.problem != nil:
		f.etag = doc.ETag
		f.health.bad(ctx, resultRefused, f.problem)
	default:
		f.etag = doc.ETag
		f.health.good(ctx, resultUnchanged)
	}
	return time.Duration(float64(f.every) * (0.9 + 0.2*rand.Float64())) // not at the same moment as every other sidecar
}

// judge puts a bundle in force, or remembers and says why not.
func (f *PolicyBundle) judge(ctx context.Context, body []byte, etag string) {
	b, compiled, err := f.compile(ctx, body)
	if err != nil && ctx.Err() != nil {
		return // nobody wants to know any more
	}
	f.judged, f.etag, f.problem = sha256.Sum256(body), etag, err
	if err != nil {
		if errors.Is(err, errCompiling) {
			f.judged, f.etag = [sha256.Size]byte{}, "" // again
		}
		logProblems(ctx, f.health, err, "url", f.url)
		f.health.bad(ctx, resultRefused, err)
		return
	}
	old := f.slot.Load()
	f.slot.Store(compiled)
	if old != nil {
		old.Close() // requests that began with it end with it
	}
	f.health.log.InfoContext(ctx, "policy in force", "revision", compiled.Revision(), "bundle_revision", b.revision, "files", len(b.sources), "url", f.url)
}

func (f *PolicyBundle) compile(ctx context.Context, body []byte) (*unpacked, *policy.Policy, error) {
	b, err := readBundle(body)
	if err != nil {
		return nil, nil, fmt.Errorf("bundle: %w", err)
	}
	if b.regoV0 != nil && *b.regoV0 != f.cfg.RegoV0 {
		return nil, nil, errors.New("bundle: its manifest names another rego_version than policy.regoVersion")
	}
	compiled, err := f.build(ctx, b.sources)
	if err != nil {
		return nil, nil, err
	}
	if err := policy.CheckRoots(b.sources, b.roots, f.cfg); err != nil {
		compiled.Close()
		return nil, nil, err
	}
	return b, compiled, nil
}

func (f *PolicyBundle) keep(ctx context.Context, body []byte) {
	err := f.disk.save(&record{Kind: kindPolicy, URL: f.url, ETag: f.etag, FetchedAt: f.env.Now(), Body: body})
	if err != nil {
		f.health.log.ErrorContext(ctx, "last good policy could not be kept on disk", "err", err)
	}
}
