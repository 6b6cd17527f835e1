package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
)

// Ask posts body to rawURL under the same guards as Get, and returns the answer: 2xx, of an accepted content type, within the size. Another status is a *StatusError,
// redirects included; of such an answer nothing is kept.
func (c *Client) Ask(ctx context.Context, rawURL string, header http.Header, body []byte) ([]byte, error) {
	client, err := c.clientFor(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, rawURL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("fetch: the URL cannot be parsed")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "agentidp")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err) // a *url.Error: names method, URL and cause
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, resp.Body, answerBytesMax)
		return nil, fmt.Errorf("fetch: Post %q: %w", rawURL, &StatusError{resp.StatusCode, min(seconds(resp.Header.Get("Retry-After")), maxAgeMax)})
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || !slices.Contains(c.cfg.ContentTypes, media) {
		return nil, fmt.Errorf("fetch: Post %q: not an accepted content type", rawURL)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.BodyBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("fetch: Post %q: %w", rawURL, err)
	}
	if int64(len(answer)) > c.cfg.BodyBytesMax {
		return nil, fmt.Errorf("fetch: Post %q: more than %d bytes", rawURL, c.cfg.BodyBytesMax)
	}
	return answer, nil
}
