package feed

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const testStale = 24 * time.Hour

func newKeyURL(b *bundle) *KeyURL {
	return NewKeyURL(b.Env, testIssuer, testURL, b.source, b.disk, testStale)
}

func TestKeyURLRefreshesAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		first, firstIDs := keySet(t, 1)
		second, secondIDs := keySet(t, 1)
		b.source.set(first, `"1"`)
		b.source.maxAge(10 * time.Minute)
		start := time.Now()
		run(t, newKeyURL(b))
		if !hasKey(b.issuer(), firstIDs[0]) || !b.issuer().KeysUntil.Equal(start.Add(testStale)) {
			t.Fatalf("after the first read: %+v", b.issuer())
		}
		wait(7*time.Minute - time.Second)
		if n := b.source.count(); n != 1 {
			t.Errorf("read %d times before 70 %% of max-age passed", n)
		}
		b.source.set(second, `"2"`)
		wait(2*time.Minute + time.Second)
		if n := b.source.count(); n != 2 || !hasKey(b.issuer(), secondIDs[0]) {
			t.Errorf("read %d times by 90 %% of max-age; the new key must be in force", n)
		}
		if b.source.etag() != `"1"` {
			t.Errorf("asked with ETag %q", b.source.etag())
		}
	})
}

func TestKeyURLClampsMaxAge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		maxAge          time.Duration
		within          time.Duration
		atLeast, atMost int
	}{
		"a second is half a minute": {time.Second, 10 * time.Minute, 20, 30},
		"a year is an hour":         {365 * 24 * time.Hour, 10 * time.Hour, 10, 16},
		"nothing is five minutes":   {0, time.Hour, 13, 19},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBundle(t)
				doc, _ := keySet(t, 1)
				b.source.set(doc, `"1"`)
				b.source.maxAge(tc.maxAge)
				run(t, newKeyURL(b))
				wait(tc.within)
				if n := b.source.count(); n < tc.atLeast || n > tc.atMost {
					t.Errorf("%d reads in %v, want %d to %d", n, tc.within, tc.atLeast, tc.atMost)
				}
			})
		})
	}
}

func TestKeyURLServesStaleWhileTheURLFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		doc, ids := keySet(t, 1)
		b.source.set(doc, `"1"`)
		run(t, newKeyURL(b))
		until := b.issuer().KeysUntil
		b.source.fail(errors.New("connection refused"))
		wait(time.Hour)
		if !hasKey(b.issuer(), ids[0]) || !b.issuer().KeysUntil.Equal(until) {
			t.Error("the keys, or the time until which they may be used, changed while nothing was read")
		}
		if n := b.source.count(); n < 100 || n > 200 { // every 24 to 30 s once the retries have slowed down
			t.Errorf("%d reads in an hour of failures", n)
		}
		if n := b.log.count(`"level":"ERROR"`, "connection refused"); n < 5 || n > 15 {
			t.Errorf("the same failure is logged %d times in an hour", n)
		}
		b.source.set(doc, `"1"`)
		wait(time.Minute)
		if failing(b.Env, "keys", testIssuer) != 0 || b.log.count("well again") != 1 {
			t.Error("the recovery goes unnoticed")
		}
	})
}

func TestKeyURLExtendsTheLifeOfUnchangedKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		doc, _ := keySet(t, 1)
		b.source.set(doc, `"1"`)
		run(t, newKeyURL(b))
		wait(testStale)
		if left := time.Until(b.issuer().KeysUntil); left < testStale*8/10 {
			t.Errorf("%v left to keys that were confirmed all day", left)
		}
		if n := b.Store.Load().Epoch; n > 12 {
			t.Errorf("%d epochs in a day in which nothing changed", n)
		}
	})
}

func TestKeyURLEmptySetNeedsToLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		good, ids := keySet(t, 1)
		b.source.set(good, `"1"`)
		run(t, newKeyURL(b))
		b.source.set(`{"keys":[]}`, `"2"`)
		for b.source.count() < 2 {
			wait(time.Second)
		}
		if !hasKey(b.issuer(), ids[0]) {
			t.Fatal("one empty answer took the keys away")
		}
		b.source.set(good, `"1"`) // a hiccup
		wait(keyEmptyWait + time.Second)
		b.source.set(`{"keys":[]}`, `"2"`)
		for reads := b.source.count(); b.source.count() == reads; {
			wait(time.Second)
		}
		if !hasKey(b.issuer(), ids[0]) {
			t.Fatal("two empty answers that are not in a row took the keys away")
		}
		wait(keyEmptyWait - 2*time.Second)
		if !hasKey(b.issuer(), ids[0]) {
			t.Fatal("the keys went before 30 s had passed")
		}
		wait(3 * time.Second)
		if b.issuer().Keys == nil || b.issuer().Keys.Len() != 0 {
			t.Error("a set that stays empty must be obeyed")
		}
		if b.log.count(`"level":"ERROR"`, "withdrew all its keys") == 0 {
			t.Error("nobody was told")
		}
		b.source.set(good, `"1"`)
		wait(keyFreshDefault)
		if !hasKey(b.issuer(), ids[0]) {
			t.Error("the keys did not come back")
		}
	})
}

func TestKeyURLNeverStartsWithAnEmptySet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(`{"keys":[]}`, `"1"`)
		run(t, newKeyURL(b))
		wait(time.Hour)
		if b.issuer().Keys != nil || b.Store.Ready() == nil {
			t.Error("a sidecar that never saw a key says that it is ready")
		}
	})
}

func TestKeyURLGarbageNeverReplacesGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		good, ids := keySet(t, 1)
		b.source.set(good, `"1"`)
		run(t, newKeyURL(b))
		for _, body := range []string{"", "<html>", `{"keys":null}`, `{"keys":[]}{"keys":[]}`, `{"kty":"EC"}`} {
			b.source.set(body, "")
			wait(10 * time.Minute)
			if !hasKey(b.issuer(), ids[0]) {
				t.Fatalf("%q replaced the keys", body)
			}
		}
	})
}

func TestKeyURLHintsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		first, _ := keySet(t, 1)
		second, ids := keySet(t, 1)
		b.source.set(first, `"1"`)
		b.source.maxAge(time.Hour)
		f := newKeyURL(b)
		hints := NewHints()
		hints.Add(testIssuer, f)
		hints.ReadEarly(testIssuer) // before anything was read: the read under way is enough
		run(t, f)
		wait(time.Minute)
		b.source.set(second, `"2"`)
		before := b.source.count()
		hints.ReadEarly(testIssuer)
		synctest.Wait()
		if n := b.source.count(); n != before+1 || !hasKey(b.issuer(), ids[0]) {
			t.Fatalf("%d reads after a hint, want one at once", n-before)
		}
		b.source.maxAge(time.Hour)
		wait(keyHintFloor)
		start := b.source.count()
		for range 600 { // ten minutes of a flood
			for range 20 {
				hints.ReadEarly(testIssuer)
				hints.ReadEarly("https://nobody.example")
			}
			wait(time.Second)
		}
		if n := b.source.count() - start; n < 19 || n > 21 {
			t.Errorf("a flood of unknown keys caused %d reads in ten minutes, want one in 30 s", n)
		}
		for range 3 {
			hints.ReadEarly(testIssuer)
			synctest.Wait()
		}
		if len(f.hints) != 1 {
			t.Error("each hint of a flood wakes the feed, although a read is due already")
		}
	})
}

func TestKeyURLStartsFromDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		doc, ids := keySet(t, 1)
		b.source.set(doc, `"1"`)
		start := time.Now()
		first := newKeyURL(b)
		if err := first.Load(t.Context()); err != nil || b.issuer().Keys != nil {
			t.Fatalf("an empty disk: %v, %+v", err, b.issuer())
		}
		first.refresh(t.Context())

		b.source.fail(errors.New("the issuer is down"))
		wait(time.Hour)
		b.Env = b.env()
		f := newKeyURL(b)
		if err := f.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !hasKey(b.issuer(), ids[0]) || !b.issuer().KeysUntil.Equal(start.Add(testStale)) {
			t.Fatalf("before any network: %+v", b.issuer())
		}
		run(t, f)
		if b.source.etag() != `"1"` {
			t.Error("the ETag was not kept")
		}

		wait(testStale)
		b.Env = b.env()
		if err := newKeyURL(b).Load(t.Context()); err != nil || b.issuer().Keys != nil {
			t.Errorf("keys older than a day were used: %v, %+v", err, b.issuer())
		}
	})
}

func TestKeyURLDistrustsTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		doc, _ := keySet(t, 1)
		for name, r := range map[string]record{
			"another URL":   {Kind: kindKeys, Issuer: testIssuer, URL: "https://old.example", FetchedAt: time.Now(), Body: []byte(doc)},
			"no keys in it": {Kind: kindKeys, Issuer: testIssuer, URL: testURL, FetchedAt: time.Now(), Body: []byte(`{"keys":[]}`)},
			"not a key set": {Kind: kindKeys, Issuer: testIssuer, URL: testURL, FetchedAt: time.Now(), Body: []byte(`[]`)},
		} {
			if err := b.disk.save(&r); err != nil {
				t.Fatal(err)
			}
			if err := newKeyURL(b).Load(t.Context()); err != nil || b.issuer().Keys != nil {
				t.Errorf("%s: %v, %+v", name, err, b.issuer())
			}
		}
		future := record{Kind: kindKeys, Issuer: testIssuer, URL: testURL, FetchedAt: time.Now().Add(48 * time.Hour), Body: []byte(doc)}
		if err := b.disk.save(&future); err != nil {
			t.Fatal(err)
		}
		if err := newKeyURL(b).Load(t.Context()); err != nil || !b.issuer().KeysUntil.Equal(time.Now().Add(testStale)) {
			t.Errorf("a clock that was set back bought time: until %v", b.issuer().KeysUntil)
		}
	})
}

func TestKeyURLRunsWithoutADisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.disk = &LastGood{dir: "/proc/nowhere"}
		doc, ids := keySet(t, 1)
		b.source.set(doc, `"1"`)
		run(t, newKeyURL(b))
		if !hasKey(b.issuer(), ids[0]) || b.log.count(`"level":"ERROR"`, "could not be kept on disk") != 1 {
			t.Errorf("log: %s", b.log.lines)
		}
	})
}
