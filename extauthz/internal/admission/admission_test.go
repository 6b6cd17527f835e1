package admission

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// spoil makes a source a suspect.
func spoil(t testing.TB, g *Gate, source string) {
	t.Helper()
	for range BadMax {
		visit(t, g, source, start, false)
	}
}

// visit has one token checked.
func visit(t testing.TB, g *Gate, source string, now time.Time, good bool) Pass {
	t.Helper()
	p, ok := g.Enter(source, now)
	if !ok {
		t.Fatalf("%s is not admitted", source)
	}
	p.Checks()
	p.Leave(good)
	return p
}

func TestBadTokensMakeSuspects(t *testing.T) {
	t.Parallel()
	g := New(2, start)
	for n := range BadMax {
		if visit(t, g, "192.0.2.1", start, false).slot {
			t.Fatalf("a suspect after %d", n)
		}
	}
	if !visit(t, g, "192.0.2.1", start, false).slot {
		t.Error("no suspect")
	}
	if !visit(t, g, "192.0.2.1", start.Add(ForgiveEvery-1), false).slot {
		t.Error("forgiven too early")
	}
	if visit(t, g, "192.0.2.1", start.Add(2*ForgiveEvery), false).slot {
		t.Error("never forgiven: the history has no end")
	}
	if free, suspect, refused := g.Counts(); free != BadMax+1 || suspect != 2 || refused != 0 {
		t.Errorf("counted %d, %d, %d", free, suspect, refused)
	}
}

func TestGoodTokensMakeUpForBadOnes(t *testing.T) {
	t.Parallel()
	g := New(2, start)
	spoil(t, g, "192.0.2.1")
	if !visit(t, g, "192.0.2.1", start, true).slot {
		t.Fatal("no suspect")
	}
	for range 10 * BadMax { // a gateway behind which every second client is broken
		visit(t, g, "192.0.2.1", start, true)
		if visit(t, g, "192.0.2.1", start, false).slot {
			t.Fatal("a suspect, although half of its tokens are good")
		}
	}
}

func TestWhatCostsNothingIsNotHeldAgainstASource(t *testing.T) {
	t.Parallel()
	g := New(2, start)
	for range 10 * BadMax {
		p, _ := g.Enter("192.0.2.1", start)
		p.Leave(false)
	}
	if visit(t, g, "192.0.2.1", start, false).slot {
		t.Error("a suspect")
	}
}

func TestSourcesAreWhatAStrangerCannotVary(t *testing.T) {
	t.Parallel()
	g := New(2, start)
	for _, same := range [][]string{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::3", "2001:DB8:1:2::0"},
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"fe80::1%eth0", "fe80::2%eth1"},
		{"", ""},
	} {
		for _, source := range same {
			if g.find(source) != g.find(same[0]) {
				t.Errorf("%q is another source than %q", source, same[0])
			}
		}
	}
	seen := map[int]bool{}
	for i := range 256 {
		seen[g.find("192.0.2."+strconv.Itoa(i))] = true
		seen[g.find("2001:db8:0:"+strconv.Itoa(i)+"::")] = true
	}
	if len(seen) < 400 { // of 512; 481 are to be expected
		t.Errorf("512 sources have %d histories", len(seen))
	}
}

// asks enters for each source from a goroutine of its own, once the one before is in its queue.
func asks(t *testing.T, g *Gate, sources ...string) (admitted <-chan string, leave func(), done func()) {
	t.Helper()
	in, out := make(chan string, len(sources)), make(chan struct{})
	var all sync.WaitGroup
	for n, source := range sources {
		all.Go(func() {
			p, ok := g.Enter(source, start)
			if !ok {
				t.Errorf("%s is not admitted", source)
				return
			}
			in <- source
			<-out
			p.Leave(false)
		})
		awaitWaiting(t, g, n+1)
	}
	return in, func() { out <- struct{}{} }, func() { all.Wait() }
}

func awaitWaiting(t *testing.T, g *Gate, n int) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		g.lane.mu.Lock()
		waiting := g.lane.waiting
		g.lane.mu.Unlock()
		if waiting == n {
			return
		}
	}
	t.Fatalf("%d never wait", n)
}

func TestSuspectsTakeTurns(t *testing.T) {
	t.Parallel()
	g := New(2, start)
	noisy, quiet := "192.0.2.1", "192.0.2.2"
	for i := 3; g.find(quiet)%queues == g.find(noisy)%queues; i++ {
		quiet = "192.0.2." + strconv.Itoa(i)
	}
	spoil(t, g, noisy)
	spoil(t, g, quiet)
	first, ok := g.Enter(noisy, start)
	if !ok || !first.slot {
		t.Fatal("the lane is closed")
	}
	sources := []string{noisy, noisy, noisy, noisy, noisy, noisy, quiet}
	admitted, leave, done := asks(t, g, sources...)
	if other := visit(t, g, "198.51.100.1", start, true); other.slot {
		t.Error("a source nobody suspects is in the lane")
	}
	first.Leave(false)
	for n := range sources {
		if source := <-admitted; source == quiet && n > 1 {
			t.Errorf("the quiet source came as number %d", n+1)
		}
		leave()
	}
	done()
	if g.lane.free != 1 || g.lane.waiting != 0 {
		t.Errorf("%d free, %d waiting at the end", g.lane.free, g.lane.waiting)
	}
}

func TestQueuesAreBounded(t *testing.T) {
	t.Parallel()
	g := New(1, start)
	spoil(t, g, "192.0.2.1")
	first, _ := g.Enter("192.0.2.1", start)
	sources := make([]string, queueMax)
	for n := range sources {
		sources[n] = "192.0.2.1"
	}
	admitted, leave, done := asks(t, g, sources...)
	for range 1000 {
		if _, ok := g.Enter("192.0.2.1", start); ok {
			t.Fatal("admitted beyond its queue")
		}
	}
	if _, _, refused := g.Counts(); refused != 1000 {
		t.Errorf("%d refusals counted", refused)
	}
	first.Leave(false)
	for range sources {
		<-admitted
		leave()
	}
	done()
}

func TestAllQueuesTogetherAreBounded(t *testing.T) {
	t.Parallel()
	l := lane{waiting: waitingMax}
	if _, ok := l.enter(0); ok {
		t.Error("admitted")
	}
}

// A clock that is set back makes nobody a suspect for longer than the history lasts.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	g := New(1, start)
	visit(t, g, "192.0.2.1", start.Add(time.Hour), false)
	visit(t, g, "192.0.2.1", start, false)
	if visit(t, g, "192.0.2.1", start.Add(2*ForgiveEvery), true).slot {
		t.Error("still a suspect")
	}
}

func TestNilAdmitsEverybody(t *testing.T) {
	t.Parallel()
	var g *Gate
	p, ok := g.Enter("192.0.2.1", start)
	p.Checks()
	p.Leave(false)
	if !ok {
		t.Error("refused")
	}
}

func BenchmarkEnterAndLeave(b *testing.B) {
	g := New(2, start)
	b.ReportAllocs()
	for b.Loop() {
		p, _ := g.Enter("2001:db8:1:2::1", start)
		p.Checks()
		p.Leave(true)
	}
}
