package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/issuerclient"
)

// deletionMax bounds how long a deleted credential's token may still work, on a machine as busy as they come.
const deletionMax = 10 * time.Second

// credentialDeleted is the answer to a leaked secret: the agent gets a second one, the leaked one is deleted, and with it go the tokens it was used for, shown before
// or not. The agent itself goes on.
func (s *story) credentialDeleted(ctx context.Context) (string, error) {
	leaked, err := s.client.CreateSecret(ctx, s.agent.AgentID)
	if err != nil {
		return "", err
	}
	var tokens [2]string
	for i := range tokens {
		t, err := s.client.Token(ctx, leaked, "orders:read", s.agent.Audience)
		if err != nil {
			return "", err
		}
		tokens[i] = t.AccessToken
	}
	shown, hidden := tokens[0], tokens[1]
	a, err := s.edge.ask(ctx, http.MethodGet, "/orders/42", shown)
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", fmt.Errorf("before the deletion: %w", err)
	}
	if err := s.client.DeleteCredential(ctx, s.agent.AgentID, leaked.Credential.ID); err != nil {
		return "", err
	}
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, deletionMax)
	defer cancel()
	a, err = s.edge.until(waiting, http.StatusUnauthorized, []int{http.StatusOK}, func() (*answer, error) {
		return s.edge.ask(ctx, http.MethodGet, "/orders/42", shown)
	})
	if err != nil {
		return "", fmt.Errorf("the deleted credential's token: %w", err)
	}
	took := time.Since(began)
	if !strings.Contains(a.body, "revoked_credential") {
		return "", fmt.Errorf("refused for another reason: %s", a.body)
	}
	if _, err := s.refused(ctx, http.StatusUnauthorized, http.MethodGet, "/orders/42", hidden); err != nil {
		return "", fmt.Errorf("a token not shown before: %w", err)
	}
	var refusal *issuerclient.Error
	if _, err := s.client.Token(ctx, leaked, "", ""); !errors.As(err, &refusal) || refusal.Code != "invalid_client" {
		return "", fmt.Errorf("the deleted secret asked for a token and got %v, want invalid_client", err)
	}
	if a, err = s.edge.ask(ctx, http.MethodGet, "/orders/42", s.token); err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", fmt.Errorf("the token of the agent's other credential: %w", err)
	}
	return fmt.Sprintf("first refused after %.2f s; the other credential's token is still allowed", took.Seconds()), nil
}
