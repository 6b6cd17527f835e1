package orgpolicy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/smallfile"
)

// Errors of Await. Both mean "cannot decide".
var (
	ErrLoading = errors.New("the organization's policy is not compiled yet")
	ErrBroken  = errors.New("the organization's policy does not compile") // wrapped with the cause
)

// Config says where policies are, and how much there may be of them.
type Config struct {
	Dir      string        // of one folder for each organization
	Policy   policy.Config // of each; no routes, no tokens
	Max      int           // policies compiled at a time
	BytesMax int64         // memory for them: see Estimate
	Log      *slog.Logger
	Now      func() time.Time
}

// Set is the policies of all organizations. It is safe for concurrent use.
type Set struct {
	cfg       Config
	cache     *decide.Cache // nil: no decisions are remembered
	directory *smallfile.Follower[listing]
	compile   func(context.Context, []policy.Source, policy.Config) (*policy.Policy, error)
	folders   atomic.Pointer[map[string]*Organization] // never written to
	slots     chan struct{}                            // of compilations
	slow      atomic.Int32                             // compilations that gave their slot back before they ended
	waits     waits

	mu        sync.Mutex
	residents map[*residency]struct{}
	missing   map[string]time.Time // since when a folder is not there
	ended     bool
	ctx       context.Context // ends with Close
	end       context.CancelFunc
	running   sync.WaitGroup

	compiled, refused, evicted atomic.Uint64
}

// New returns a Set that knows no organization yet: see Load. Close it.
func New(cfg Config) *Set {
	cfg.Policy.Routes, cfg.Policy.TokenBuiltins, cfg.Policy.OwnCaches = nil, false, true
	s := &Set{
		cfg: cfg, directory: smallfile.Follow(cfg.Dir, func() (listing, error) { return scan(cfg.Dir) }), compile: decide.Compile, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), waits: usualWaits,
		residents: map[*residency]struct{}{}, missing: map[string]time.Time{},
	}
	s.folders.Store(&map[string]*Organization{})
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Remember lets decisions be remembered in a cache. It is called before the first request.
func (s *Set) Remember(c *decide.Cache) {
	if s != nil {
		s.cache = c
	}
}

// Find returns the organization with this id, or nil when it has no policy of its own.
func (s *Set) Find(id string) *Organization {
	if s == nil {
		return nil
	}
	return (*s.folders.Load())[id]
}

// Resident returns, also of no Set at all, the policy of an organization if it is compiled, of this revision, and waits for nothing; else nil.
func (s *Set) Resident(id, revision string) *policy.Policy {
	o := s.Find(id)
	if o == nil {
		return nil
	}
	if r := o.current.Load(); r != nil {
		if v := r.verdict.Load(); v != nil && v.policy != nil && v.policy.Revision() == revision {
			return v.policy.Policy
		}
	}
	return nil
}

// Close ends everything, of a nil Set nothing, and returns when it has ended. Find and Await do no harm after it.
func (s *Set) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
}

// admit makes an organization a resident, if need be in the place of another. It returns nil when there is nothing to be had any more.
func (s *Set) admit(o *Organization) *residency {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := o.current.Load(); r != nil {
		return r
	}
	if s.ended || o.gone {
		return nil
	}
	ctx, end := context.WithCancel(s.ctx)
	r := &residency{organization: o, end: end, first: make(chan struct{}), slowed: make(chan struct{})}
	o.current.Store(r)
	s.residents[r] = struct{}{}
	s.shrink(r)
	s.running.Go(func() { s.follow(ctx, r) })
	return r
}

// follow compiles the policy and keeps it current until ctx ends.
func (s *Set) follow(ctx context.Context, r *residency) {
	log := s.cfg.Log.With("feed", "organizations", "organization", r.organization.id)
	var dir *feed.PolicyDir
	dir = feed.NewPrivateDir(feed.Private{
		Dir: filepath.Join(s.cfg.Dir, r.organization.id), Slot: r, Log: log, Now: s.cfg.Now,
		Compile: func(ctx context.Context, sources []policy.Source) (*policy.Policy, error) {
			return s.compileFor(ctx, r, sources)
		},
		Judged: func(inForce bool) { r.judged(inForce, dir.Problem()) },
	})
	_ = dir.Load(ctx) // what is wrong is in the log, and in the verdict
	close(r.first)
	_ = dir.Run(ctx)
	r.keepQuarantine()
}

// shrink evicts what was not used for longest, except keep, until the rest fits. Those come last that hold a policy which could not be
// compiled again: their folder is broken, and the last good one is here alone.
func (s *Set) shrink(keep *residency) {
	var bytes int64
	for r := range s.residents {
		bytes += r.bytes.Load()
	}
	if len(s.residents) <= s.cfg.Max && bytes <= s.cfg.BytesMax {
		return
	}
	for _, r := range slices.SortedFunc(maps.Keys(s.residents), func(a, b *residency) int {
		return cmp.Or(cmp.Compare(a.stale.Load(), b.stale.Load()), cmp.Compare(a.organization.used.Load(), b.organization.used.Load()))
	}) {
		if len(s.residents) <= s.cfg.Max && bytes <= s.cfg.BytesMax {
			return
		}
		if r != keep {
			bytes -= r.bytes.Load()
			s.evicted.Add(1)
			s.remove(r)
		}
	}
}

// remove ends a residency. Evaluations under way end as they would have: see policy.Policy.Close.
func (s *Set) remove(r *residency) {
	r.organization.current.CompareAndSwap(r, nil)
	delete(s.residents, r)
	r.end()
}

// check refuses what alone would take more than there is.
func (s *Set) check(bytes int64) error {
	if bytes > s.cfg.BytesMax {
		return fmt.Errorf("the policy would take up to %d MiB of memory, and all organizations together have %d MiB", bytes>>20+1, s.cfg.BytesMax>>20)
	}
	return nil
}
