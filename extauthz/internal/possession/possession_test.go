package possession

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/jose"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// How htu is compared is for package jose to test; this is what it is compared with.
func TestReceived(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme, host, htu string
		want              bool
	}{
		{"https", "Shop.example", "https://shop.example/a?x=2", true},
		{"http", "shop.example", "https://shop.example/a", false},
		{"https", "shop.example:8443", "https://shop.example/a", false},
		{"https", "evil@shop.example", "https://shop.example/a", false},
		{"", "shop.example", "https://shop.example/a", false},
		{"", "https://shop.example", "https://shop.example/a", false},
		{"https", "", "https:///a", false},
	} {
		r := &checkreq.Request{Scheme: c.scheme, Host: c.host, Path: "/a", Query: "x=1"}
		if got := (&jose.Proof{URI: c.htu}).Targets(received(r)); got != c.want {
			t.Errorf("%s://%s/a and %q: %v, want %v", c.scheme, c.host, c.htu, got, c.want)
		}
	}
}

func TestNonces(t *testing.T) {
	t.Parallel()
	ours, theirs := &nonces{[]byte("ours")}, &nonces{[]byte("theirs")}
	n := ours.mint(noon)
	for after, want := range map[time.Duration]bool{
		0: true, time.Minute: true, nonceLife: true, nonceLife + time.Second: false, -time.Second: false,
	} {
		if got, aging := ours.valid(n, noon.Add(after)); got != want || aging != (want && after > time.Minute) {
			t.Errorf("after %s: %v, want %v", after, got, want)
		}
	}
	if valid, _ := theirs.valid(n, noon); valid {
		t.Error("another server's nonce was taken")
	}
	later := ours.mint(noon.Add(time.Second))
	for name, bad := range map[string]string{
		"empty": "", "shorter": n[:len(n)-4], "longer": n + "AAAA", "padded": n + "=", "not base64": strings.Repeat("!", len(n)),
		"time of another": later[:11] + n[11:], "mac of another": n[:12] + later[12:],
	} {
		if valid, _ := ours.valid(bad, noon.Add(time.Second)); bad == n || valid {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestCertificateThumbprint(t *testing.T) {
	t.Parallel()
	const body = "YWJj" // the DER of the RFC's examples is longer; any bytes have a hash
	one := "-----BEGIN CERTIFICATE-----\n" + body + "\n-----END CERTIFICATE-----\n"
	escape := strings.NewReplacer(" ", "%20", "\n", "%0A", "+", "%2B").Replace
	want := base64.RawURLEncoding.EncodeToString([]byte("\xbax\x16\xbf\x8f\x01\xcf\xeaAA@\xde]\xae\"#\xb0\x03a\xa3\x96\x17z\x9c\xb4\x10\xffa\xf2\x00\x15\xad")) // SHA-256 of "abc"
	if got := certificateSHA256(escape(one)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, bad := range map[string]string{
		"none": "", "two": escape(one + one), "a key": escape(strings.ReplaceAll(one, "CERTIFICATE", "PRIVATE KEY")), "bad escape": "%zz" + escape(one),
		"not PEM": "abc", "text behind": escape(one) + "x",
	} {
		if got := certificateSHA256(bad); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestReplayStoreRemembersForALife(t *testing.T) {
	t.Parallel()
	const life = time.Minute
	for offset := time.Duration(0); offset < 2*life; offset += 7 * time.Second {
		s := newReplayStore(0, life)
		s.use("k", "first", noon) // begins a generation
		at := noon.Add(offset)
		if s.use("k", "id", at) != firstUse || s.use("k", "id", at.Add(life)) != seenBefore {
			t.Errorf("used %s into a generation: forgotten within its life", offset)
		}
		if s.use("k", "id", at.Add(4*life)) != firstUse {
			t.Errorf("used %s into a generation: never forgotten", offset)
		}
	}
	s := newReplayStore(0, life)
	s.use("k", "id", noon)
	if s.use("k", "id", noon.Add(-time.Hour)) != seenBefore {
		t.Error("forgotten when the clock went back")
	}
}

func TestReplayStoreKeepsKeysApart(t *testing.T) {
	t.Parallel()
	s := newReplayStore(0, time.Minute)
	if shardOf("k") != shardOf("{") {
		t.Fatal("the test needs two keys in one shard")
	}
	for _, pair := range [][2]string{{"k", "id"}, {"l", "id"}, {"{", "id"}, {"ki", "d"}, {"", "kid"}} {
		if s.use(pair[0], pair[1], noon) != firstUse {
			t.Errorf("%q: taken for another", pair)
		}
	}
}

func TestReplayStoreFull(t *testing.T) {
	t.Parallel()
	const life = time.Minute
	s := newReplayStore(replayEntryBytes*replayShards*2*3, life) // three a generation and shard
	for n := range 3 {
		if s.use("k", fmt.Sprint(n), noon) != firstUse {
			t.Fatal("full too early")
		}
	}
	if s.use("k", "3", noon) != noRoom || s.use("k", "3", noon.Add(life/2)) != noRoom {
		t.Error("more was accepted than is remembered")
	}
	if s.use("k", "1", noon) != seenBefore {
		t.Error("a replay while full is not seen")
	}
	if s.use("another", "3", noon) != firstUse {
		t.Error("one key shuts out all others")
	}
	if s.use("k", "3", noon.Add(life)) != firstUse {
		t.Error("still full after a life")
	}
}

func TestReplayStoreAcceptsOneOfMany(t *testing.T) {
	t.Parallel()
	s := newReplayStore(0, time.Minute)
	var accepted atomic.Int32
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			if s.use("k", "id", noon) == firstUse {
				accepted.Add(1)
			}
		})
	}
	wait.Wait()
	if got := accepted.Load(); got != 1 {
		t.Errorf("%d accepted, want one", got)
	}
}

// What the store really costs when full is not above what it was given. Not parallel: it measures the heap.
func TestReplayStoreStaysWithinItsBytes(t *testing.T) {
	const bytesMax = 8 << 20
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	s := newReplayStore(bytesMax, time.Minute)
	most := int64(0)
	for generation := range 2 {
		for shard := range replayShards {
			for n := range s.entriesMax {
				key := replayKey(fmt.Appendf(nil, "%016d", n))
				if s.shards[shard].current == nil || generation == 1 && n == 0 {
					s.shards[shard].before, s.shards[shard].current = s.shards[shard].current, make(map[replayKey]struct{})
				}
				s.shards[shard].current[key] = struct{}{}
			}
		}
		most = max(most, heap()-before)
	}
	t.Logf("%d entries: %d bytes of %d", 2*replayShards*s.entriesMax, most, bytesMax)
	if most > bytesMax {
		t.Errorf("%d bytes, at most %d were given", most, bytesMax)
	}
	runtime.KeepAlive(s)
}

func BenchmarkReplayStore(b *testing.B) {
	s := newReplayStore(0, time.Minute)
	ids := make([]string, 1000)
	for n := range ids {
		ids[n] = fmt.Sprint("jti-", n)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.use(ids[n%64], ids[n%1000], noon)
		n++
	}
}

func BenchmarkCertificate(b *testing.B) {
	const line = "MIIBszCCAVmgAwIBAgIUQ2xpZW50Q2VydGlmaWNhdGVPZlNpeEh1bmRyZWRCeXRl\n"
	text := strings.NewReplacer(" ", "%20", "\n", "%0A", "+", "%2B").Replace("-----BEGIN CERTIFICATE-----\n" + strings.Repeat(line, 12) + "-----END CERTIFICATE-----\n")
	b.ReportAllocs()
	for b.Loop() {
		if certificateSHA256(text) == "" {
			b.Fatal("not read")
		}
	}
}
