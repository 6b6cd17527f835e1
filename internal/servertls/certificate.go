package servertls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/internal/smallfile"
)

// poll is how often the files are looked at. Reading two or three small files needs no watcher, which would have to understand the
// symlink swaps of mounted Kubernetes secrets.
const poll = time.Second

// Certificate is a server certificate, and the authorities of its clients, that follow their files. What does not fit together, is not
// readable or has expired is refused, and the last good stays.
type Certificate struct {
	files  Files
	reader *smallfile.Follower[contents]
	log    *slog.Logger
	now    func() time.Time

	current  atomic.Pointer[material]
	replaced atomic.Uint64
	refused  atomic.Uint64
	failing  atomic.Bool

	read contents // as last seen, and
	last string   // what was wrong with it; both owned by the goroutine of Run
}

// material is what one state of the files came to. It is never changed.
type material struct {
	pair    tls.Certificate
	clients *x509.CertPool // nil: clients need no certificate
	// clientsUntil is when the last of the authorities ends.
	clientsUntil time.Time
}

// Open reads the files once, so that a wrong one is found before anything listens.
func Open(files Files, now func() time.Time, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{files: files, reader: smallfile.Follow(files.Cert+" or a file that goes with it", files.read), log: log, now: now}
	if _, err := c.reload(context.Background()); err != nil {
		return nil, err
	}
	return c, nil
}

// Get is a tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &c.current.Load().pair, nil
}

// ClientAuthorities are the authorities of Files.ClientCA as they are now, for a server that verifies certificates of clients itself; nil without them.
func (c *Certificate) ClientAuthorities() *x509.CertPool { return c.current.Load().clients }

// NotAfter is when the certificate in use ends.
func (c *Certificate) NotAfter() time.Time { return c.current.Load().pair.Leaf.NotAfter }

// Config is Config with this certificate, for these protocols (ALPN), and with the client authorities when there are any. Each handshake
// goes by the files as they are then. Sessions are not resumed where clients have certificates: a resumed one would not be checked again.
func (c *Certificate) Config(protocols ...string) *tls.Config {
	base := Config(c.Get)
	base.NextProtos = protocols
	if c.files.ClientCA == "" {
		return base
	}
	base.ClientAuth = tls.RequireAndVerifyClientCert
	base.SessionTicketsDisabled = true
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := base.Clone()
		now.GetConfigForClient = nil
		now.ClientCAs = c.current.Load().clients
		return now, nil
	}
	return base
}

// Run follows the files until ctx ends.
func (c *Certificate) Run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.poll(ctx)
		}
	}
}

// poll says what is wrong once, not at every look.
func (c *Certificate) poll(ctx context.Context) {
	changed, err := c.reload(ctx)
	if ctx.Err() != nil {
		return // the end, not a failure
	}
	c.failing.Store(err != nil)
	switch {
	case err != nil && err.Error() != c.last:
		c.last = err.Error()
		c.refused.Add(1)
		c.log.WarnContext(ctx, "the new TLS certificate is not used", "err", c.last, "until", c.NotAfter())
	case err != nil:
	case changed:
		c.replaced.Add(1)
		c.log.InfoContext(ctx, "TLS certificate replaced", "not_after", c.NotAfter())
	}
	if err == nil {
		c.last = ""
	}
}

// reload uses what the files hold now, if it is new and good.
func (c *Certificate) reload(ctx context.Context) (changed bool, err error) {
	read, err := c.reader.Read(ctx)
	if err != nil {
		return false, err
	}
	if c.current.Load() != nil && read.equal(c.read) {
		return false, nil
	}
	m, err := c.files.parse(read, c.now())
	if err != nil {
		return false, err
	}
	c.read = read
	c.current.Store(m)
	return true, nil
}
