package decide

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/policy"
)

const (
	keyBytesMax      = 8 << 10  // requests with a longer key are decided anew
	decisionBytesMax = 16 << 10 // larger decisions are not remembered
	entryBytesFixed  = 512      // of an entry beside its key and its decision: an upper bound (TestCacheStaysWithinItsBytes)
	entryBytesUsual  = 1 << 10
	nodeBytes        = 64 // of each value in a decision, beside its text
)

// Cache remembers decisions. What is remembered was decided by the same policy about a request that agrees in everything
// this policy reads, and is no older than its maximum age; the rest is decided anew. Expiry, revocation and proof of
// possession are not its concern: they are checked before, on every request.
//
// It is sound by construction (docs/adr/0011): the key is made of the policy's read-set, and a policy that can call what
// changes by itself has none of its decisions remembered. Denials are remembered as allowances are. What was not decided
// (time-outs, errors, refused bodies) never is.
type Cache struct {
	entries *ristretto.Cache[[]byte, *entry]
	ageMax  time.Duration
	bound   atomic.Pointer[[]*binding] // never changed once it is there
	numbers atomic.Uint64
	keys    sync.Pool
	project func(policy.ReadSet) ([]part, []Obstacle)

	hits, misses atomic.Uint64
}

// entry is never changed once it is in the cache.
type entry struct {
	key      string
	decision *Decision
	until    int64 // Unix nanoseconds
}

// binding is what the cache knows about one policy. Its number is in every key, and no two have one number: decisions of
// a policy that was replaced are not found any more, and neither is the policy kept alive by them.
type binding struct {
	policy      Evaluator
	number      uint64
	parts       []part
	report      Cacheability
	allow, deny *Decision // the decisions of a boolean policy
	kept        kept
}

// Cacheability says whether the decisions of a policy are remembered.
type Cacheability struct {
	On        bool
	ReadSet   string // what the key is made of
	Obstacles []Obstacle
}

// NewCache remembers decisions in at most about bytesMax of memory, none for longer than ageMax. Both must be more than 0.
func NewCache(bytesMax int64, ageMax time.Duration) (*Cache, error) {
	// Random seeds: nobody can compute two requests that fall on one entry. find does not rely on it.
	first, second := maphash.MakeSeed(), maphash.MakeSeed()
	entries, err := ristretto.NewCache(&ristretto.Config[[]byte, *entry]{
		NumCounters:        max(1000, 10*bytesMax/entryBytesUsual), // ten per entry, as the library advises
		MaxCost:            bytesMax,
		BufferItems:        64, // the library's advice
		IgnoreInternalCost: true,
		KeyToHash: func(key []byte) (uint64, uint64) {
			return maphash.Bytes(first, key), maphash.Bytes(second, key)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("decision cache: %w", err)
	}
	return &Cache{
		entries: entries, ageMax: ageMax, project: project,
		keys: sync.Pool{New: func() any { return &key{bytes: make([]byte, 0, keyBytesMax/8)} }},
	}, nil
}

// Close stops the cache's goroutines. No call may follow.
func (c *Cache) Close() { c.entries.Close() }

// Counts returns how many decisions were remembered ones and how many were not, of policies whose decisions are.
func (c *Cache) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

// Decide is Decide of this package, from memory where it can be. A decision may be shared: it must not be changed.
func (c *Cache) Decide(ctx context.Context, p Evaluator, s Subject) (*Decision, *checkreq.Refusal, *Fault) {
	b := c.bind(p)
	if !b.report.On {
		return Decide(ctx, b.policy, s)
	}
	k := c.keys.Get().(*key)
	defer c.release(k)
	k.fill(b, &s)
	if d := c.find(k.bytes, s.Now); d != nil {
		c.hits.Add(1)
		return d, nil, nil
	}
	c.misses.Add(1)
	d, refusal, fault := Decide(ctx, b.policy, s)
	if d != nil {
		c.keep(b, k.bytes, d, &s)
	}
	return d, refusal, fault
}

// Recall is Decide where the decision is remembered; else it returns nil and has done nothing.
func (c *Cache) Recall(p Evaluator, s Subject) *Decision {
	b := c.bind(p)
	if !b.report.On {
		return nil
	}
	k := c.keys.Get().(*key)
	defer c.release(k)
	k.fill(b, &s)
	d := c.find(k.bytes, s.Now)
	if d != nil {
		c.hits.Add(1)
	}
	return d
}

// release keeps a buffer for the next request, unless one request made it unusually large.
func (c *Cache) release(k *key) {
	if cap(k.bytes) <= 2*keyBytesMax {
		c.keys.Put(k)
	}
}

// Use makes the cache ready for a policy and says whether its decisions will be remembered.
func (c *Cache) Use(p Evaluator) Cacheability { return c.bind(p).report }

// bind finds what is known of a policy, or finds it out. A policy and its routes are in force at a time, all of one revision; where two
// revisions are for a moment, both are found out again and again, which costs misses and nothing else.
func (c *Cache) bind(p Evaluator) *binding {
	if b, ok := p.(*binding); ok {
		return b
	}
	var known []*binding
	if bound := c.bound.Load(); bound != nil {
		known = *bound
	}
	for _, b := range known {
		if b.policy == p {
			return b
		}
	}
	b := c.newBinding(p)
	b.kept.max = keptMax
	next := []*binding{b}
	for _, other := range known[:min(len(known), boundMax-1)] {
		if sameRevision(other.policy, p) {
			next = append(next, other)
		}
	}
	c.bound.Store(&next)
	return b
}

func (c *Cache) newBinding(p Evaluator) *binding {
	b := &binding{policy: p, number: c.numbers.Add(1), allow: &Decision{Allowed: true, Result: true}, deny: &Decision{Result: false}}
	b.report, b.parts = c.judge(p)
	return b
}

// Bind returns the policy as this cache knows it, to be given to Decide and Recall in its place. It is for policies of which there are
// many: the cache holds nothing of them but decisions, and those of one are found again however many others are asked between.
func (c *Cache) Bind(p Evaluator) Evaluator {
	b := c.newBinding(p)
	b.kept.max = keptOfManyMax
	return b
}

// Eval implements Evaluator.
func (b *binding) Eval(ctx context.Context, input policy.Value) (any, error) {
	return b.policy.Eval(ctx, input)
}

// boundMax is more than a policy and its routes.
const boundMax = 32

func sameRevision(a, b Evaluator) bool {
	first, ok1 := a.(interface{ Revision() string })
	second, ok2 := b.(interface{ Revision() string })
	return ok1 && ok2 && first.Revision() == second.Revision()
}

func (c *Cache) judge(p Evaluator) (Cacheability, []part) {
	known, ok := p.(interface {
		ReadSet() policy.ReadSet
		Nondeterministic() []policy.Location
	})
	if !ok {
		return Cacheability{Obstacles: []Obstacle{{What: "it is not known what the policy reads"}}}, nil
	}
	report := Cacheability{ReadSet: known.ReadSet().String()}
	for _, call := range known.Nondeterministic() {
		report.Obstacles = append(report.Obstacles, Obstacle{call.String(), "calls " + call.Builtin + ", whose result changes by itself"})
	}
	parts, obstacles := c.project(known.ReadSet())
	report.Obstacles = append(report.Obstacles, obstacles...)
	report.On = len(report.Obstacles) == 0
	return report, parts
}

// find returns the decision for exactly this key, or nil. The library compares hashes; here every byte is compared.
func (c *Cache) find(key []byte, now time.Time) *Decision {
	e, ok := c.entries.Get(key)
	if !ok || e == nil || now.UnixNano() >= e.until || e.key != string(key) {
		return nil
	}
	return e.decision
}

// keep remembers a decision for as long as what it stands on does.
func (c *Cache) keep(b *binding, key []byte, d *Decision, s *Subject) {
	until := s.until(s.Now.Add(c.ageMax))
	life := until.Sub(s.Now)
	if life <= 0 || len(key) > keyBytesMax {
		return
	}
	size := resultBytes(d.Result)
	if size > decisionBytesMax {
		return
	}
	switch d.Result {
	case any(true):
		d = b.allow
	case any(false):
		d = b.deny
	default:
		// The decision may hold pieces of the request, and with them all of the message it came in: make one that does not.
		var err error
		if d, err = b.kept.one(d.Result); err != nil {
			return
		}
	}
	c.entries.SetWithTTL(key, &entry{string(key), d, until.UnixNano()}, int64(entryBytesFixed+len(key)+2*size), life)
}

// until is when the token, the keys that verified it or the revocations it was checked against can no longer be relied
// on, at the latest at the given time.
func (s *Subject) until(latest time.Time) time.Time {
	if s.Identity == nil || s.Issuer == nil {
		return latest
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(latest) {
			latest = t
		}
	}
	earlier(time.Unix(s.Identity.ExpiresAt, 0).Add(s.Issuer.Rules.Skew)) // from then on the token is refused
	earlier(s.Issuer.KeysUntil)
	earlier(s.Issuer.RevocationsUntil)
	return latest
}

// resultBytes estimates what a result takes; what was parsed from it takes as much again.
func resultBytes(v any) int {
	size := nodeBytes
	switch v := v.(type) {
	case string:
		size += len(v)
	case json.Number:
		size += len(v)
	case []any:
		for _, element := range v {
			size += resultBytes(element)
		}
	case map[string]any:
		for name, member := range v {
			size += nodeBytes + len(name) + resultBytes(member)
		}
	}
	return size
}

// detached copies a result down to its texts.
func detached(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Clone(v)
	case json.Number:
		return json.Number(strings.Clone(string(v)))
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			list[i] = detached(element)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, member := range v {
			object[strings.Clone(name)] = detached(member)
		}
		return object
	default:
		return v
	}
}
