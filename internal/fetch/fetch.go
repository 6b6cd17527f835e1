// Package fetch is the one way out: HTTP GET with caps on time, size and address, no redirects, a required content type.
package fetch

import (
	"context"
	"time"
)

// Client fetches documents. It is safe for concurrent use.
type Client struct{}

// Config of a client.
type Config struct {
	CAFile         string        // extra root, PEM; empty means system roots
	Timeout        time.Duration // whole exchange; default 5 s
	BodyBytesMax   int64         // default 256 KiB
	ContentTypes   []string      // accepted media types, e.g. application/json, application/jwk-set+json
	AllowPrivate   bool          // addresses that are not global unicast; only for URLs an operator wrote
	AllowPlaintext bool          // http:// ; only for loopback hosts
}

func New(cfg Config) (*Client, error) { panic("contract") }

// Document is a 200 or 304 answer.
type Document struct {
	NotModified bool
	Body        []byte
	ETag        string
	MaxAge      time.Duration // Cache-Control max-age, 0 when absent
}

// Get fetches url; etag may be empty. Any other status, type, size or redirect is an error that names it.
func (c *Client) Get(ctx context.Context, url, etag string) (*Document, error) { panic("contract") }
