package issuer_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// during sends requests while a change of the database (arg is its $1) is under way, which is committed when every one of them waits for it.
func (i *instance) during(change, arg string, requests ...func() answer) []answer {
	i.t.Helper()
	ctx, writer, watcher := i.t.Context(), i.db.Superuser(i.t), i.db.Superuser(i.t)
	tx, err := writer.Begin(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, change, arg); err != nil {
		i.t.Fatal(err)
	}
	answers, done := make([]answer, len(requests)), make(chan struct{})
	for n, send := range requests {
		go func() { answers[n] = send(); done <- struct{}{} }()
	}
	waiting, deadline := 0, time.Now().Add(time.Second) // less than requests wait for a lock
	for waiting < len(requests) && time.Now().Before(deadline) {
		if err := watcher.QueryRow(ctx, "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&waiting); err != nil {
			i.t.Fatal(err)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		i.t.Fatal(err)
	}
	for range requests {
		<-done
	}
	if waiting < len(requests) {
		i.t.Fatalf("%d of %d requests waited for the change: this test proves nothing", waiting, len(requests))
	}
	return answers
}

// A client that is deleted between its authentication and its change is one that does not exist, and no failure of ours.
func TestClientDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, initial := i.initialToken(organization, 10)
	party := i.initialTokenFor(organization, []string{"relying_party"}, nil)
	const agent = `"client_name":"x","grant_types":["client_credentials"]`
	for _, method := range []string{"DELETE", "PUT"} {
		made := i.must(i.registration("POST", register, initial, `{`+agent+`}`), 201)
		id, own, body := made.field("client_id"), made.field("registration_access_token"), ""
		if method == "PUT" {
			body = `{"client_id":"` + id + `",` + agent + `}`
		}
		for _, a := range i.during("delete from agents where id = $1::text::uuid", id[4:], func() answer { return i.registration(method, register+"/"+id, own, body) }) {
			if a.StatusCode != 401 || a.field("error") != "invalid_token" {
				t.Errorf("%s of an agent: %s %s", method, a.Status, a.body)
			}
		}
		made = i.must(i.registration("POST", register, party, partyMetadata(t, nil)), 201)
		id, own, body = made.field("client_id"), made.field("registration_access_token"), ""
		if method == "PUT" {
			body = partyMetadata(t, map[string]any{"client_id": id})
		}
		for _, a := range i.during("delete from clients where id = $1::text::uuid", id[4:], func() answer { return i.registration(method, register+"/"+id, own, body) }) {
			if a.StatusCode != 401 || a.field("error") != "invalid_token" {
				t.Errorf("%s of a relying party: %s %s", method, a.Status, a.body)
			}
		}
	}
	p := i.relyingParty(organization, map[string]any{"name": "pusher"})
	for _, a := range i.during("delete from clients where id = $1::text::uuid", p.oauth.ClientID[4:], func() answer { return p.push(oauth2.GenerateVerifier()) }) {
		if a.StatusCode != 401 || a.field("error") != "invalid_client" {
			t.Errorf("a request pushed: %s %s", a.Status, a.body)
		}
	}
}

// RFC 7592 has no versions: of several updates at the same time each is made, one after the other.
func TestUpdatesAtTheSameTime(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, initial := i.initialToken(organization, 1)
	made := i.must(i.registration("POST", register, initial, `{"client_name":"x","grant_types":["client_credentials"]}`), 201)
	id, own := made.field("client_id"), made.field("registration_access_token")
	party := i.must(i.registration("POST", register, i.initialTokenFor(organization, []string{"relying_party"}, nil), partyMetadata(t, nil)), 201)
	var agents, parties []func() answer
	for n := range 3 {
		agents = append(agents, func() answer {
			return i.registration("PUT", register+"/"+id, own, fmt.Sprintf(`{"client_id":"%s","client_name":"x%d","grant_types":["client_credentials"]}`, id, n))
		})
		parties = append(parties, func() answer {
			body := partyMetadata(t, map[string]any{"client_id": party.field("client_id"), "client_name": fmt.Sprint("y", n)})
			return i.registration("PUT", register+"/"+party.field("client_id"), party.field("registration_access_token"), body)
		})
	}
	all := append(i.during("update agents set updated_at = updated_at where id = $1::text::uuid", id[4:], agents...),
		i.during("update clients set updated_at = updated_at where id = $1::text::uuid", party.field("client_id")[4:], parties...)...)
	for _, a := range all {
		if a.StatusCode != 200 {
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
}

// A refresh token that comes back while its agent is deleted ends nothing, and is refused as ever.
func TestAgentDeletedWhileASignInEnds(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	agent, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, nil)
	verifier := oauth2.GenerateVerifier()
	old := i.must(p.redeem(p.code(token, "s", verifier, oidc.Nonce("n")), verifier), 200).field("refresh_token")
	i.must(p.refresh(old), 200)
	for _, a := range i.during("delete from agents where id = $1::text::uuid", agent[4:], func() answer { return p.refresh(old) }) {
		if a.StatusCode != 400 || a.field("error") != "invalid_grant" {
			t.Errorf("%s %s", a.Status, a.body)
		}
	}
}
