package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/echo"
)

const (
	answerBytesMax = 1 << 20
	askPause       = 20 * time.Millisecond
)

// edge sends requests through Envoy.
type edge struct {
	base string
	http *http.Client
}

func newEdge(base string) *edge {
	return &edge{base: base, http: &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}}
}

// answer is what came back, and what the service saw when it was the one that answered.
type answer struct {
	status int
	header http.Header
	body   string
	seen   *echo.Request
}

// ask makes one request; header values are given as [name, value] pairs, so that one can come twice.
func (e *edge) ask(ctx context.Context, method, path, token string, headers ...[2]string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.base+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		req.Header.Add(h[0], h[1])
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	if resp.StatusCode == http.StatusOK {
		a.seen = new(echo.Request)
		if err := json.Unmarshal(body, a.seen); err != nil {
			return nil, fmt.Errorf("200, but not from the demo service: %w", err)
		}
	}
	return a, nil
}

// want says what is wrong with the status, with the start of the body.
func (a *answer) want(status int) error {
	if a.status == status {
		return nil
	}
	const bodyMax = 200
	body := strings.Join(strings.Fields(a.body), " ")
	if len(body) > bodyMax {
		body = body[:bodyMax] + "…"
	}
	return fmt.Errorf("answered %d, want %d: %s", a.status, status, body)
}

// until repeats a request until it gets the wanted status. Any status but that and those tolerated meanwhile is an error at once.
func (e *edge) until(ctx context.Context, want int, meanwhile []int, send func() (*answer, error)) (*answer, error) {
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	for {
		a, err := send()
		if err != nil {
			return nil, err
		}
		if a.status == want {
			return a, nil
		}
		tolerated := false
		for _, status := range meanwhile {
			tolerated = tolerated || a.status == status
		}
		if !tolerated {
			return nil, a.want(want)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("still %w", a.want(want))
		case <-pause.C:
		}
	}
}
