package clientdocument

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/clientkeys"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// slots bound how much is fetched at once, for all who ask.
type slots chan struct{}

func (s slots) take() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) give() { <-s }

// keys fetches the key sets that documents name, by the rules for documents but larger.
type keys struct {
	client *fetch.Client
	source *clientkeys.Source
	slots  slots
}

func newKeys(cfg Config, s slots) (*keys, error) {
	client, err := fetch.New(fetch.Config{
		CAFile: cfg.CAFile, Timeout: fetchTimeout, ContentTypes: []string{"application/json", "application/jwk-set+json"}, AllowPrivate: cfg.AllowPrivate,
	})
	if err != nil {
		return nil, err
	}
	k := &keys{client: client, slots: s}
	k.source = clientkeys.New(k, cfg.Now)
	return k, nil
}

// Get implements clientkeys.Getter.
func (k *keys) Get(ctx context.Context, rawURL, etag string) (*fetch.Document, error) {
	if !k.slots.take() {
		return nil, ErrBusy
	}
	defer k.slots.give()
	return k.client.Get(ctx, rawURL, etag)
}

// Keys is the key set that a document names, as clientkeys.Source.Keys. It is fetched from hosts that documents are believed of, and no others.
func (d *Documents) Keys(ctx context.Context, rawURL, kid string) (*jose.KeySet, error) {
	if err := d.checkKeysURL(rawURL); err != nil {
		return nil, err
	}
	return d.keys.source.Keys(ctx, rawURL, kid)
}

// checkKeys holds the keys of a document to what keys in a registration are held to.
func (d *Documents) checkKeys(r *credentials.Registration) error {
	if err := r.Validate(credentials.KindPrivateKeyJWT); err != nil {
		return fmt.Errorf("its keys: %w", err)
	}
	if r.KeysURL == "" {
		return nil
	}
	return d.checkKeysURL(r.KeysURL)
}

func (d *Documents) checkKeysURL(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "https" || !d.cfg.allows(u.Host) {
		return errors.New("its jwks_uri is not an https URL of an allowed host")
	}
	return nil
}
