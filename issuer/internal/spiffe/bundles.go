package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/smallfile"
)

// How bundles are followed.
const (
	filePoll       = 5 * time.Second
	urlPollDefault = 5 * time.Minute // without a refresh hint
	urlPollMin     = 10 * time.Second
	urlPollMax     = time.Hour
	retryAfter     = 10 * time.Second
	staleMax       = 24 * time.Hour // of a bundle whose URL cannot be reached any more
	bundleBytesMax = 256 << 10
)

// Source says where the bundle of a trust domain is: in a file or at a URL.
type Source struct {
	TrustDomain string
	File        string
	URL         string
	CAFile      string // further roots for the URL
}

// ErrNoBundle is a trust domain whose bundle could not be read yet, or is too old.
var ErrNoBundle = errors.New("no current bundle of the trust domain")

var errNotTrusted = errors.New("the trust domain is not one of ours")

// Bundles are the bundles of the trust domains an operator trusts. Run keeps them current.
type Bundles struct {
	domains map[string]*domain
	now     func() time.Time
	log     *slog.Logger
}

type domain struct {
	source  Source
	client  *fetch.Client // nil for a file
	file    *smallfile.Follower[[]byte]
	current atomic.Pointer[bundle]

	etag string // owned by the goroutine of Run
	last string // what was wrong with it
}

// bundle is never changed.
type bundle struct {
	keys        *jose.KeySet
	authorities *x509.CertPool
	readAt      time.Time
	text        string // of a file, to see changes
	poll        time.Duration
}

// Open reads the files, so that a wrong one is found at the start. What is at a URL is fetched by Run: its server may be down when we start.
func Open(sources []Source, now func() time.Time, log *slog.Logger) (*Bundles, error) {
	b := &Bundles{domains: make(map[string]*domain), now: now, log: log}
	for _, s := range sources {
		d := &domain{source: s}
		if s.URL != "" {
			client, err := fetch.New(fetch.Config{CAFile: s.CAFile, BodyBytesMax: bundleBytesMax, ContentTypes: []string{"application/json", "application/jwk-set+json"}, AllowPrivate: true})
			if err != nil {
				return nil, fmt.Errorf("trust domain %s: %w", s.TrustDomain, err)
			}
			d.client = client
		} else {
			d.file = smallfile.Follow(s.File, func() ([]byte, error) { return smallfile.Read(s.File, bundleBytesMax) })
			if err := d.readFile(context.Background(), now()); err != nil {
				return nil, fmt.Errorf("trust domain %s: %w", s.TrustDomain, err)
			}
		}
		b.domains[s.TrustDomain] = d
	}
	return b, nil
}

// Run follows files and URLs until ctx ends. What cannot be read or is no bundle is logged once, and the last good one stays.
func (b *Bundles) Run(ctx context.Context) error {
	done := make(chan struct{})
	for _, d := range b.domains {
		go func() { b.follow(ctx, d); done <- struct{}{} }()
	}
	for range b.domains {
		<-done
	}
	return nil
}

func (b *Bundles) follow(ctx context.Context, d *domain) {
	defer func() {
		if d.client != nil {
			d.client.Close()
		}
	}()
	for {
		wait, err := d.refresh(ctx, b.now())
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != d.last {
			b.log.WarnContext(ctx, "the bundle of a trust domain cannot be read; the last good one stays", "trust_domain", d.source.TrustDomain, "err", err)
		}
		if d.last = ""; err != nil {
			d.last, wait = err.Error(), retryAfter
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (d *domain) refresh(ctx context.Context, now time.Time) (time.Duration, error) {
	if d.client == nil {
		return filePoll, d.readFile(ctx, now)
	}
	doc, err := d.client.Get(ctx, d.source.URL, d.etag)
	if err != nil {
		return 0, err
	}
	if doc.NotModified {
		same := *d.current.Load()
		same.readAt = now
		d.current.Store(&same)
		return same.poll, nil
	}
	next, err := parse(doc.Body, now)
	if err != nil {
		return 0, err
	}
	d.current.Store(next)
	d.etag = doc.ETag
	return next.poll, nil
}

func (d *domain) readFile(ctx context.Context, now time.Time) error {
	text, err := d.file.Read(ctx)
	if err != nil {
		return err
	}
	if had := d.current.Load(); had != nil && had.text == string(text) {
		return nil
	}
	next, err := parse(text, now)
	if err != nil {
		return fmt.Errorf("%s: %w", d.source.File, err)
	}
	next.text = string(text)
	d.current.Store(next)
	return nil
}

// parse refuses a bundle without anything in it: a domain that trusts nobody would be taken off the configuration.
func parse(text []byte, now time.Time) (*bundle, error) {
	parsed, problems, err := jose.ParseTrustBundle(text)
	if err != nil {
		return nil, err
	}
	b := &bundle{keys: parsed.Keys, authorities: x509.NewCertPool(), readAt: now, poll: urlPollDefault}
	if parsed.RefreshHint > 0 {
		b.poll = min(max(parsed.RefreshHint, urlPollMin), urlPollMax)
	}
	usable := parsed.Keys.Len()
	for _, der := range parsed.Authorities {
		authority, err := x509.ParseCertificate(der)
		if err != nil || !authority.IsCA {
			continue
		}
		b.authorities.AddCert(authority)
		usable++
	}
	if usable == 0 {
		return nil, fmt.Errorf("the bundle has no usable key or authority (%d left out)", len(problems))
	}
	return b, nil
}

// Serves reports whether a trust domain is one of ours, current or not.
func (b *Bundles) Serves(trustDomain string) bool {
	if b == nil {
		return false
	}
	_, ok := b.domains[trustDomain]
	return ok
}

// of is the current bundle of a domain. One from a file is current as long as it is not replaced.
func (b *Bundles) of(trustDomain string) (*bundle, error) {
	if !b.Serves(trustDomain) {
		return nil, errNotTrusted
	}
	d := b.domains[trustDomain]
	current := d.current.Load()
	if current == nil || d.client != nil && b.now().Sub(current.readAt) > staleMax {
		return nil, ErrNoBundle
	}
	return current, nil
}

// Keys are those that the JWT-SVIDs of a trust domain are signed with. ErrNoBundle when they are not known.
func (b *Bundles) Keys(trustDomain string) (*jose.KeySet, error) {
	current, err := b.of(trustDomain)
	if err != nil {
		return nil, err
	}
	return current.keys, nil
}

// Verify reports whether a certificate is an X.509-SVID of this id, signed by its trust domain's authorities (X.509-SVID s5). ErrNoBundle when those are not known.
func (b *Bundles) Verify(id ID, chain []*x509.Certificate) error {
	current, err := b.of(id.TrustDomain)
	if err != nil {
		return err
	}
	leaf := chain[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id.String() {
		return errors.New("the certificate has not this SPIFFE ID as its only URI")
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("the certificate is not one of a workload")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: current.authorities, Intermediates: intermediates, CurrentTime: b.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
