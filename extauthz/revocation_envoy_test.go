package extauthz_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/trust"
)

const edgePartner = "https://partner.example"

// Each kind of revocation that a list has, from the document to the answer of a real Envoy, for a token that was good a moment before; then a kind that this
// version does not know.
func TestProgramRefusesWhatTheListRevokes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "issuers: later\n")
	issuer, ca := startIssuer(t, e.signer)
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
stateDir: state
policy: {dir: policies}
issuers:
  - issuer: %s
    audiences: [%q]
    jwks: {url: %s/keys, ca: %[5]s}
    revocations: {url: %[4]s/revoked, ca: %[5]s, interval: 100ms}
  - issuer: %[6]s
    audiences: [%[3]q]
    jwks: {url: %[4]s/keys, ca: %[5]s}
    organizationId: org_partner
    partner: {id: prt_1, of: %[2]s}
  - issuer: %[6]s/second
    audiences: [%[3]q]
    jwks: {url: %[4]s/keys, ca: %[5]s}
    organizationId: org_partner
    partner: {id: prt_2, of: %[2]s}
`, e.socket, edgeIssuer, edgeAudience, issuer.URL, ca, edgePartner))
	p := e.startBinary(t)
	e.startEnvoy(t)
	good := e.bearer(t)
	partner := func(iss string, more ...any) string {
		return e.bearer(t, append([]any{"iss", iss, "org_id", "org_partner", "sub", "agt_p"}, more...)...)
	}
	for _, tc := range []struct {
		code   string
		bearer string
		revoke func(*trust.RevocationList)
	}{
		{"revoked_credential", e.bearer(t, "credential_id", "crd_1", "jti", "1"), func(l *trust.RevocationList) { l.Credentials = []trust.Credential{{ID: "crd_1"}} }},
		{"revoked_token", e.bearer(t, "jti", "tok_9"), func(l *trust.RevocationList) { l.Tokens = []trust.Token{{ID: "tok_9", ExpiresAt: 1 << 40}} }},
		{"revoked_credential", e.bearer(t, "jti", "3", "act", map[string]any{"sub": "agt_2", "credential_id": "crd_2"}), func(l *trust.RevocationList) {
			l.Credentials = append(l.Credentials, trust.Credential{ID: "crd_2"})
		}},
		{"revoked_issuer", partner(edgePartner), func(l *trust.RevocationList) { l.Issuers = []trust.Issuer{{ID: edgePartner}} }},
		{"revoked_partner", partner(edgePartner + "/second"), func(l *trust.RevocationList) { l.Partners = []trust.Partner{{ID: "prt_2"}} }},
	} {
		e.await(t, http.StatusOK, "/orders/1", tc.bearer)
		issuer.publish(func() { tc.revoke(&issuer.list) })
		e.await(t, http.StatusUnauthorized, "/orders/1", tc.bearer)
		if doc := problem(t, e.get(t, "/orders/1", tc.bearer)); doc["code"] != tc.code {
			t.Errorf("refused as %v, want %s", doc["code"], tc.code)
		}
	}
	e.await(t, http.StatusOK, "/orders/1", good)
	awaitThat(t, "what was revoked is forgotten", func() bool { return strings.Contains(logOf(t, p), "no longer good and were forgotten") })

	// A newer issuer's list: what is understood counts at once, and the rest is said; that it confirms nothing is tested in internal/feed.
	last := e.bearer(t, "sub", "agt_3", "jti", "4")
	e.await(t, http.StatusOK, "/orders/1", last)
	issuer.publish(func() {
		issuer.more = `,"devices":[{"id":"dev_1"}]`
		issuer.list.Agents = []trust.Agent{{ID: "agt_3"}}
	})
	e.await(t, http.StatusUnauthorized, "/orders/1", last)
	awaitThat(t, "the unknown kind is in the log", func() bool { return strings.Contains(logOf(t, p), "kinds this version does not know (devices)") })
	if a := e.get(t, "/orders/1", good); a.Status != http.StatusOK { // until maxStale is over
		t.Errorf("what was good when a list was last understood got %d", a.Status)
	}
	issuer.publish(func() { issuer.more = "" })
	awaitThat(t, "the list is understood again", func() bool { return strings.Contains(logOf(t, p), "source is well again") })
}

// readsUntilRevoked bounds a denial without a clock: the first list that is read after a revocation was published has it, and it must be in force before a third is
// asked for. Lists are read each second, as is the default (package feed has the test), hence the 2 s of docs/security-edge.md.
const readsUntilRevoked = 2

// A token in use dies within the bound, each time, and never comes back.
func TestEdgeRevocationIsInTime(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "issuers: later\n")
	issuer, ca := startIssuer(t, e.signer)
	e.write(t, "extauthz.yaml", fmt.Sprintf(`listen: unix://%s
stateDir: state
policy: {dir: policies}
issuers:
  - issuer: %s
    audiences: [%q]
    jwks: {url: %s/keys, ca: %s}
    revocations: {url: %[4]s/revoked, ca: %[5]s}
`, e.socket, edgeIssuer, edgeAudience, issuer.URL, ca))
	e.startBinary(t)
	e.startEnvoy(t)
	for n := range 5 {
		bearer := e.bearer(t, "sub", fmt.Sprint("agt_", n), "jti", fmt.Sprint(n))
		e.await(t, http.StatusOK, "/orders/1", bearer)
		readSince := issuer.revoke(fmt.Sprint("agt_", n))
		e.await(t, http.StatusUnauthorized, "/orders/1", bearer)
		if n := readSince(); n > readsUntilRevoked {
			t.Errorf("denied after the list was read %d times, want at most %d", n, readsUntilRevoked)
		}
		for range 20 {
			if a := e.get(t, "/orders/1", bearer); a.Status != http.StatusUnauthorized {
				t.Fatalf("afterwards: status %d", a.Status)
			}
		}
	}
}
