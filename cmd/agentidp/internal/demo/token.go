package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// revocationMax bounds how long a token that was given back may still work, on a machine as busy as they come.
const revocationMax = 10 * time.Second

// tokenRevoked is an agent that is done with a token and gives it back (RFC 7009). Nothing is stored of a token, and yet the edge refuses it; the agent's other
// token is as good as before.
func (s *story) tokenRevoked(ctx context.Context) (string, error) {
	done, err := s.newToken(ctx, "orders:read")
	if err != nil {
		return "", err
	}
	a, err := s.edge.ask(ctx, http.MethodGet, "/orders/42", done)
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", fmt.Errorf("before it was given back: %w", err)
	}
	if err := s.active(ctx, done, true); err != nil {
		return "", err
	}
	if err := s.client.Revoke(ctx, s.secret(), done); err != nil {
		return "", err
	}
	began := time.Now()
	if err := s.active(ctx, done, false); err != nil {
		return "", err
	}
	waiting, cancel := context.WithTimeout(ctx, revocationMax)
	defer cancel()
	a, err = s.edge.until(waiting, http.StatusUnauthorized, []int{http.StatusOK}, func() (*answer, error) {
		return s.edge.ask(ctx, http.MethodGet, "/orders/42", done)
	})
	if err != nil {
		return "", fmt.Errorf("the token that was given back: %w", err)
	}
	took := time.Since(began)
	if !strings.Contains(a.body, "revoked_token") {
		return "", fmt.Errorf("refused for another reason: %s", a.body)
	}
	if a, err = s.edge.ask(ctx, http.MethodGet, "/orders/42", s.token); err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", fmt.Errorf("the agent's other token: %w", err)
	}
	return fmt.Sprintf("first refused after %.2f s; the agent's other token is still allowed", took.Seconds()), nil
}

// active asks the issuer what a token is worth (RFC 7662).
func (s *story) active(ctx context.Context, token string, want bool) error {
	got, err := s.client.Active(ctx, s.secret(), token)
	if err != nil {
		return err
	}
	if got != want {
		return errors.New("the issuer is of another opinion about the token than the agent that has just got it, or given it back")
	}
	return nil
}
