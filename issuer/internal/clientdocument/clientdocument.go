// Package clientdocument knows clients by the document behind their client_id: OAuth Client ID Metadata Document
// (draft-ietf-oauth-client-id-metadata-document). A client_id that is an https URL names itself; nobody has registered it. What is behind the URL was written by
// a stranger and lies where a stranger says, so it is fetched by internal/fetch alone, from hosts the operator named, and believed only for where its answers go and
// how it proves itself. What it may ask of agents is the operator's word.
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
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// AnyHost in Config.Hosts allows every host with a public address.
const AnyHost = "*"

// Limits. The draft recommends at most 5 KiB of document.
const (
	documentBytesMax = 5 << 10
	clientIDBytesMax = 512 // it stands in tokens, and sidecars take no more
	fetchTimeout     = 3 * time.Second
	freshMin         = time.Minute      // of a document without or with a shorter max-age: who asks more often is answered from memory
	freshMax         = time.Hour        // however long the document says it may be kept
	refusedFor       = 10 * time.Second // what was refused is not fetched again before
	documentsMax     = 1000             // kept in memory, about 6 MiB at most
	refusalsMax      = 1000
	fetchesMax       = 16 // at once, key sets among them; more clients are asked to come again
)

// Errors of Resolve. The first is final, the second passes.
var (
	// ErrUnknown is every client_id that names no client here: not a URL of an allowed host, no document behind it, or one that is not about it.
	ErrUnknown = errors.New("no client document")
	// ErrBusy is a document or a key set that cannot be fetched right now because too many others are being fetched.
	ErrBusy = errors.New("too many client documents are being fetched")
)

// Client is a client that named itself. It holds no secret and belongs to no organization. Its name is what it calls itself, and never proven.
type Client struct {
	clients.Client
	Registration credentials.Registration // its keys; empty for a client of None
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

	// Scopes and Audiences of agents that any of these clients may ask for, if the agent has them too. Those of OpenID Connect need no mention.
	Scopes    []string
	Audiences []string

	Log *slog.Logger
	Now func() time.Time
}

// Validate says what is wrong with the configuration and at which member.
func (c Config) Validate() (member string, err error) {
	if len(c.Hosts) == 0 {
		return "hosts", errors.New(`is required: names of hosts, or "*" for every host with a public address`)
	}
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
	if err := fields.CheckScopes("", c.Scopes); err != nil {
		return "scopes", err
	}
	if err := fields.CheckAudiences("", c.Audiences); err != nil {
		return "audiences", err
	}
	return "", nil
}

// Documents resolves by fetching, and remembers.
type Documents struct {
	cfg   Config
	fetch *fetch.Client
	cache *cache
	keys  *keys
	slots slots
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
	d := &Documents{cfg: cfg, fetch: client, cache: newCache(cfg.Now), slots: make(slots, fetchesMax)}
	d.keys, err = newKeys(cfg, d.slots)
	return d, err
}

// Close drops idle connections.
func (d *Documents) Close() {
	d.fetch.Close()
	d.keys.client.Close()
}

// Names reports whether a client_id is of this kind, whether or not it is allowed: no client that was registered has an id with a colon in it.
func Names(clientID string) bool { return strings.HasPrefix(clientID, "https:") }

// Resolve returns the client, from memory while its document is fresh.
func (d *Documents) Resolve(ctx context.Context, clientID string) (Client, error) {
	host, err := parseID(clientID)
	if err != nil {
		return Client{}, unknown(err)
	}
	if !d.cfg.allows(host) {
		return Client{}, unknown(errors.New("its host is not allowed"))
	}
	return d.cache.get(ctx, clientID, func(ctx context.Context, etag string) (outcome, error) {
		if !d.slots.take() {
			return outcome{}, ErrBusy
		}
		defer d.slots.give()
		got, err := d.load(ctx, clientID, etag)
		if err != nil {
			d.cfg.Log.InfoContext(ctx, "a client document was refused", "client_id", clientID, "err", err)
			return outcome{}, unknown(err)
		}
		return got, nil
	})
}

// load fetches the document and reads it.
func (d *Documents) load(ctx context.Context, clientID, etag string) (outcome, error) {
	doc, err := d.fetch.Get(ctx, clientID, etag)
	if err != nil {
		return outcome{}, err
	}
	got := outcome{etag: doc.ETag, fresh: min(max(doc.MaxAge, freshMin), freshMax), notModified: doc.NotModified}
	if doc.NotModified {
		return got, nil
	}
	got.client, err = d.read(doc.Body, clientID)
	return got, err
}

func (c Config) allows(host string) bool {
	return slices.Contains(c.Hosts, host) || slices.Equal(c.Hosts, []string{AnyHost})
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
func (d *Documents) read(body []byte, clientID string) (Client, error) {
	m, err := clientmetadata.Parse(body)
	if err != nil {
		return Client{}, err
	}
	switch {
	case m.ClientID != clientID: // compared as strings, s4.1
		return Client{}, errors.New("it is about another client_id")
	case m.HasSecret:
		return Client{}, errors.New("it holds a client_secret")
	case !m.Wants(clientmetadata.AuthorizationCode):
		return Client{}, errors.New("it does not want authorization_code")
	}
	c := Client{Client: clients.Client{
		Document: clientID, Name: m.Name, Type: clients.Type(m.ApplicationType), Authentication: credentials.Method(m.Authentication), RedirectURIs: m.RedirectURIs,
		Scopes: d.scopes(m), Audiences: d.cfg.Audiences, RefreshTokens: m.Wants(clientmetadata.RefreshToken),
		RequirePushed: m.RequirePushed, RequireDPoP: m.RequireDPoP, RequireCertificate: m.BoundByTLS,
	}}
	switch c.Authentication {
	case "", credentials.None:
		c.Authentication = credentials.None
	case credentials.PrivateKeyJWT:
		c.Registration = credentials.Registration{Keys: m.KeysDocument, KeysURL: m.KeysURI}
		return c, d.checkKeys(&c.Registration)
	default:
		return Client{}, errors.New("its token_endpoint_auth_method is neither none nor private_key_jwt")
	}
	return c, nil
}

// scopes are those of the operator's that the document names; without scope it names all (RFC 7591 s2).
func (d *Documents) scopes(m *clientmetadata.Metadata) []string {
	return slices.DeleteFunc(slices.Clone(d.cfg.Scopes), func(s string) bool { return m.Scopes != nil && !slices.Contains(m.Scopes, s) })
}

type unknownError struct{ cause error }

func (e *unknownError) Error() string   { return ErrUnknown.Error() + ": " + e.cause.Error() }
func (e *unknownError) Unwrap() []error { return []error{ErrUnknown, e.cause} }

func unknown(cause error) error { return &unknownError{cause} }
