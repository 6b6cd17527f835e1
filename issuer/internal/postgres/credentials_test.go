package postgres_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// logins says which of the secrets work now.
func (b *bundle) logins(t *testing.T, id agentid.Agent, secrets ...string) []bool {
	t.Helper()
	var ok []bool
	for _, s := range secrets {
		_, _, err := b.agents.AuthenticateSecret(t.Context(), id.String(), s)
		if err != nil && err != credentials.ErrAuthentication { //nolint:errorlint // the very value
			t.Fatal(err)
		}
		ok = append(ok, err == nil)
	}
	return ok
}

func wantLogins(t *testing.T, when string, got []bool, want ...bool) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, secrets that work:\n%s", when, diff)
	}
}

func TestAtMostTwoUnexpiredSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	first, _, err := b.agents.CreateCredential(ctx, operator, a.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.agents.CreateCredential(ctx, operator, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.agents.CreateCredential(ctx, operator, a.ID, 0)
	wantProblem(t, "third secret", err, problem.Conflict, "too_many_credentials")
	_, _, err = b.agents.RotateCredential(ctx, operator, a.ID, first.ID, time.Minute)
	wantProblem(t, "rotation to a third", err, problem.Conflict, "too_many_credentials")
	if _, _, err := b.agents.RotateCredential(ctx, operator, a.ID, first.ID, 0); err != nil {
		t.Errorf("rotation without overlap: %v", err)
	}
	b.clock.Advance(2 * time.Hour) // one of the two has a lifetime of an hour
	if _, _, err := b.agents.CreateCredential(ctx, operator, a.ID, 0); err != nil {
		t.Errorf("after one expired: %v", err)
	}
}

func TestConcurrentCreationsStillMakeTwo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	var mu sync.Mutex
	made := 0
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			_, _, err := b.agents.CreateCredential(t.Context(), operator, a.ID, 0)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			} else if problem.KindOf(err) != problem.Conflict {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made != credentials.PerKindMax {
		t.Errorf("%d secrets made, want %d", made, credentials.PerKindMax)
	}
}

func TestRotationOverlaps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	old, oldSecret, err := b.agents.CreateCredential(ctx, operator, a.ID, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	next, nextSecret, err := b.agents.RotateCredential(ctx, operator, a.ID, old.ID, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if want := b.clock.Now().Add(24 * time.Hour); !next.ExpiresAt.Equal(want) || next.ID == old.ID || next.AgentID != a.ID || next.Kind != old.Kind {
		t.Errorf("successor %+v, want the same lifetime counted from now (%s)", next, want)
	}
	wantLogins(t, "at once", b.logins(t, a.ID, oldSecret, nextSecret), true, true)
	b.clock.Advance(10*time.Minute - time.Microsecond)
	wantLogins(t, "just before the overlap ends", b.logins(t, a.ID, oldSecret, nextSecret), true, true)
	b.clock.Advance(time.Microsecond)
	wantLogins(t, "when the overlap ends", b.logins(t, a.ID, oldSecret, nextSecret), false, true)
	_, _, err = b.agents.RotateCredential(ctx, operator, a.ID, old.ID, 0)
	wantProblem(t, "rotation of an expired secret", err, problem.Conflict, "credential_expired")
	b.clock.Advance(24 * time.Hour)
	wantLogins(t, "a day later", b.logins(t, a.ID, oldSecret, nextSecret), false, false)
}

func TestRotationNeverProlongs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	old, _, err := b.agents.CreateCredential(ctx, operator, a.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.agents.RotateCredential(ctx, operator, a.ID, old.ID, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	list, err := b.agents.Credentials(ctx, a.ID)
	if err != nil || len(list) != 2 || !list[0].ExpiresAt.Equal(old.ExpiresAt) {
		t.Errorf("%+v, %v; want the old one to end at %s", list, err, old.ExpiresAt)
	}
}

func TestUnlimitedCredentialHasAnUnlimitedSuccessor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	old, _, err := b.agents.CreateCredential(t.Context(), operator, a.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := b.agents.RotateCredential(t.Context(), operator, a.ID, old.ID, time.Hour)
	if err != nil || !next.ExpiresAt.IsZero() {
		t.Errorf("successor %+v, %v", next, err)
	}
}

func TestDeletedCredentialIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	org := b.newOrganization(t, "acme").ID
	a, other := b.newAgent(t, org, "payer"), b.newAgent(t, org, "other")
	c, secret, err := b.agents.CreateCredential(ctx, operator, a.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	// The credential of another agent of the same organization is not found.
	wantProblem(t, "delete by another agent", b.agents.DeleteCredential(ctx, operator, other.ID, c.ID), problem.NotFound, "credential_not_found")
	_, _, err = b.agents.RotateCredential(ctx, operator, other.ID, c.ID, 0)
	wantProblem(t, "rotate by another agent", err, problem.NotFound, "credential_not_found")
	wantLogins(t, "before", b.logins(t, a.ID, secret), true)
	if err := b.agents.DeleteCredential(ctx, operator, a.ID, c.ID); err != nil {
		t.Fatal(err)
	}
	wantLogins(t, "after", b.logins(t, a.ID, secret), false)
	wantProblem(t, "delete again", b.agents.DeleteCredential(ctx, operator, a.ID, c.ID), problem.NotFound, "credential_not_found")
}

func TestSuspendedAgentCannotLogIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	a := b.newAgent(t, b.newOrganization(t, "acme").ID, "payer")
	_, secret, err := b.agents.CreateCredential(ctx, operator, a.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		call func(context.Context) error
		ok   bool
	}{
		{"suspended", func(ctx context.Context) error { _, err := b.agents.Suspend(ctx, operator, a.ID); return err }, false},
		{"reactivated", func(ctx context.Context) error { _, err := b.agents.Reactivate(ctx, operator, a.ID); return err }, true},
		{"revoked", func(ctx context.Context) error { _, err := b.agents.Revoke(ctx, operator, a.ID); return err }, false},
		{"deleted", func(ctx context.Context) error { return b.agents.Delete(ctx, operator, a.ID, 0) }, false},
	} {
		if err := step.call(ctx); err != nil {
			t.Fatal(err)
		}
		wantLogins(t, step.name, b.logins(t, a.ID, secret), step.ok)
	}
}

// No form of a secret is anywhere in the database, the audit log included.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	w := newWorld(t, b)
	_, first, err := b.agents.CreateCredential(ctx, operator, w.agent.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.agents.DeleteCredential(ctx, operator, w.agent.ID, w.credential.ID); err != nil {
		t.Fatal(err)
	}
	list, err := b.agents.Credentials(ctx, w.agent.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := b.agents.RotateCredential(ctx, operator, w.agent.ID, list[0].ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pasted := "my secret is " + second // an operator's mistake
	if _, err := b.agents.Update(ctx, operator, w.agent.ID, 0, agents.Update{Description: &pasted}); err != nil {
		t.Fatal(err)
	}
	super := b.db.Superuser(t)
	everything := dump(t, super)
	var logged strings.Builder
	for _, body := range query[[]byte](t, super, "select body from audit_logs") {
		logged.Write(body)
	}
	for _, secret := range []string{first, second} {
		random := strings.TrimPrefix(secret, credentials.SecretPrefix)
		raw, err := base64.RawURLEncoding.DecodeString(random)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{random, hex.EncodeToString(raw), hex.EncodeToString([]byte(random))} {
			if strings.Contains(logged.String(), form) {
				t.Error("the audit log holds a secret")
			}
			if secret == first && strings.Contains(everything, form) {
				t.Error("the database holds a secret")
			}
		}
	}
}
