package feed

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/trust"
)

const (
	listInterval = time.Second
	listStale    = 15 * time.Minute
)

func newRevocationURL(b *bundle) *RevocationURL {
	return NewRevocationURL(b.Env, testIssuer, testURL, b.source, b.disk, listInterval, listStale)
}

func list(t *testing.T, issuer string, sequence int64, agents ...string) string {
	t.Helper()
	l := trust.RevocationList{
		Issuer: issuer, Sequence: sequence, IssuedAt: 1,
		Agents: []trust.Agent{}, Organizations: []trust.Organization{}, Keys: []trust.Key{}, Tokens: []trust.Token{},
	}
	for _, id := range agents {
		l.Agents = append(l.Agents, trust.Agent{ID: id})
	}
	doc, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func revoked(b *bundle, agent string) bool {
	r := b.issuer().Revocations
	return r != nil && r.Check(&trust.Facts{Agent: agent, IssuedAt: 1}) != ""
}

func TestRevocationReachesTheSnapshotWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(list(t, testIssuer, 1), `"1"`)
		start := time.Now()
		run(t, newRevocationURL(b))
		if b.issuer().Revocations == nil || revoked(b, "agt_1") || !b.issuer().RevocationsUntil.Equal(start.Add(listStale)) {
			t.Fatalf("after the first read: %+v", b.issuer())
		}
		wait(time.Minute)
		b.source.set(list(t, testIssuer, 2, "agt_1"), `"2"`)
		wait(listInterval)
		if !revoked(b, "agt_1") {
			t.Error("not in force one interval later")
		}
		if got := testutil.ToFloat64(b.Metrics.reads.WithLabelValues("revocations", testIssuer, "unchanged")); got < 55 {
			t.Errorf("%v polls answered 304 in a minute", got)
		}
	})
}

func TestRevocationListLastsWhileConfirmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(list(t, testIssuer, 1), `"1"`)
		run(t, newRevocationURL(b))
		wait(time.Hour)
		if left := time.Until(b.issuer().RevocationsUntil); left < listStale*9/10 {
			t.Errorf("%v left to a list that is confirmed each second", left)
		}
		if n := b.Store.Load().Epoch; n > 45 {
			t.Errorf("%d epochs in an hour in which nothing changed", n)
		}
		b.source.fail(errors.New("connection refused"))
		until := b.issuer().RevocationsUntil
		wait(time.Hour)
		if b.issuer().Revocations == nil || !b.issuer().RevocationsUntil.Equal(until) {
			t.Error("a failing source must leave list and end as they are: requests judge the end")
		}
		if failing(b.Env, "revocations", testIssuer) != 1 || b.log.count(`"level":"ERROR"`, "connection refused") == 0 {
			t.Error("nobody was told")
		}
		b.source.set(list(t, testIssuer, 2, "agt_1"), `"2"`)
		wait(5 * listInterval)
		if !revoked(b, "agt_1") {
			t.Error("after an outage the list must be read within five intervals")
		}
	})
}

func TestRevocationListIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, says string }{
		"lower sequence": {list(t, testIssuer, 6), "sequence fell from 7 to 6"},
		"another issuer": {list(t, "other", 8), "another issuer's"},
		"not a list":     {`{"keys":[]}`, "revocation list"},
		"nothing":        {"", "revocation list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBundle(t)
				b.source.set(list(t, testIssuer, 7, "agt_1"), `"7"`)
				run(t, newRevocationURL(b))
				b.source.set(tc.body, `"x"`)
				wait(10 * listInterval)
				if !revoked(b, "agt_1") || b.issuer().Revocations.Sequence() != 7 {
					t.Error("the list in force is gone")
				}
				if b.log.count(`"level":"ERROR"`, tc.says) != 1 {
					t.Errorf("log: %s", b.log.lines)
				}
			})
		})
	}
}

func TestRevocationListStartsFromDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(list(t, testIssuer, 7, "agt_1"), `"7"`)
		first := newRevocationURL(b)
		if err := first.Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Fatalf("an empty disk: %v", err)
		}
		first.poll(t.Context())

		b.Env = b.env()
		if err := newRevocationURL(b).Load(t.Context()); err != nil || !revoked(b, "agt_1") {
			t.Fatalf("before any network: %v, %+v", err, b.issuer())
		}

		wait(listStale)
		b.Env = b.env()
		f := newRevocationURL(b)
		if err := f.Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Fatalf("a list past its time was used: %v, %+v", err, b.issuer())
		}
		b.source.set(list(t, testIssuer, 6), `"6"`)
		run(t, f)
		wait(10 * listInterval)
		if b.issuer().Revocations != nil {
			t.Error("a list older than the one on disk was accepted")
		}
		b.source.set(list(t, testIssuer, 7, "agt_1"), `"7"`) // the answer is 304: what is on disk is the newest
		wait(6 * listInterval)
		if !revoked(b, "agt_1") {
			t.Error("the list on disk, once confirmed, is not in force")
		}
	})
}

func TestRevocationListDistrustsTheDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		r := record{Kind: kindRevocations, Issuer: testIssuer, URL: testURL, FetchedAt: time.Now(), Body: []byte(list(t, "other", 1))}
		if err := b.disk.save(&r); err != nil {
			t.Fatal(err)
		}
		if err := newRevocationURL(b).Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Errorf("another issuer's list was used: %v", err)
		}
		writeFile(t, b.disk.path(kindRevocations, testIssuer), "garbage")
		if err := newRevocationURL(b).Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Errorf("garbage was used: %v", err)
		}
		if b.log.count(`"level":"ERROR"`, "damaged") != 1 {
			t.Errorf("log: %s", b.log.lines)
		}
		b.disk = &LastGood{dir: "/proc/nowhere"}
		b.source.set(list(t, testIssuer, 1, "agt_1"), `"1"`)
		run(t, newRevocationURL(b))
		if !revoked(b, "agt_1") || b.log.count("could not be kept on disk") != 1 {
			t.Error("a disk that fails must not delay a revocation")
		}
	})
}
