package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// allowed sends requests to different paths, so that each is decided, and wants the service to have seen every one.
func (s *story) allowed(ctx context.Context, token string) error {
	for i := range requests {
		a, err := s.edge.ask(ctx, http.MethodGet, fmt.Sprintf("/orders/%d", i), token)
		if err != nil {
			return err
		}
		if err := a.want(http.StatusOK); err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *story) issuerKilled(ctx context.Context) (string, error) {
	unused, err := s.newToken(ctx, "orders:read") // the sidecar has never seen it
	if err != nil {
		return "", err
	}
	issuer := s.stack.Process("issuer")
	issuer.Kill()
	if _, err := s.newToken(ctx, ""); err == nil {
		return "", errors.New("a token was issued: the issuer is not dead")
	}
	if err := s.allowed(ctx, unused); err != nil {
		return "", err
	}
	s.token = unused
	return fmt.Sprintf("pid %d killed; %d of %[2]d allowed, with a token not seen before", issuer.PID(), requests), nil
}

func (s *story) extauthzKilled(ctx context.Context) (string, error) {
	extauthz := s.stack.Process("extauthz")
	extauthz.Kill()
	for i := range requests {
		if _, err := s.refused(ctx, http.StatusServiceUnavailable, http.MethodGet, fmt.Sprintf("/orders/%d", i), s.token); err != nil {
			return "", fmt.Errorf("request %d: %w", i+1, err)
		}
	}
	return fmt.Sprintf("pid %d killed; %d of %[2]d answered 503", extauthz.PID(), requests), nil
}

func (s *story) extauthzBack(ctx context.Context) (string, error) {
	if err := s.stack.RestartExtauthz(ctx); err != nil {
		return "", err
	}
	_, err := s.edge.until(ctx, http.StatusOK, []int{http.StatusServiceUnavailable}, func() (*answer, error) { // until Envoy has connected again
		return s.edge.ask(ctx, http.MethodGet, "/orders/42", s.token)
	})
	if err != nil {
		return "", err
	}
	if _, err := s.refused(ctx, http.StatusUnauthorized, http.MethodGet, "/orders/42", ""); err != nil {
		return "", err
	}
	return fmt.Sprintf("pid %d; without a token still 401", s.stack.Process("extauthz").PID()), s.allowed(ctx, s.token)
}

func (s *story) policyFile() string { return s.stack.Path("policies/mesh/data.yaml") }

// edit replaces the policy's data as an editor does: the sidecar sees the old file or the new one.
func (s *story) edit(text []byte) error {
	unfinished := s.stack.Path("data.yaml.edited")
	if err := os.WriteFile(unfinished, text, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, s.policyFile())
}

// decided waits until a request gets the status, having had the other until then.
func (s *story) decided(ctx context.Context, want, before int) (string, error) {
	began := time.Now()
	_, err := s.edge.until(ctx, want, []int{before}, func() (*answer, error) {
		return s.edge.ask(ctx, http.MethodGet, "/orders/42", s.token)
	})
	return fmt.Sprintf("%d instead of %d after %.2f s", want, before, time.Since(began).Seconds()), err
}

// The edit asks for a scope the agent does not have.
var (
	scopeShipped = []byte("[orders:read]")
	scopeEdited  = []byte("[orders:audit]")
)

func (s *story) policyEdited(ctx context.Context) (string, error) {
	text, err := os.ReadFile(s.policyFile())
	if err != nil {
		return "", err
	}
	if !bytes.Contains(text, scopeShipped) {
		return "", fmt.Errorf("%s does not have %s", s.policyFile(), scopeShipped)
	}
	if err := s.edit(bytes.ReplaceAll(text, scopeShipped, scopeEdited)); err != nil {
		return "", err
	}
	return s.decided(ctx, http.StatusForbidden, http.StatusOK)
}

// policyBroken writes what does not parse, and waits until the sidecar's log names the file: from then on silence would be a fault.
func (s *story) policyBroken(ctx context.Context) (string, error) {
	good, err := os.ReadFile(s.policyFile())
	if err != nil {
		return "", err
	}
	if err := s.edit(append(good, "\n  broken: [\n"...)); err != nil {
		return "", err
	}
	line, err := s.awaitLog(ctx, "policy refused", filepath.Base(s.policyFile()))
	if err != nil {
		return "", err
	}
	if _, err := s.refused(ctx, http.StatusForbidden, http.MethodGet, "/orders/42", s.token); err != nil {
		return "", fmt.Errorf("what the edit before forbade: %w", err)
	}
	a, err := s.edge.ask(ctx, http.MethodGet, "/hello", s.token)
	if err != nil {
		return "", err
	}
	if err := a.want(http.StatusOK); err != nil {
		return "", fmt.Errorf("what every policy here allows: %w", err)
	}
	if !strings.Contains(line, `"line":`) {
		return "", fmt.Errorf("the log does not name the line: %s", line)
	}
	return "the log names " + filepath.Base(s.policyFile()) + " and the line", s.edit(good)
}

// awaitLog waits for a line of the sidecar's log with all the words.
func (s *story) awaitLog(ctx context.Context, words ...string) (string, error) {
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	for {
		for line := range strings.Lines(s.stack.Process("extauthz").Tail()) {
			found := true
			for _, word := range words {
				found = found && strings.Contains(line, word)
			}
			if found {
				return line, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the log of extauthz says nothing of %q", words)
		case <-pause.C:
		}
	}
}

func (s *story) policyRestored(ctx context.Context) (string, error) {
	text, err := os.ReadFile(s.policyFile())
	if err != nil {
		return "", err
	}
	if err := s.edit(bytes.ReplaceAll(text, scopeEdited, scopeShipped)); err != nil {
		return "", err
	}
	return s.decided(ctx, http.StatusOK, http.StatusForbidden)
}
