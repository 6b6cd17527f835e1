package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// certificatePoll is how often the files are looked at. Certificates are renewed days before they end, so seconds do not matter; and reading
// two small files needs no watcher, which would have to understand the symlink swaps of mounted Kubernetes secrets.
const certificatePoll = 10 * time.Second

// Certificate is a server certificate that follows its files. A new pair that does not fit together is refused and the old one stays.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]
	cert, key         []byte // as last read; owned by the goroutine of Run
}

// OpenCertificate reads the pair once, so that a wrong one is found before anything listens.
func OpenCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log}
	if _, err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Get is a tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// Run follows the files until ctx ends.
func (c *Certificate) Run(ctx context.Context) error {
	tick := time.NewTicker(certificatePoll)
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

func (c *Certificate) poll(ctx context.Context) {
	changed, err := c.reload()
	switch {
	case err != nil:
		c.log.WarnContext(ctx, "the new TLS certificate is not used", slog.Any("err", err))
	case changed:
		c.log.InfoContext(ctx, "TLS certificate replaced", slog.Time("not_after", c.current.Load().Leaf.NotAfter))
	}
}

// reload reports a broken pair once, not at every poll.
func (c *Certificate) reload() (changed bool, err error) {
	cert, certErr := os.ReadFile(c.certFile)
	key, keyErr := os.ReadFile(c.keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return false, pathless(err)
	}
	if bytes.Equal(cert, c.cert) && bytes.Equal(key, c.key) {
		return false, nil
	}
	c.cert, c.key = cert, key
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.current.Store(&pair)
	return true, nil
}

// pathless keeps errors.Join's lines on one.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("read %s: %w", p.Path, p.Err)
	}
	return err
}
