package settings

import (
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
)

// NewFetcher makes a client for URLs an operator wrote: private addresses are theirs to name. http:// is for loopback alone.
func NewFetcher(ca config.Path, bodyBytesMax int64) (*fetch.Client, error) {
	return fetch.New(fetch.Config{
		CAFile: string(ca), BodyBytesMax: bodyBytesMax,
		ContentTypes: []string{"application/json", "application/jwk-set+json"},
		AllowPrivate: true, AllowPlaintext: true,
	})
}

// Fetcher makes a client for the bundle. The types are those of OPA's own, and what web servers say of a .tar.gz.
func (p *Policy) Fetcher() (*fetch.Client, error) {
	return fetch.New(fetch.Config{
		CAFile: string(p.CA), BodyBytesMax: feed.BundleBytesMax, Timeout: bundleTimeout, Bearer: p.Token.Reveal(),
		ContentTypes: []string{"application/vnd.openpolicyagent.bundles", "application/gzip", "application/x-gzip", "application/octet-stream"},
		AllowPrivate: true, AllowPlaintext: true,
	})
}
