package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"slices"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/smallfile"
)

const (
	// policyPoll is how often the directory is read; a directory that is slow to read is read less often, so that reading takes at
	// most one part in policyPollShare of the time.
	policyPoll      = 500 * time.Millisecond
	policyPollShare = 50
	// policySettle is how long changed contents must stay the same before they are judged: an editor, a copy or a checkout
	// is not caught half done.
	policySettle = 100 * time.Millisecond

	compileTimeout = 30 * time.Second
	problemsLogMax = 20
)

// PolicyDir feeds the policy from a directory. It polls contents, which works the same on a laptop and with the symbolic links of a
// Kubernetes mount. Contents that do not compile leave the policy in force as it is.
type PolicyDir struct {
	now     func() time.Time
	dir     string
	files   *smallfile.Follower[[]policy.Source]
	every   time.Duration // how often the directory is read, at most
	compile Compiler
	slot    Slot
	health  *health
	// optional says that there may be no policy: a candidate nobody is decided by.
	optional bool

	// Owned by the goroutine of Run (and by Load, before it).
	judged  [sha256.Size]byte // contents judged last, good or not
	pending [sha256.Size]byte // changed contents that have yet to settle
	problem error             // why the judged contents are not in force; nil when they are
}

// Compiler makes a policy of its sources.
type Compiler func(ctx context.Context, sources []policy.Source) (*policy.Policy, error)

// errCompiling is why an edit is not compiled yet. It will be.
var errCompiling = errors.New("waits for an earlier edit, which is still being compiled")

// compileWithin gives up after compileTimeout. What it gave up goes on, since OPA's compiler cannot be interrupted; until it has ended
// nothing else is compiled, so that edits take one processor at most.
func compileWithin(cfg policy.Config) Compiler {
	return oneAtATime(func(ctx context.Context, sources []policy.Source) (*policy.Policy, error) {
		return decide.Compile(ctx, sources, cfg)
	})
}

func oneAtATime(compile Compiler) Compiler {
	type outcome struct {
		policy *policy.Policy
		err    error
	}
	busy := make(chan struct{}, 1)
	return func(ctx context.Context, sources []policy.Source) (*policy.Policy, error) {
		select {
		case busy <- struct{}{}:
		default:
			return nil, errCompiling
		}
		done, left := make(chan outcome), make(chan struct{})
		defer close(left)
		go func() {
			p, err := compile(context.WithoutCancel(ctx), sources)
			<-busy
			select {
			case done <- outcome{p, err}:
			case <-left:
				if p != nil {
					p.Close()
				}
			}
		}()
		timer := time.NewTimer(compileTimeout)
		defer timer.Stop()
		select {
		case got := <-done:
			return got.policy, got.err
		case <-timer.C:
			return nil, fmt.Errorf("not compiled within %s, and nothing else is before it ends; the largest file is %s", compileTimeout, largest(sources))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func largest(sources []policy.Source) string {
	return slices.MaxFunc(sources, func(a, b policy.Source) int { return cmp.Compare(len(a.Data), len(b.Data)) }).Name
}

// Slot is where a policy is put. An *atomic.Pointer[policy.Policy] is one.
type Slot interface {
	Load() *policy.Policy // nil when there is none
	Store(*policy.Policy)
}

// inForce is the slot of the policy that decides.
type inForce struct{ env *Env }

// Load implements Slot.
func (s inForce) Load() *policy.Policy { return s.env.Store.Load().Policy }

// Store implements Slot.
func (s inForce) Store(p *policy.Policy) {
	if s.env.UsePolicy != nil {
		s.env.UsePolicy(p)
	}
	s.env.Store.Update(func(s *state.Snapshot) { s.Policy = p })
}

// NewPolicyDir makes the feed of the policy that decides.
func NewPolicyDir(env *Env, dir string, cfg policy.Config) *PolicyDir {
	return &PolicyDir{now: env.Now, dir: dir, files: followDir(dir), every: policyPoll, compile: compileWithin(cfg), slot: inForce{env}, health: newHealth(env, "policy", "")}
}

// NewCandidateDir makes the feed of a policy that is only compared. It never keeps the process from starting.
func NewCandidateDir(env *Env, dir string, cfg policy.Config, slot Slot) *PolicyDir {
	return &PolicyDir{now: env.Now, dir: dir, files: followDir(dir), every: policyPoll, compile: compileWithin(cfg), slot: slot, health: newHealth(env, "shadow", ""), optional: true}
}

// NewOrganizationCandidateDir is NewCandidateDir for a candidate of an organization's own policy, about which there are no metrics of its own.
func NewOrganizationCandidateDir(env *Env, dir, organization string, cfg policy.Config, slot Slot) *PolicyDir {
	return &PolicyDir{
		now: env.Now, dir: dir, files: followDir(dir), every: privatePoll, compile: compileWithin(cfg), slot: slot, optional: true,
		health: &health{feed: "shadow", now: env.Now, log: env.Log.With("feed", "shadow", "organization", organization)},
	}
}

// Private is a policy directory of one of many, about which there are no metrics of its own.
type Private struct {
	Dir     string
	Compile Compiler
	Slot    Slot
	Log     *slog.Logger // says whose it is
	Now     func() time.Time
	// Judged is told of each read, and whether what is in the directory is in force.
	Judged func(inForce bool)
}

// privatePoll is policyPoll for directories of which there are many.
const privatePoll = time.Second

// NewPrivateDir makes the feed of such a directory. It never keeps the process from starting.
func NewPrivateDir(p Private) *PolicyDir {
	f := &PolicyDir{
		now: p.Now, dir: p.Dir, files: followDir(p.Dir), every: privatePoll, compile: p.Compile, slot: p.Slot, optional: true,
		health: &health{now: p.Now, log: p.Log},
	}
	f.health.heard = func(result string) { p.Judged(result == resultChanged || result == resultUnchanged) }
	return f
}

func followDir(dir string) *smallfile.Follower[[]policy.Source] {
	return smallfile.Follow(dir, func() ([]policy.Source, error) { return policy.ReadDir(dir) })
}

// Problem is why the contents judged last are not in force; nil when they are. It is for whoever runs the feed, and for Judged.
func (f *PolicyDir) Problem() error { return f.problem }

// Name implements Feed.
func (f *PolicyDir) Name() string { return f.health.feed }

// Load implements Feed; it fails when the directory holds no policy that compiles.
func (f *PolicyDir) Load(ctx context.Context) error {
	sources, err := f.files.Read(ctx)
	if err != nil && !f.optional {
		return err
	}
	f.judge(ctx, digest(sources, err), sources, err)
	if f.optional {
		return nil
	}
	return f.problem
}

// Run implements Feed.
func (f *PolicyDir) Run(ctx context.Context) error { return follow(ctx, f.slot, f.every, f.poll) }

// follow looks at the source of a policy until ctx ends: first after a while, then after as long as each look says. The policy in force is closed when it returns; what uses it should have
// ended by then.
func follow(ctx context.Context, slot Slot, first time.Duration, look func(context.Context) time.Duration) error {
	timer := time.NewTimer(first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			if inForce := slot.Load(); inForce != nil {
				inForce.Close()
			}
			return nil
		case <-timer.C:
			timer.Reset(look(ctx))
		}
	}
}

// poll reads the directory once and returns when to do it again.
func (f *PolicyDir) poll(ctx context.Context) time.Duration {
	began := f.now()
	sources, err := f.files.Read(ctx)
	if ctx.Err() != nil {
		return f.every // the end, not a failure
	}
	next := f.every
	if !errors.Is(err, smallfile.ErrNoAnswer) {
		next = max(next, policyPollShare*f.now().Sub(began))
	}
	sum := digest(sources, err)
	switch {
	case sum == f.judged && f.problem == nil:
		f.health.good(ctx, resultUnchanged)
	case sum == f.judged:
		f.health.bad(ctx, resultRefused, f.problem)
	case sum != f.pending:
		f.pending = sum
		return policySettle
	default:
		f.judge(ctx, sum, sources, err)
	}
	f.pending = f.judged
	return next
}

// judge puts contents in force, or remembers and says why not.
func (f *PolicyDir) judge(ctx context.Context, sum [sha256.Size]byte, sources []policy.Source, readErr error) {
	f.judged = sum
	if readErr != nil {
		f.problem = readErr
		f.health.bad(ctx, resultFailed, readErr)
		return
	}
	compiled, err := f.compile(ctx, sources)
	if f.problem = err; err != nil {
		if ctx.Err() != nil {
			return // nobody wants to know any more
		}
		if errors.Is(err, errCompiling) {
			f.judged = [sha256.Size]byte{} // again
		}
		logProblems(ctx, f.health, err, "dir", f.dir)
		f.health.bad(ctx, resultRefused, err)
		return
	}
	old := f.slot.Load()
	f.slot.Store(compiled)
	if old != nil {
		old.Close() // requests that began with it end with it
	}
	f.health.good(ctx, resultChanged)
	f.health.log.InfoContext(ctx, "policy in force", "revision", compiled.Revision(), "files", len(sources), "dir", f.dir)
}

// logProblems names file and line of each finding, one log line each.
func logProblems(ctx context.Context, h *health, err error, where ...any) {
	var compileError *policy.CompileError
	if !errors.As(err, &compileError) {
		return
	}
	for i, p := range compileError.Problems {
		if i == problemsLogMax {
			h.log.ErrorContext(ctx, "policy refused, more findings left out", "findings", len(compileError.Problems))
			return
		}
		h.log.ErrorContext(ctx, "policy refused", append([]any{"file", p.File, "line", p.Line, "err", p.Message}, where...)...)
	}
}

// digest identifies contents, or the reason why there are none. Names and contents are length-prefixed, so none runs into the next.
func digest(sources []policy.Source, err error) [sha256.Size]byte {
	h := sha256.New()
	if err != nil {
		fmt.Fprintf(h, "error: %v", err)
	}
	for _, s := range sources {
		writeField(h, []byte(s.Name))
		writeField(h, s.Data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func writeField(h hash.Hash, b []byte) {
	_ = binary.Write(h, binary.BigEndian, uint64(len(b)))
	_, _ = h.Write(b)
}
