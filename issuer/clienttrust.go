package issuer

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clientkeys"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

// ClientKeys says how key sets are fetched that clients publish (jwksUri). Those who register credentials choose the URLs, so only public addresses are asked.
type ClientKeys struct {
	CA           config.Path `yaml:"ca"`           // further roots, PEM
	AllowPrivate bool        `yaml:"allowPrivate"` // also ask addresses of private networks: whoever registers credentials can then make the issuer call services there
}

// TrustDomain is a SPIFFE trust domain whose workloads may authenticate by their SVIDs.
type TrustDomain struct {
	TrustDomain string       `yaml:"trustDomain"` // such as example.org
	Bundle      SPIFFEBundle `yaml:"bundle"`
}

// SPIFFEBundle is a file, followed, or an https URL (profile https_web), asked as often as the bundle says.
type SPIFFEBundle struct {
	File config.Path `yaml:"file"`
	URL  string      `yaml:"url"`
	CA   config.Path `yaml:"ca"` // further roots for the URL, PEM
}

func (d TrustDomain) source() spiffe.Source {
	return spiffe.Source{TrustDomain: d.TrustDomain, File: string(d.Bundle.File), URL: d.Bundle.URL, CAFile: string(d.Bundle.CA)}
}

func checkTrustDomains(r *config.Report, domains []TrustDomain) {
	seen := make(map[string]bool)
	for n, d := range domains {
		at := fmt.Sprintf("spiffe[%d]", n)
		if err := spiffe.CheckTrustDomain(d.TrustDomain); err != nil {
			r.Errorf(at+".trustDomain", "%v", err)
		}
		if seen[d.TrustDomain] {
			r.Errorf(at+".trustDomain", "is listed already")
		}
		seen[d.TrustDomain] = true
		switch u, err := url.Parse(d.Bundle.URL); {
		case (d.Bundle.File == "") == (d.Bundle.URL == ""):
			r.Errorf(at+".bundle", "give a file or a url")
		case d.Bundle.URL != "" && (err != nil || u.Scheme != "https" || u.Host == ""):
			r.Errorf(at+".bundle.url", "must be an https URL")
		case d.Bundle.CA != "" && d.Bundle.URL == "":
			r.Errorf(at+".bundle.ca", "is for a url")
		case d.Bundle.URL != "":
			checkRoots(r, at+".bundle.ca", d.Bundle.CA)
		default:
			if _, err := spiffe.Open([]spiffe.Source{d.source()}, time.Now, slog.New(slog.DiscardHandler)); err != nil {
				r.Errorf(at+".bundle.file", "%v", err)
			}
		}
	}
}

// clientTrust opens what client authentication relies on besides the database. Bundles are nil when there are none.
func (i *Issuer) clientTrust() (clientauth.Trust, error) {
	keys, err := fetch.New(fetch.Config{
		CAFile: string(i.cfg.ClientKeys.CA), AllowPrivate: i.cfg.ClientKeys.AllowPrivate, ContentTypes: []string{"application/json", "application/jwk-set+json"},
	})
	if err != nil {
		return clientauth.Trust{}, fmt.Errorf("clientKeys: %w", err)
	}
	i.keyClients = append(i.keyClients, keys)
	trust := clientauth.Trust{Keys: clientkeys.New(keys, i.env.Now), CheckKeysURL: keys.CheckAddress, Now: i.env.Now}
	if i.cfg.TLS.ClientCA != "" {
		trust.Authorities = func() *x509.CertPool { return i.certificate.ClientAuthorities() }
	}
	if len(i.cfg.SPIFFE) == 0 {
		return trust, nil
	}
	sources := make([]spiffe.Source, 0, len(i.cfg.SPIFFE))
	for _, d := range i.cfg.SPIFFE {
		sources = append(sources, d.source())
	}
	if i.bundles, err = spiffe.Open(sources, i.env.Now, i.env.Log); err != nil {
		return clientauth.Trust{}, fmt.Errorf("spiffe: %w", err)
	}
	trust.Bundles = i.bundles
	return trust, nil
}
