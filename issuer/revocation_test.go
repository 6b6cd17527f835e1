package issuer_test

import (
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/trust"
)

// A suspension kills the tokens that are out, and a reactivation gives new ones that are alive at once, however close together the two are.
func TestSuspensionAndReactivation(t *testing.T) {
	t.Parallel()
	i := start(t)
	agent := i.agent(i.organization("acme"), "a")
	_, secret := i.credential(agent)
	_, old := i.verified(i.token(agent, secret))
	i.must(i.admin("POST", "/agents/"+agent+"/suspend", nil), 200)
	if a := i.revocations(); !a.dead(agent, old) || !a.all(agent) {
		t.Errorf("the token issued before the suspension is alive: %s", a.body)
	}
	i.must(i.admin("POST", "/agents/"+agent+"/reactivate", nil), 200)
	_, fresh := i.verified(i.token(agent, secret))
	a := i.revocations()
	for deadline := time.Now().Add(10 * time.Second); a.all(agent) && time.Now().Before(deadline); { // one rendering of the list is reused for a moment
		a = i.revocations()
	}
	if !a.dead(agent, old) {
		t.Errorf("the token issued before the suspension came back to life: %s", a.body)
	}
	if a.dead(agent, fresh) {
		t.Errorf("the token issued after the reactivation (iat %v) is dead: %s", fresh["iat"], a.body)
	}
	iat, nbf := fresh["iat"].(float64), fresh["nbf"].(float64)
	if iat-nbf > 1 || int64(nbf) > time.Now().Unix() {
		t.Errorf("iat %v, nbf %v: too far in the future", iat, nbf)
	}
}

// A deleted credential takes its tokens along, and no others: what the token names is what the list names.
func TestDeletedCredentialRevokesItsTokens(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent := i.agent(organization, "a")
	leaked, leakedSecret := i.credential(agent)
	_, secret := i.credential(agent)
	_, stolen := i.verified(i.token(agent, leakedSecret))
	_, good := i.verified(i.token(agent, secret))
	before := i.revocations()
	if before.revokes(stolen) != "" || before.revokes(good) != "" {
		t.Fatalf("dead before: %s", before.body)
	}
	i.must(i.admin("DELETE", "/agents/"+agent+"/credentials/"+leaked, nil), 204)
	a := i.revocations()
	for deadline := time.Now().Add(10 * time.Second); a.revokes(stolen) == "" && time.Now().Before(deadline); { // one rendering of the list is reused for a moment
		a = i.revocations()
	}
	if a.revokes(stolen) != trust.RevokedCredential || a.revokes(good) != "" || a.Sequence <= before.Sequence {
		t.Errorf("stolen %q, good %q, sequence %d after %d: %s", a.revokes(stolen), a.revokes(good), a.Sequence, before.Sequence, a.body)
	}
	var page struct {
		Records []struct{ Action, Target string }
	}
	i.must(i.admin("GET", "/audit?organizationId="+organization, nil), 200).json(t, &page)
	if len(page.Records) == 0 || page.Records[0].Action != "credential.delete" || page.Records[0].Target != leaked {
		t.Errorf("the newest audit record is not the deletion: %+v", page.Records)
	}
}

// revokes says what a sidecar would make of a token: all it has to go by is in the claims.
func (l list) revokes(claims map[string]any) string {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	iat, _ := claims["iat"].(float64)
	return trust.Index(l.RevocationList).Check(&trust.Facts{
		TokenID: text("jti"), Agent: text("sub"), OrganizationID: text("org_id"), CredentialID: text("credential_id"), Issuer: text("iss"), IssuedAt: int64(iat),
	})
}
