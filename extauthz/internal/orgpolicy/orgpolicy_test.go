package orgpolicy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/smallfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a folder of organizations and a Set that reads it.
type world struct {
	*Set
	dir string
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func rego(allow string) string { return "package t\n\nallow := " + allow + "\n" }

// newWorld has one policy for each organization named. change may set limits, before anything is read.
func newWorld(t *testing.T, change func(*Config), ids ...string) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), log: &lockedBuffer{}}
	for _, id := range ids {
		w.write(t, id+"/a.rego", rego("true"))
	}
	cfg := Config{
		Dir: w.dir, Policy: policy.Config{Path: "t/allow", EvalTimeout: 10 * time.Second, Workers: 1}, Max: 10, BytesMax: 64 << 20,
		Log: slog.New(slog.NewJSONHandler(w.log, nil)), Now: time.Now,
	}
	if change != nil {
		change(&cfg)
	}
	w.Set = New(cfg)
	t.Cleanup(w.Close)
	w.waits.request = 20 * time.Second // a busy machine must not make a request give up
	if err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// get waits for a policy of an organization.
func (w *world) get(t *testing.T, id string) *InForce {
	t.Helper()
	p, err := w.Find(id).Await(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return p
}

func wantAllow(t *testing.T, p *InForce, want bool) {
	t.Helper()
	if got, err := p.Eval(t.Context(), policy.Object()); err != nil || got != want {
		t.Errorf("Eval = %v, %v, want %v", got, err, want)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("still not: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

func (w *world) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.residents)
}

func TestCompiledOnceWhenNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a", "org_b")
	if w.Find("org_c") != nil || w.Find("") != nil || w.Find("../org_a") != nil || (*Set)(nil).Find("org_a") != nil {
		t.Error("an organization without a folder has a policy")
	}
	var calls atomic.Int32
	go1 := make(chan struct{})
	w.compile = func(ctx context.Context, s []policy.Source, c policy.Config) (*policy.Policy, error) {
		calls.Add(1)
		<-go1
		return policy.Compile(ctx, s, c)
	}
	a := w.Find("org_a")
	if p, err := a.InForce(time.Now()); p != nil || err != nil || w.size() != 0 {
		t.Fatalf("before anybody waits: %v, %v, %d residents", p, err, w.size())
	}
	const askers = 40
	got := make(chan *InForce, askers)
	for range askers {
		go func() {
			p, err := a.Await(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- p
		}()
	}
	await(t, "all wait", func() bool { return a.inFlight.Load() == askers })
	close(go1)
	first := <-got
	for range askers - 1 {
		if p := <-got; p != first || p == nil {
			t.Errorf("got %p and %p", p, first)
		}
	}
	if n := calls.Load(); n != 1 || w.compiled.Load() != 1 {
		t.Errorf("%d compilations", n)
	}
	wantAllow(t, first, true)
	if p, err := a.InForce(time.Now()); p != first || err != nil {
		t.Errorf("then: %v, %v", p, err)
	}
}

// Whoever cannot wait is told so; whoever comes later finds the policy.
func TestRequestsDoNotWaitForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a")
	go1 := make(chan struct{})
	w.compile = func(ctx context.Context, s []policy.Source, c policy.Config) (*policy.Policy, error) {
		<-go1
		return policy.Compile(ctx, s, c)
	}
	a := w.Find("org_a")
	for name, ctx := range map[string]func() (context.Context, context.CancelFunc){
		"deadline is near": func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), w.waits.reserve) },
		"client is gone": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, cancel
		},
	} {
		ctx, cancel := ctx()
		if p, err := a.Await(ctx); p != nil || !errors.Is(err, ErrLoading) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
		cancel()
	}
	a.inFlight.Add(inFlightMax)
	if p, err := a.Await(t.Context()); p != nil || !errors.Is(err, ErrLoading) {
		t.Errorf("too many wait: %v, %v", p, err)
	}
	a.inFlight.Add(-inFlightMax)
	close(go1)
	wantAllow(t, w.get(t, "org_a"), true)
}

func TestTheLeastUsedMakesRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Max = 2 }, "org_a", "org_b", "org_c")
	at := time.Now()
	use := func(id string) *InForce {
		p := w.get(t, id)
		at = at.Add(time.Second)
		if _, err := w.Find(id).InForce(at); err != nil {
			t.Fatal(err)
		}
		return p
	}
	use("org_a")
	b := use("org_b")
	use("org_a")
	use("org_c")
	if w.size() != 2 || w.Find("org_b").current.Load() != nil || w.Find("org_a").current.Load() == nil || w.evicted.Load() != 1 {
		t.Errorf("%d residents, %d evicted; org_b is there: %v", w.size(), w.evicted.Load(), w.Find("org_b").current.Load() != nil)
	}
	wantAllow(t, b, true) // whoever began with it ends with it
	if again := use("org_b"); again == b {
		t.Error("an evicted policy is in force")
	}
	if w.compiled.Load() != 4 {
		t.Errorf("%d compilations, want 4", w.compiled.Load())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	small := Estimate([]policy.Source{{Name: "a.rego", Data: []byte(rego("true"))}})
	w := newWorld(t, func(c *Config) { c.BytesMax = 2*small + small/2 }, "org_a", "org_b", "org_c")
	for _, id := range []string{"org_a", "org_b", "org_c"} {
		w.get(t, id)
	}
	if w.size() != 2 {
		t.Errorf("%d policies in the memory of two", w.size())
	}
	w.write(t, "org_big/a.rego", rego("true")+"# "+strings.Repeat("x", int(2*small/bytesPerRego)))
	if err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Find("org_big").Await(t.Context()); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "of memory") {
		t.Errorf("what is larger than all the memory: %v", err)
	}
	w.get(t, "org_a")
}

// A broken edit keeps the last good policy, also when others need its place; one that never compiled concerns its organization alone.
func TestBrokenFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Max = 2 }, "org_a", "org_b", "org_c")
	w.write(t, "org_b/a.rego", "package t\n\nallow := nowhere(1)\n")
	wantAllow(t, w.get(t, "org_a"), true)
	for range 2 {
		if p, err := w.Find("org_b").Await(t.Context()); p != nil || !errors.Is(err, ErrBroken) {
			t.Fatalf("never compiled: %v, %v", p, err)
		}
	}
	if w.refused.Load() != 1 || !strings.Contains(w.log.String(), `"organization":"org_b","file":"a.rego","line":3`) {
		t.Errorf("compiled %d times; log: %s", w.refused.Load(), w.log)
	}
	w.write(t, "org_b/a.rego", rego("false"))
	await(t, "org_b is repaired", func() bool {
		p, _ := w.Find("org_b").InForce(time.Now())
		return p != nil
	})
	wantAllow(t, w.get(t, "org_b"), false)

	good := w.get(t, "org_a")
	w.write(t, "org_a/a.rego", "package t\n\nallow if {\n")
	r := w.Find("org_a").current.Load()
	await(t, "the edit was judged", func() bool { return r.stale.Load() != 0 })
	w.Find("org_a").used.Store(0) // least used of all
	w.get(t, "org_c")
	if p := w.get(t, "org_a"); p != good {
		t.Error("a broken edit took the last good policy away")
	}
	wantAllow(t, good, true)
}

func TestFoldersComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a")
	w.write(t, "org_b/a.rego", rego("false"))
	w.write(t, ".hidden/a.rego", rego("false"))
	w.write(t, "readme.txt", "of nobody")
	w.write(t, "stray.rego", rego("false"))
	w.write(t, "org c/a.rego", rego("false"))
	if err := os.Symlink(filepath.Join(w.dir, "org_b"), filepath.Join(w.dir, "org_link")); err != nil {
		t.Fatal(err)
	}
	ids, problems, err := Scan(w.dir)
	if fmt.Sprint(ids) != "[org_a org_b org_link]" || len(problems) != 2 || !strings.Contains(problems[0], `"org c"`) || !strings.Contains(problems[1], "stray.rego: is in no folder") || err != nil {
		t.Fatalf("%v, %q, %v", ids, problems, err)
	}
	now := time.Now()
	w.use(ids, now)
	a, b := w.get(t, "org_a"), w.get(t, "org_b")
	wantAllow(t, b, false)

	gone := w.Find("org_a")
	w.use([]string{"org_b"}, now)
	w.use([]string{"org_b"}, now.Add(goneAfter-1))
	if w.Find("org_a") != gone || w.get(t, "org_a") != a {
		t.Error("a folder that is being replaced counts as removed")
	}
	w.use([]string{"org_a", "org_b"}, now.Add(goneAfter))
	w.use([]string{"org_b"}, now.Add(goneAfter+1))
	w.use([]string{"org_b"}, now.Add(2*goneAfter))
	if w.Find("org_a") != gone {
		t.Error("it was back in between")
	}
	w.use([]string{"org_b"}, now.Add(2*goneAfter+1))
	if w.Find("org_a") != nil || w.size() != 1 {
		t.Errorf("after it was removed: %v, %d residents", w.Find("org_a"), w.size())
	}
	if p, err := gone.Await(t.Context()); p != nil || !errors.Is(err, ErrLoading) {
		t.Errorf("a request that began before: %v, %v", p, err)
	}
	wantAllow(t, a, true)
	if w.get(t, "org_b") != b {
		t.Error("another organization noticed")
	}
}

// A directory on a file system that does not answer takes no policy away, and does not keep the process from ending.
func TestDirectoryThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, "org_a")
		hang := make(chan struct{})
		w.directory = smallfile.Follow(w.dir, func() (listing, error) { <-hang; return scan(w.dir) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Run(ctx) }()
		time.Sleep(time.Minute)
		if w.Find("org_a") == nil || strings.Count(w.log.String(), w.dir+": the file system does not answer; the organizations known stay so") != 1 {
			t.Errorf("log: %s", w.log)
		}
		w.write(t, "org_b/a.rego", rego("true"))
		close(hang)
		time.Sleep(2 * foldersPoll)
		if w.Find("org_a") == nil || w.Find("org_b") == nil {
			t.Error("what the directory holds now is not known")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A directory that cannot be read any more takes no policy away.
func TestUnreadableDirectoryKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "org_a")
	wantAllow(t, w.get(t, "org_a"), true)
	if err := os.Rename(w.dir, w.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	await(t, "it is noticed", func() bool { return strings.Contains(w.log.String(), "the organizations known stay so") })
	if w.Find("org_a") == nil {
		t.Error("the organization is gone")
	}
	wantAllow(t, w.get(t, "org_a"), true)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := w.Load(t.Context()); err == nil {
		t.Error("at the start it is no error")
	}
}
