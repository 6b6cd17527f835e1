// Package fetch is the one way out: HTTP GET and POST with caps on time, size and address, no redirects, a required content type of
// what is read.
//
// URLs often come from strangers (a partner's keys, a client's keys or its document), so the address is judged where it is dialled, after
// every lookup: a name that resolves differently the second time, or a numeric spelling of 127.0.0.1, gains nothing.
package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/smallfile"
)

// TimeoutDefault is how long a whole exchange may take.
const TimeoutDefault = 5 * time.Second

// Defaults and caps.
const (
	bodyBytesMaxDefault = 256 << 10
	headerBytesMax      = 16 << 10
	urlBytesMax         = 2 << 10
	etagBytesMax        = 256
	caBytesMax          = 4 << 20
)

// Config of a client.
type Config struct {
	CAFile         string        // extra roots beside the system's, PEM
	Timeout        time.Duration // whole exchange, look-up to last byte; default 5 s
	BodyBytesMax   int64         // default 256 KiB
	ContentTypes   []string      // accepted media types, e.g. application/json, application/jwk-set+json; at least one
	AllowPrivate   bool          // addresses that are not global unicast, any port; only for URLs an operator wrote
	AllowPlaintext bool          // http:// ; only for loopback hosts
	Bearer         string        // token that Get sends as Authorization: Bearer; "" sends none
}

// Client fetches documents. It is safe for concurrent use and keeps connections alive between calls.
type Client struct {
	cfg       Config
	guard     addressGuard // of https
	https     *http.Client
	plaintext *http.Client
}

// New makes a client; it fails on a CA file without certificates and on a config that accepts no content type.
func New(cfg Config) (*Client, error) {
	if len(cfg.ContentTypes) == 0 {
		return nil, errors.New("fetch: no accepted content type")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = TimeoutDefault
	}
	if cfg.BodyBytesMax <= 0 {
		cfg.BodyBytesMax = bodyBytesMaxDefault
	}
	roots, err := Roots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	guard := publicAddress
	if cfg.AllowPrivate {
		guard = anyAddress
	}
	return &Client{cfg: cfg, guard: guard, https: httpClient(guard, nil, roots), plaintext: httpClient(loopbackAddress, nil, roots)}, nil
}

// Roots are the system's, and those of a PEM file unless its name is empty; nil stands for the system's alone.
func Roots(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil // the system's roots
	}
	data, err := smallfile.Read(caFile, caBytesMax)
	if err != nil {
		return nil, err // names the file
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s holds no PEM certificate", caFile)
	}
	return pool, nil
}

func httpClient(guard addressGuard, resolver *net.Resolver, roots *x509.CertPool) *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would dial for us, behind the guard
			DialContext:            dialer(guard, resolver),
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			DisableCompression:     true, // the size cap counts what is parsed
			MaxResponseHeaderBytes: headerBytesMax,
			MaxIdleConnsPerHost:    1,
			MaxConnsPerHost:        4,
			IdleConnTimeout:        90 * time.Second,
		},
	}
}

// CheckAddress says of a URL whose host is an address what Get would: ErrAddress when it is never asked. Where a name leads is known when it is asked.
func (c *Client) CheckAddress(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("the URL cannot be parsed")
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return nil
	}
	port := uint64(443)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return errors.New("the URL has no port that there is")
		}
	}
	return c.guard(netip.AddrPortFrom(address, uint16(port)))
}

// Close drops idle connections. The client stays usable.
func (c *Client) Close() {
	c.https.CloseIdleConnections()
	c.plaintext.CloseIdleConnections()
}

// Document is a 200 or 304 answer.
type Document struct {
	NotModified bool // the ETag that was sent still holds; Body is nil
	Body        []byte
	ETag        string
	MaxAge      time.Duration // what is left of Cache-Control max-age, 0 when absent
}

// Get fetches rawURL; etag may be empty. Any other status, type, size or redirect is an error that names it.
func (c *Client) Get(ctx context.Context, rawURL, etag string) (*Document, error) {
	client, err := c.clientFor(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, errors.New("fetch: the URL cannot be parsed")
	}
	req.Header.Set("User-Agent", "agentidp")
	req.Header.Set("Accept", strings.Join(c.cfg.ContentTypes, ", "))
	if c.cfg.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Bearer)
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err) // a *url.Error: names method, URL and cause
	}
	defer resp.Body.Close()
	doc, err := c.read(resp, etag)
	if err == nil {
		// A server that sees us hang up can still end its body properly; what it cut short for that reason is not the document.
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("fetch: Get %q: %w", rawURL, err)
	}
	return doc, nil
}

// CheckURL says why Get would not try rawURL, before any look-up; in words for the field of a configuration that has it.
func (c *Client) CheckURL(rawURL string) error {
	_, err := c.choose(rawURL)
	return err
}

func (c *Client) clientFor(rawURL string) (*http.Client, error) {
	client, err := c.choose(rawURL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return client, nil
}

// choose judges the URL itself and picks the client whose address guard fits its scheme.
func (c *Client) choose(rawURL string) (*http.Client, error) {
	if len(rawURL) > urlBytesMax {
		return nil, errors.New("the URL is too long")
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be parsed")
	case u.User != nil:
		return nil, errors.New("the URL must not carry user information")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.Fragment != "":
		return nil, errors.New("the URL must not have a fragment")
	case u.Scheme == "https":
		return c.https, nil
	case u.Scheme == "http" && c.cfg.AllowPlaintext && isLoopbackName(u.Hostname()):
		return c.plaintext, nil
	case u.Scheme == "http" && c.cfg.AllowPlaintext:
		return nil, errors.New("http:// is accepted for loopback hosts only")
	}
	return nil, errors.New("the URL must start with https://")
}

// read checks an answer and takes its body, at most the cap.
func (c *Client) read(resp *http.Response, etag string) (*Document, error) {
	doc := &Document{ETag: resp.Header.Get("ETag"), MaxAge: maxAge(resp.Header)}
	if len(doc.ETag) > etagBytesMax {
		doc.ETag = ""
	}
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified && etag != "":
		doc.NotModified = true
		if doc.ETag == "" {
			doc.ETag = etag
		}
		return doc, nil
	case code == http.StatusNotModified:
		return nil, errors.New("answered 304 (not modified), but was not asked whether it is: no ETag was sent")
	case code >= 300 && code < 400:
		return nil, fmt.Errorf("answered %d: redirects are not followed", code)
	case code != http.StatusOK:
		return nil, fmt.Errorf("answered %d, want 200", code)
	}
	given, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(c.cfg.ContentTypes, given) {
		return nil, fmt.Errorf("content type is %.100q, want one of %q", resp.Header.Get("Content-Type"), c.cfg.ContentTypes)
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, fmt.Errorf("content encoding %.40q was not asked for", encoding)
	}
	if resp.ContentLength > c.cfg.BodyBytesMax {
		return nil, fmt.Errorf("body of %d bytes is larger than %d", resp.ContentLength, c.cfg.BodyBytesMax)
	}
	doc.Body, err = io.ReadAll(io.LimitReader(resp.Body, c.cfg.BodyBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if int64(len(doc.Body)) > c.cfg.BodyBytesMax {
		return nil, fmt.Errorf("body is larger than %d bytes", c.cfg.BodyBytesMax)
	}
	return doc, nil
}
