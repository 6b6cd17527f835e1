package heap

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPercentFor(t *testing.T) {
	t.Parallel()
	const room = 32 << 20
	for _, c := range []struct{ live, want int64 }{
		{0, 800}, {1 << 10, 800}, {4 << 20, 800}, {8 << 20, 400}, {32 << 20, 100}, {64 << 20, 50}, {1 << 30, 50},
	} {
		if got := percentFor(room, c.live); got != c.want {
			t.Errorf("with %d bytes live GOGC is %d, want %d", c.live, got, c.want)
		}
	}
}

// The collector belongs to the process, so what is said about it is said in processes of their own.
const childVariable = "HEAP_TEST_CHILD"

func child(t *testing.T, what string, env ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), append(env, childVariable+"="+what)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// collections counts them while so many bytes are allocated beside a small live heap.
func collections(bytes int) uint32 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var keep []byte
	for range bytes >> 10 {
		keep = make([]byte, 1<<10)
	}
	runtime.KeepAlive(keep)
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

func TestChild(t *testing.T) {
	const room, allocated = 32 << 20, 512 << 20
	switch os.Getenv(childVariable) {
	case "paced":
		p := Pace(room)
		paced := collections(allocated)
		p.Stop()
		if left := debug.SetGCPercent(100); left != 100 {
			t.Errorf("GOGC was left at %d", left)
		}
		free := collections(allocated)
		t.Logf("%d collections with room, %d without", paced, free)
		if paced == 0 || free < 2*paced { // about 16 and 130; on a busy machine collections come late and are fewer
			t.Errorf("%d collections with room, %d without", paced, free)
		}
	case "grows":
		p := Pace(room)
		defer p.Stop()
		small := p.Percent()
		live := make([]*[1 << 10]byte, 200<<10) // 200 MiB
		for i := range live {
			live[i] = new([1 << 10]byte)
		}
		await(t, func() bool { return p.Percent() < 100 })
		runtime.KeepAlive(live)
		if small <= 100 {
			t.Errorf("GOGC was %d beside a small heap", small)
		}
	case "operator":
		p := Pace(room)
		defer p.Stop()
		if got := debug.SetGCPercent(100); p.Percent() != 0 || got != 150 {
			t.Errorf("GOGC is %d, the pacer says %d", got, p.Percent())
		}
	case "limit":
		debug.SetMemoryLimit(48 << 20)
		p := Pace(math.MaxInt32) // far more room than the limit allows
		defer p.Stop()
		collections(allocated)
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if taken := m.Sys - m.HeapReleased; taken > 64<<20 {
			t.Errorf("%d MiB are taken, with a limit of 48", taken>>20)
		}
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 30 s")
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"paced", "grows", "limit"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			child(t, what, "GOGC=")
		})
	}
}

func TestPaceLeavesTheOperatorsChoice(t *testing.T) {
	t.Parallel()
	if out := child(t, "operator", "GOGC="+strconv.Itoa(150)); !strings.Contains(out, "PASS") {
		t.Error(out)
	}
}
