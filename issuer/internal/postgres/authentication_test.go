package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/postgres/gen/platformdb"
)

// The look-up of an agent that does not exist, and of one without a working secret, returns a row of the usual shape; the store tells them apart.
func TestClientLookUpAlwaysReturnsARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	q := platformdb.New(w.db.Connect(t, w.db.PlatformDSN))
	bare := w.newAgent(t, w.org.ID, "bare")
	for name, id := range map[string]agentid.Agent{"known": w.agent.ID, "without a secret": bare.ID, "unknown": agentid.New[agentid.Agent](), "impossible": {}} {
		row, err := q.ClientForAuthentication(t.Context(), platformdb.ClientForAuthenticationParams{ID: id.UUID(), At: start})
		if err != nil || len(row.CredentialIds) != 1 || len(row.SecretHashes) != 1 || len(row.SecretHashes[0]) != 32 ||
			len(row.Capabilities) != 1 || len(row.Scopes) != 1 || len(row.Audiences) != 1 || row.Name == "" || row.Status == "" {
			t.Errorf("%s: %+v, %v", name, row, err)
		}
	}
	a, hashes, err := w.ClientForAuthentication(t.Context(), bare.ID, start)
	if err != nil || a.ID != bare.ID || len(hashes) != 0 {
		t.Errorf("without a secret: %v, %v, %v", a.ID, hashes, err)
	}
	_, hashes, err = w.ClientForAuthentication(t.Context(), agentid.New[agentid.Agent](), start)
	wantProblem(t, "unknown", err, problem.NotFound, "agent_not_found")
	if len(hashes) != 0 {
		t.Error("the decoy's hash left the store")
	}
	a, hashes, err = w.ClientForAuthentication(t.Context(), w.agent.ID, start)
	if err != nil || a.ID != w.agent.ID || a.OrganizationID != w.org.ID || len(hashes) != 1 || hashes[0].Credential != w.credential.ID {
		t.Errorf("known: %+v, %v, %v", a, hashes, err)
	}
	if _, hashes, err = w.ClientForAuthentication(t.Context(), w.agent.ID, w.credential.ExpiresAt); err != nil || len(hashes) != 0 {
		t.Errorf("at the moment of expiry: %v, %v", hashes, err)
	}
}

// An unknown client takes as long as a wrong secret. Fast calls are compared, those the machine did not disturb; without the decoys they differ by a third.
func TestUnknownClientTakesAsLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup(t))
	ids := []string{w.agent.ID.String(), agentid.New[agentid.Agent]().String(), "no id at all"}
	const rounds, calls, differenceMax = 8, 500, 0.15
	var last []time.Duration
	for range rounds {
		took := make([][]time.Duration, len(ids))
		for range calls {
			for i, id := range ids { // in turn, so that all meet the same weather
				begun := time.Now()
				_, _, err := w.agents.AuthenticateSecret(t.Context(), id, "aidp_wrong")
				took[i] = append(took[i], time.Since(begun))
				if err == nil {
					t.Fatal("a wrong secret was accepted")
				}
			}
		}
		last = last[:0]
		for _, d := range took {
			slices.Sort(d)
			last = append(last, d[len(d)/10])
		}
		if float64(slices.Max(last)-slices.Min(last)) <= differenceMax*float64(slices.Max(last)) {
			return
		}
	}
	t.Errorf("wrong secret, unknown client, no client: %v", last)
}
