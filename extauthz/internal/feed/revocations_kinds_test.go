package feed

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/internal/trust"
)

// newer is a list of an issuer that knows a kind of revocation this version does not, and uses it.
func newer(t *testing.T, sequence int64, agents ...string) string {
	t.Helper()
	return strings.TrimSuffix(list(t, testIssuer, sequence, agents...), "}") + `,"devices":[{"id":"dev_1"}]}`
}

// What is understood of a newer issuer's list counts at once; what is not understood is not ignored: the list confirms nothing, however often it is
// read, and the operator is told.
func TestListOfANewerIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(list(t, testIssuer, 1), `"1"`)
		run(t, newRevocationURL(b))
		until := b.issuer().RevocationsUntil
		b.source.set(newer(t, 2, "agt_1"), `"2"`)
		wait(listInterval)
		if !revoked(b, "agt_1") || revoked(b, "agt_2") {
			t.Error("what is understood is not in force")
		}
		wait(listStale / 2) // hundreds of answers 304
		if !b.issuer().RevocationsUntil.Equal(until) {
			t.Errorf("the list was confirmed: until %v, %v before", b.issuer().RevocationsUntil, until)
		}
		if failing(b.Env, "revocations", testIssuer) != 1 || b.log.count(`"level":"ERROR"`, "devices", "upgrade extauthz") == 0 {
			t.Errorf("nobody was told: %s", b.log.lines)
		}
		if n := testutil.ToFloat64(b.Metrics.reads.WithLabelValues("revocations", testIssuer, "partial")); n < float64(listStale/2/listInterval) {
			t.Errorf("%v reads: the polling has slowed down", n)
		}
		b.source.set(newer(t, 3, "agt_1", "agt_2"), `"3"`)
		wait(listInterval)
		if !revoked(b, "agt_2") || !b.issuer().RevocationsUntil.Equal(until) {
			t.Errorf("the next list: %+v", b.issuer())
		}
		b.source.set(list(t, testIssuer, 2), `"4"`)
		wait(5 * listInterval)
		if !revoked(b, "agt_2") {
			t.Error("an older list replaced one that was understood in part")
		}
		b.source.set(list(t, testIssuer, 4, "agt_2"), `"5"`) // nothing of the unknown kind is left
		wait(6 * listInterval)
		if revoked(b, "agt_1") || !revoked(b, "agt_2") || !b.issuer().RevocationsUntil.After(until) || failing(b.Env, "revocations", testIssuer) != 0 {
			t.Errorf("not well again: %+v", b.issuer())
		}
	})
}

// Where nothing was confirmed before, a list that is not understood confirms nothing: the issuer's tokens cannot be decided on.
func TestListOfANewerIssuerIsNoBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(newer(t, 2, "agt_1"), `"2"`)
		run(t, newRevocationURL(b))
		wait(time.Minute)
		if b.issuer().Revocations != nil {
			t.Fatalf("in force: %+v", b.issuer())
		}
		b.Env = b.env()
		f := newRevocationURL(b) // and on disk it is no beginning either, but its sequence counts
		if err := f.Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Fatalf("from disk: %v, %+v", err, b.issuer())
		}
		b.source.set(list(t, testIssuer, 1), `"1"`)
		if f.poll(t.Context()); b.issuer().Revocations != nil {
			t.Error("an older list is in force")
		}
	})
}

// A restart does not make a list younger than its last confirmation, and an upgrade understands it.
func TestListOfANewerIssuerOnDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(list(t, testIssuer, 1), `"1"`)
		first := newRevocationURL(b)
		first.poll(t.Context())
		until := b.issuer().RevocationsUntil
		wait(listStale / 3)
		b.source.set(newer(t, 2, "agt_1"), `"2"`)
		first.poll(t.Context())
		b.source.fail(errors.New("down"))

		b.Env = b.env()
		second := newRevocationURL(b)
		if err := second.Load(t.Context()); err != nil || !revoked(b, "agt_1") || !b.issuer().RevocationsUntil.Equal(until) {
			t.Errorf("%v, %+v; want until %v", err, b.issuer(), until)
		}
		if kinds := b.issuer().Revocations.NotUnderstood(); len(kinds) != 1 || kinds[0] != "devices" {
			t.Errorf("not understood: %v", kinds)
		}
		wait(listStale)
		b.Env = b.env()
		if err := newRevocationURL(b).Load(t.Context()); err != nil || b.issuer().Revocations != nil {
			t.Errorf("past its time: %v, %+v", err, b.issuer())
		}
	})
}

// Each kind goes the whole way from the document into the snapshot.
func TestEveryKindReachesTheSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		b.source.set(strings.TrimSuffix(list(t, testIssuer, 1), `"credentials":[],"keys":[],"tokens":[],"issuers":[],"partners":[]}`)+
			`"credentials":[{"id":"c"}],"keys":[{"id":"k"}],"tokens":[{"id":"t","expiresAt":9}],"issuers":[{"id":"i"}],"partners":[{"id":"p"}]}`, `"1"`)
		run(t, newRevocationURL(b))
		for want, facts := range map[string]trust.Facts{
			trust.RevokedCredential: {CredentialID: "c"}, trust.RevokedKey: {KeyID: "k"}, trust.RevokedToken: {TokenID: "t"},
			trust.RevokedIssuer: {Issuer: "i"}, trust.RevokedPartner: {PartnerID: "p"},
		} {
			if got := b.issuer().Revocations.Check(&facts); got != want {
				t.Errorf("%+v: %q, want %q", facts, got, want)
			}
		}
	})
}

// Whoever remembers things is told of each list that comes into force, also of one that is understood in part, and not of confirmations.
func TestListsAreAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		var told []int64
		b.Env.UseRevocations = func() { told = append(told, b.issuer().Revocations.Sequence()) }
		for n, doc := range []string{list(t, testIssuer, 1), list(t, testIssuer, 2, "agt_1"), newer(t, 3, "agt_1", "agt_2")} {
			b.source.set(doc, strconv.Itoa(n))
			if n == 0 {
				run(t, newRevocationURL(b))
			}
			wait(time.Hour)
		}
		if d := cmp.Diff([]int64{1, 2, 3}, told); d != "" {
			t.Error(d)
		}
	})
}
