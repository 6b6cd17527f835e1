package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/postgres/pgtest"
)

// Why no request can violate a constraint.
const (
	madeHere     = "the id or key is random and made by us a moment before"
	lockedParent = "the row it refers to is locked, or inserted, in the same transaction before"
	onConflict   = "the one statement that inserts says what happens on conflict"
	onceOnly     = "what it follows from happens once in the life of a row"
	seeded       = "the migration inserts the one row; nobody has the privilege to insert another"
	constants    = "the values are constants of ours, checked where the request is read"
	hashed       = "the value is an output of SHA-256"
	ranges       = "the range is checked where the request is read"
)

// unviolated are the constraints that no request runs into, each with its reason.
var unviolated = map[string]string{
	"agent_registrations_agent_fkey":          lockedParent,
	"client_credentials_client_fkey":          lockedParent,
	"client_registrations_client_fkey":        lockedParent,
	"credentials_agent_fkey":                  lockedParent,
	"initial_access_tokens_organization_fkey": lockedParent,
	"organization_limits_organization_fkey":   lockedParent,
	"sign_ins_agent_fkey":                     lockedParent + " (checkHolder)",
	"signing_keys_issuer_fkey":                lockedParent + " (takeRevision)",
	"agents_pkey":                             madeHere,
	"agents_id_key":                           madeHere,
	"audit_logs_pkey":                         "the server counts",
	"audit_logs_event_key":                    madeHere,
	"client_credentials_pkey":                 madeHere,
	"clients_pkey":                            madeHere,
	"clients_id_key":                          madeHere,
	"credentials_pkey":                        madeHere,
	"initial_access_tokens_pkey":              madeHere,
	"organizations_pkey":                      madeHere,
	"pushed_requests_pkey":                    madeHere,
	"sign_ins_pkey":                           madeHere,
	"sign_ins_document_key":                   madeHere,
	"organization_limits_pkey":                onConflict,
	"revoked_tokens_pkey":                     onConflict,
	"single_uses_pkey":                        onConflict,
	"token_watermarks_pkey":                   onConflict,
	"agent_registrations_pkey":                onceOnly + ": an agent registers, and is new",
	"client_registrations_pkey":               onceOnly + ": a relying party registers, and is new",
	"deleted_agents_pkey":                     onceOnly + ": an agent is deleted",
	"deleted_credentials_pkey":                onceOnly + ": a credential is deleted",
	"revoked_signing_keys_pkey":               onceOnly + ": a key is revoked",
	"revocation_sequence_pkey":                seeded,
	"revocation_sequence_one_row":             seeded,
	"signing_schedule_pkey":                   seeded,
	"signing_schedule_one_row":                seeded,
	"schema_version_pkey":                     "migrations are no requests",
	"agents_status_check":                     constants,
	"client_credentials_kind_check":           constants,
	"clients_type_check":                      constants,
	"credentials_kind_check":                  constants,
	"initial_access_tokens_kinds_check":       constants,
	"signing_keys_state_check":                constants,
	"signing_keys_use_check":                  constants,
	"agent_registrations_hash_check":          hashed,
	"client_registrations_hash_check":         hashed,
	"initial_access_tokens_hash_check":        hashed,
	"pushed_requests_key_check":               hashed,
	"sign_ins_hashes_check":                   hashed,
	"single_uses_key_check":                   hashed,
	"credentials_hash_check":                  hashed + "; what a registration may hold is less than 64 KiB (TestTheLargestRegistrationIsStored)",
	"client_credentials_hash_check":           hashed + "; what a registration may hold is less than 64 KiB (TestTheLargestRegistrationIsStored)",
	"organization_limits_client_positive":     ranges,
	"organization_limits_positive":            ranges,
	"organization_limits_whole":               "both numbers of a limit come from one value",
	"initial_access_tokens_uses_check":        "the statement that counts stops at uses_max, which is at least 1",
	"organizations_slug_key":                  "organization_slugs_pkey is asked before",
	"organizations_not_nil":                   madeHere,
	"pushed_requests_client_check":            "a client has an id or a document, whose client_id begins with https://",
	"sign_ins_client_fkey":                    "who creates a sign-in locks its client before, and finds out (TestParentDeletedMeanwhile)",
	"sign_ins_client_check":                   "a client has an id or a document, whose client_id begins with https://",
	"revoked_tokens_id_check":                 "the jti of a token that we signed; of one that an administrator names the length is checked",
	"sign_ins_tokens_check":                   "both lists are made from one",
	"signing_keys_destroyed_check":            "the statement that destroys a key empties it, and no other revokes one",
}

// Whatever the migrations add later: a constraint that a request can violate has its answer, and of every other it is said why none can.
func TestEveryConstraintHasItsAnswer(t *testing.T) {
	t.Parallel()
	source := sourceOfStore(t)
	super := pgtest.New(t).Superuser(t)
	all := query[string](t, super, `
		select conname::text from pg_constraint where connamespace = 'agentidp'::regnamespace and contype in ('c', 'f', 'p', 'u', 'x')
		union select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid where c.relnamespace = 'agentidp'::regnamespace and i.indisunique
		order by 1`)
	if len(all) < 60 {
		t.Fatalf("only %d constraints: this test looks in the wrong place", len(all))
	}
	known := map[string]bool{}
	for _, name := range all {
		known[name] = true
		answers := 0
		if postgres.IsConflict(name) {
			answers++
		}
		if strings.Contains(source, `violates(err, "`+name+`")`) {
			answers++
		}
		reason, listed := unviolated[name]
		switch {
		case listed && (answers > 0 || reason == ""):
			t.Errorf("%s: listed as never violated, with the reason %q and %d answers", name, reason, answers)
		case !listed && answers == 0:
			t.Errorf("%s: neither an answer in errors.go or at its statement, nor the reason why no request violates it", name)
		}
	}
	for name := range unviolated {
		if !known[name] {
			t.Errorf("%s: there is no such constraint", name)
		}
	}
	for _, name := range postgres.Conflicts() {
		if !known[name] {
			t.Errorf("errors.go answers for %s, which there is not", name)
		}
	}
}

func sourceOfStore(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all strings.Builder
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// What is accepted as a registration can be stored, however it is spelled: HTML's characters are not made longer on the way.
func TestTheLargestRegistrationIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	largest := credentials.Registration{KeysURL: "https://a.example/" + strings.Repeat("&", credentials.KeysURLBytesMax-18), Keys: []byte(`{"x":"` + strings.Repeat("<", credentials.KeysBytesMax-8) + `"}`)}
	c := w.credential
	c.ID, c.Kind, c.Registration = agentid.New[agentid.Credential](), credentials.KindPrivateKeyJWT, largest
	made, err := w.CreateCredential(t.Context(), operator, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(made.Registration.Keys) != string(largest.Keys) || made.Registration.KeysURL != largest.KeysURL {
		t.Error("it came back as another")
	}
	party := newClientCredential(w.party.client.ID)
	party.Kind, party.Registration = credentials.KindPrivateKeyJWT, largest
	client := w.newClient("by-key")
	client.Authentication, party.ClientID = "private_key_jwt", client.ID
	if _, err := w.CreateClient(t.Context(), operator, client, &party, nil); err != nil {
		t.Error(err)
	}
}

// Parents that go, in the moment before a row refers to them.
func TestParentDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	parties := w.newOrganization(t, "parties")
	client := w.newClient("only")
	client.OrganizationID, client.Authentication = parties.ID, "none"
	if _, err := w.CreateClient(t.Context(), operator, client, nil, nil); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "an organization with a relying party", w.DeleteOrganization(t.Context(), operator, parties.ID, 0), problem.Conflict, "organization_has_clients")
	gone := w.newClient("gone")
	wantProblem(t, "a request of a client that is gone", w.PushRequest(t.Context(), w.newPushed(gone.ClientID())), problem.NotFound, "client_not_found")
	wantProblem(t, "a sign-in to a client that is gone", w.CreateSignIn(t.Context(), operator, w.newSignIn(gone.ClientID()), nil), problem.NotFound, "client_not_found")
}
