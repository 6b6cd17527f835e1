// Package clientdocument knows clients by the document behind their client_id: OAuth Client ID Metadata Document
// (draft-ietf-oauth-client-id-metadata-document). A client_id that is an https URL names itself; nobody has registered it. What is behind the URL was written by
// a stranger and lies where a stranger says, so it is fetched by internal/fetch alone, from hosts the operator named, and believed only for what a redirect
// needs.
package clientdocument

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
)

// AnyHost in Config.Hosts allows every host with a public address.
const AnyHost = "*"

// Limits. The draft recommends at most 5 KiB of document.
const (
	documentBytesMax = 5 << 10
	clientIDBytesMax = 1 << 10
	fetchTimeout     = 3 * time.Second
	freshMin         = time.Minute      // of a document without or with a shorter max-age: who asks more often is answered from memory
	freshMax         = 24 * time.Hour   // however long the document says it may be kept
	refusedFor       = 10 * time.Second // what was refused is not fetched again before
	documentsMax     = 1000             // kept in memory, about 6 MiB at most
	refusalsMax      = 1000
	fetchesMax       = 16 // at once; more clients are asked to come again
)

// How a client without a secret proves itself (RFC 7591 s2).
const (
	authenticationNone = "none"
	authenticationKey  = "private_key_jwt"
)

// Errors of Resolve. The first is final, the second passes.
var (
	// ErrUnknown is every client_id that names no client here: not a URL of an allowed host, no document behind it, or one that is not about it.
	ErrUnknown = errors.New("no client document")
	// ErrBusy is a document that cannot be fetched right now because too many others are being fetched.
	ErrBusy = errors.New("too many client documents are being fetched")
)

// Client is a client that named itself. It holds no secret and belongs to no organization.
type Client struct {
	ID           string // the URL
	Name         string // what it calls itself; never proven
	Host         string // whose word all of this is
	Type         string // clientmetadata.Web or Native
	RedirectURIs []string
	// Authentication is "none", or "private_key_jwt" with keys in Metadata.
	Authentication string
	Metadata       *clientmetadata.Metadata
}

// Resolver finds the client that a client_id names. Resolve's error is ErrUnknown, ErrBusy or that of the context; the reason is in the error's text, for
// operators.
type Resolver interface {
	Resolve(ctx context.Context, clientID string) (Client, error)
}

// Config of Documents.
type Config struct {
	// Hosts whose documents are believed: host or host:port in lower case, or AnyHost. Empty allows none.
	Hosts []string
	// CAFile is for hosts with a certificate of the operator's own authority.
	CAFile string
	// AllowPrivate lets the hosts have addresses that are not public. It needs Hosts that are named.
	AllowPrivate bool

	Log *slog.Logger
	Now func() time.Time
}

// Enabled reports whether any document is believed, for metadata (client_id_metadata_document_supported).
func (c Config) Enabled() bool { return len(c.Hosts) > 0 }

// Validate says what is wrong with the configuration and at which member.
func (c Config) Validate() (member string, err error) {
	for _, h := range c.Hosts {
		if h == AnyHost {
			if c.AllowPrivate || len(c.Hosts) > 1 {
				return "hosts", errors.New(`"*" stands alone and goes with public addresses only`)
			}
			continue
		}
		u, err := url.Parse("https://" + h)
		if err != nil || u.Host != h || h != strings.ToLower(h) || u.Hostname() == "" || u.Port() == "443" {
			return "hosts", errors.New("want host or host:port in lower case, such as apps.example.com")
		}
	}
	return "", nil
}

// Documents resolves by fetching, and remembers.
type Documents struct {
	cfg   Config
	fetch *fetch.Client
	cache *cache
	slots chan struct{}
}

var _ Resolver = (*Documents)(nil)

// New makes a resolver; it fails when the CA file cannot be used.
func New(cfg Config) (*Documents, error) {
	if _, err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := fetch.New(fetch.Config{
		CAFile: cfg.CAFile, Timeout: fetchTimeout, BodyBytesMax: documentBytesMax, ContentTypes: []string{"application/json"}, AllowPrivate: cfg.AllowPrivate,
	})
	if err != nil {
		return nil, err
	}
	return &Documents{cfg: cfg, fetch: client, cache: newCache(cfg.Now), slots: make(chan struct{}, fetchesMax)}, nil
}

// Close drops idle connections.
func (d *Documents) Close() { d.fetch.Close() }

// Names reports whether a client_id is of this kind, whether or not it is allowed: no client that was registered has an id with a colon in it.
func Names(clientID string) bool { return strings.HasPrefix(clientID, "https:") }

// Resolve returns the client, from memory while its document is fresh.
func (d *Documents) Resolve(ctx context.Context, clientID string) (Client, error) {
	host, err := parseID(clientID)
	if err != nil {
		return Client{}, unknown(err)
	}
	if !d.allows(host) {
		return Client{}, unknown(errors.New("its host is not allowed"))
	}
	return d.cache.get(ctx, clientID, func(ctx context.Context, etag string) (outcome, error) {
		select {
		case d.slots <- struct{}{}:
			defer func() { <-d.slots }()
		default:
			return outcome{}, ErrBusy
		}
		got, err := d.load(ctx, clientID, host, etag)
		if err != nil {
			d.cfg.Log.InfoContext(ctx, "a client document was refused", "client_id", clientID, "err", err)
			return outcome{}, unknown(err)
		}
		return got, nil
	})
}

// load fetches the document and reads it.
func (d *Documents) load(ctx context.Context, clientID, host, etag string) (outcome, error) {
	doc, err := d.fetch.Get(ctx, clientID, etag)
	if err != nil {
		return outcome{}, err
	}
	got := outcome{etag: doc.ETag, fresh: min(max(doc.MaxAge, freshMin), freshMax), notModified: doc.NotModified}
	if doc.NotModified {
		return got, nil
	}
	got.client, err = read(doc.Body, clientID, host)
	return got, err
}

func (d *Documents) allows(host string) bool {
	return slices.Contains(d.cfg.Hosts, host) || slices.Equal(d.cfg.Hosts, []string{AnyHost})
}

// parseID holds a client_id to s3 of the draft: https, a path, no dot segments, no fragment, no user information. There is one spelling of each; a query
// is refused too, which s3 says it should not have.
func parseID(clientID string) (host string, err error) {
	if len(clientID) > clientIDBytesMax {
		return "", errors.New("it is too long")
	}
	u, err := url.Parse(clientID)
	switch {
	case err != nil:
		return "", errors.New("it is not a URL")
	case u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "":
		return "", errors.New("it is not an https URL")
	case u.User != nil || strings.ContainsAny(clientID, "#?\\"):
		return "", errors.New("it has user information, a query or a fragment")
	case u.Path == "" || u.Path == "/":
		return "", errors.New("it has no path")
	case u.String() != clientID || u.Host != strings.ToLower(u.Host) || u.Port() == "443" || strings.HasSuffix(u.Host, ":"):
		return "", errors.New("it is not in its canonical spelling")
	}
	for _, segment := range strings.Split(u.Path, "/") { // decoded: %2e%2e is a dot segment to whoever serves it
		if segment == "." || segment == ".." {
			return "", errors.New("it has a dot segment")
		}
	}
	return u.Host, nil
}

// read takes what a document says. Whoever can read it could read a secret in it, so there is none (s4.1 of the draft).
func read(body []byte, clientID, host string) (Client, error) {
	m, err := clientmetadata.Parse(body)
	if err != nil {
		return Client{}, err
	}
	if m.ClientID != clientID { // compared as strings, s4.1
		return Client{}, errors.New("it is about another client_id")
	}
	if m.HasSecret {
		return Client{}, errors.New("it holds a client_secret")
	}
	authentication := m.Authentication
	switch {
	case authentication == "":
		authentication = authenticationNone
	case authentication == authenticationNone:
	case authentication == authenticationKey && (m.Keys != nil || m.KeysURI != ""):
	default:
		return Client{}, errors.New("its token_endpoint_auth_method needs a secret, or keys it does not have")
	}
	if !m.Wants(clientmetadata.AuthorizationCode) {
		return Client{}, errors.New("it does not want authorization_code")
	}
	return Client{
		ID: clientID, Name: m.Name, Host: host, Type: m.ApplicationType, RedirectURIs: m.RedirectURIs, Authentication: authentication, Metadata: m,
	}, nil
}

type unknownError struct{ cause error }

func (e *unknownError) Error() string   { return ErrUnknown.Error() + ": " + e.cause.Error() }
func (e *unknownError) Unwrap() []error { return []error{ErrUnknown, e.cause} }

func unknown(cause error) error { return &unknownError{cause} }
