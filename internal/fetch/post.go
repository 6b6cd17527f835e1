package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// answerBytesMax is how much of an answer to Post is read, so that its connection can be used again. Nothing of it is kept.
const answerBytesMax = 64 << 10

// StatusError is an answer of the other side that is not what was asked for.
type StatusError struct {
	Code       int
	RetryAfter time.Duration // what the answer asks for in seconds; 0 when it does not
}

func (e *StatusError) Error() string { return fmt.Sprintf("answered %d", e.Code) }

// Post sends body to rawURL under the same guards as Get. header holds the content type and what else is to be sent. Any 2xx
// answer is good; another is a *StatusError, redirects included. The body of the answer is not looked at.
func (c *Client) Post(ctx context.Context, rawURL string, header http.Header, body []byte) error {
	client, err := c.clientFor(rawURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rawURL, bytes.NewReader(body))
	if err != nil {
		return errors.New("fetch: the URL cannot be parsed")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "agentidp")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("fetch: %w", err) // a *url.Error: names method, URL and cause
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, answerBytesMax)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("fetch: Post %q: %w", rawURL, &StatusError{resp.StatusCode, min(seconds(resp.Header.Get("Retry-After")), maxAgeMax)})
	}
	return nil
}
