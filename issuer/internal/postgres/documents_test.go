package postgres_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/signin"
)

// pushedByDocument belongs to no organization.
func (w *world) pushedByDocument() signin.PushedRequest {
	p := w.newPushed(document)
	p.OrganizationID = agentid.Organization{}
	return p
}

// Only the client itself finds the organization of a sign-in by its id, and only when it has none of its own.
func TestOrganizationOfSignIn(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	if org, err := w.OrganizationOfSignIn(t.Context(), document, w.theirs.party.document.ID); err != nil || org != w.theirs.org.ID {
		t.Errorf("%v, %v", org, err)
	}
	got, err := w.SignIn(t.Context(), w.theirs.org.ID, w.theirs.party.document.ID)
	if err != nil || got.Client != document {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := w.SignIn(t.Context(), w.mine.org.ID, w.theirs.party.document.ID); problem.KindOf(err) != problem.NotFound {
		t.Errorf("in another organization: %v", err)
	}
	for name, tt := range map[string]struct {
		client string
		id     agentid.SignIn
	}{
		"to another document":     {document + "/other", w.theirs.party.document.ID},
		"to a registered client":  {w.theirs.party.client.ClientID(), w.theirs.party.signIn.ID},
		"by a registered's":       {document, w.theirs.party.signIn.ID},
		"that there is not":       {document, agentid.New[agentid.SignIn]()},
		"of nobody":               {"", w.theirs.party.document.ID},
		"of a registered by name": {w.theirs.party.client.ClientID(), w.theirs.party.document.ID},
	} {
		if org, err := w.OrganizationOfSignIn(t.Context(), tt.client, tt.id); problem.KindOf(err) != problem.NotFound || !org.IsZero() {
			t.Errorf("%s: %v, %v", name, org, err)
		}
	}
	platform := w.db.Connect(t, w.db.PlatformDSN)
	if n := query[int64](t, platform, "select count(*) from sign_ins")[0]; n != 2 {
		t.Errorf("the platform role sees %d sign-ins, want those to documents", n)
	}
}

// What a client of no organization pushes is found by it alone, and used once, by agents of whichever organization.
func TestPushedByDocument(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	p := w.mine.pushedByDocument()
	if err := w.PushRequest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, err := w.PushedRequest(t.Context(), p); err != nil || got != p.Parameters {
		t.Errorf("%q, %v", got, err)
	}
	for name, change := range map[string]func(*signin.PushedRequest){
		"another client": func(p *signin.PushedRequest) { p.Client = document + "/other" },
		"another issuer": func(p *signin.PushedRequest) { p.Issuer = "https://other.example" },
		"another key":    func(p *signin.PushedRequest) { p.Key[0]++ },
		"a registered client of an organization": func(p *signin.PushedRequest) {
			p.OrganizationID, p.Client = w.mine.org.ID, w.mine.party.client.ClientID()
		},
		"an organization": func(p *signin.PushedRequest) { p.OrganizationID = w.mine.org.ID },
	} {
		q := p
		change(&q)
		if got, err := w.PushedRequest(t.Context(), q); problem.KindOf(err) != problem.NotFound || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	var done sync.WaitGroup
	ends := make(chan error, 8)
	for n := range cap(ends) {
		done.Go(func() {
			tenant := []*world{w.mine, w.theirs}[n%2]
			ends <- w.CreateSignIn(t.Context(), operator, tenant.newSignIn(document), &p.Key)
		})
	}
	done.Wait()
	close(ends)
	signedIn := 0
	for err := range ends {
		if used, ok := issuance.AsUsed(err); err == nil {
			signedIn++
		} else if !ok || used.Purpose != issuance.UsePushedRequest {
			t.Error(err)
		}
	}
	if signedIn != 1 {
		t.Errorf("%d sign-ins by one pushed request", signedIn)
	}
	w.clock.Advance(3 * time.Minute)
	if err := w.PushRequest(t.Context(), w.mine.pushedByDocument()); err != nil {
		t.Fatal(err)
	}
	last := w.mine.pushedByDocument()
	last.ExpiresAt = w.clock.Now().Add(time.Minute)
	if err := w.PushRequest(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if n := query[int64](t, w.db.Superuser(t), "select count(*) from pushed_requests where client_document is not null")[0]; n != 1 {
		t.Errorf("%d pushed requests, want the last", n)
	}
}

// A row of a client without an organization cannot be in one, nor name two clients or none.
func TestDocumentRowsAreChecked(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	inOrganization := w.mine.pushedByDocument()
	inOrganization.OrganizationID = w.mine.org.ID
	if err := w.PushRequest(t.Context(), inOrganization); err == nil {
		t.Error("pushed by a document into an organization")
	}
	registered := w.mine.newPushed(w.mine.party.client.ClientID())
	registered.OrganizationID = agentid.Organization{}
	if err := w.PushRequest(t.Context(), registered); err == nil {
		t.Error("pushed by a registered client into the instance")
	}
	if err := w.CreateSignIn(t.Context(), operator, w.mine.newSignIn("nobody"), nil); err == nil {
		t.Error("a sign-in to a client that is neither")
	}
	for _, change := range []string{"client_id = null", "client_document = 'https://a.example/b'"} {
		if _, err := w.db.Superuser(t).Exec(t.Context(), "update sign_ins set "+change+" where client_id is not null"); err == nil || !strings.Contains(err.Error(), "sign_ins_client_check") {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// What such a client may use once is used up for the whole instance, and is of no organization.
func TestUsesOfTheInstance(t *testing.T) {
	t.Parallel()
	w := newTenants(t)
	use := issuance.SingleUse{Purpose: issuance.UseClientAssertion, Key: [32]byte{1}, ExpiresAt: start.Add(time.Minute)}
	if err := w.UseUp(t.Context(), agentid.Organization{}, use); err != nil {
		t.Fatal(err)
	}
	err := w.UseUp(t.Context(), agentid.Organization{}, use)
	if used, ok := issuance.AsUsed(err); !ok || used.Purpose != issuance.UseClientAssertion {
		t.Errorf("again: %v", err)
	}
	if err := w.UseUp(t.Context(), w.mine.org.ID, use); err != nil {
		t.Errorf("in an organization: %v", err)
	}
	w.clock.Advance(time.Hour)
	for n := range byte(2) {
		later := issuance.SingleUse{Purpose: use.Purpose, Key: [32]byte{2, n}, ExpiresAt: start.Add(2 * time.Hour)}
		if err := w.UseUp(t.Context(), agentid.Organization{}, later); err != nil {
			t.Fatal(err)
		}
	}
	if n := query[int64](t, w.db.Superuser(t), "select count(*) from single_uses where org_id = '00000000-0000-0000-0000-000000000000'")[0]; n != 2 {
		t.Errorf("%d uses kept, want the later two", n)
	}
}

// A sign-in to a document ends with its agent, and a registered client's with the client, as before.
func TestSignInsEndWithWhatTheyAreOf(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	if err := w.DeleteClient(t.Context(), operator, w.party.client.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SignIn(t.Context(), w.org.ID, w.party.signIn.ID); problem.KindOf(err) != problem.NotFound {
		t.Errorf("to a client that is deleted: %v", err)
	}
	if _, err := w.SignIn(t.Context(), w.org.ID, w.party.document.ID); err != nil {
		t.Error(err)
	}
	if err := w.agents.Delete(t.Context(), operator, w.agent.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.OrganizationOfSignIn(t.Context(), document, w.party.document.ID); problem.KindOf(err) != problem.NotFound {
		t.Errorf("of an agent that is deleted: %v", err)
	}
}
