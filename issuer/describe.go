package issuer

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/servertls"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
)

// Describe writes what a process with this configuration, which must be valid, would do: a line for each thing it would listen on, read, ask or
// trust. It opens no socket, asks no URL and no database. Secrets are not in it.
func (c *Config) Describe(w io.Writer) {
	fmt.Fprintf(w, "issuer: %s, organizationIssuers: %s\n", c.Issuer, c.OrganizationIssuers)
	c.describeListen(w)
	c.describeDatabase(w)
	if kek, err := c.kek(); err == nil { // it was good a moment ago
		fmt.Fprintf(w, "data keys: wrapped by %s\n", kek)
	}
	fmt.Fprintf(w, "signing keys: %s, each signs for %s and is published %s before\n", c.SigningKeys.Algorithm, c.SigningKeys.Period, c.schedule().Lead())
	fmt.Fprintf(w, "tokens: live %s\n", c.Tokens.Lifetime)
	c.describeTrust(w)
	counted := "by this process alone"
	if c.Limits.Redis.IsSet() {
		counted = "in Redis, for all processes"
	}
	fmt.Fprintf(w, "limits: counted %s, by the address of the connection", counted)
	if len(c.TrustedProxies) > 0 {
		fmt.Fprintf(w, ", or what X-Forwarded-For of %s says", strings.Join(c.TrustedProxies, ", "))
	}
	fmt.Fprintln(w)
	if c.Tracing != nil {
		fmt.Fprintf(w, "tracing: to %s\n", c.Tracing.Endpoint)
	}
}

func (c *Config) describeListen(w io.Writer) {
	clients := "no certificate proves a client by its name"
	if c.TLS.ClientCA != "" {
		clients = "clients by certificates of " + string(c.TLS.ClientCA)
	}
	certificate, err := servertls.Open(c.TLS.files(), time.Now, slog.New(slog.DiscardHandler))
	if err != nil { // it was there a moment ago
		fmt.Fprintf(w, "listen: %s, TLS: %v\n", c.Listen, err)
	} else {
		fmt.Fprintf(w, "listen: %s, TLS until %s, %s\n", c.Listen, certificate.NotAfter().UTC().Format(time.RFC3339), clients)
	}
	if c.Metrics.Listen == "" {
		fmt.Fprintln(w, "metrics: none, nor /healthz and /readyz")
		return
	}
	fmt.Fprintf(w, "metrics: on http://%s\n", c.Metrics.Listen)
	if host, _, err := net.SplitHostPort(c.Metrics.Listen); err != nil || !obs.IsLoopback(host) {
		fmt.Fprintln(w, "metrics: WARNING: whoever reaches this address reads them")
	}
	if c.Metrics.Pprof {
		fmt.Fprintln(w, "metrics: /debug/ is answered over loopback only")
	}
}

func (c *Config) describeDatabase(w io.Writer) {
	for _, role := range []struct{ use, dsn string }{
		{"within one organization", c.Database.App.Reveal()}, {"across organizations", c.Database.Platform.Reveal()}, {"for -migrate alone", c.Database.Owner.Reveal()},
	} {
		if place, err := postgres.Place(role.dsn); role.dsn != "" && err == nil {
			fmt.Fprintf(w, "database: as %s, %s\n", place, role.use)
		}
	}
}

func (c *Config) describeTrust(w io.Writer) {
	for _, d := range c.SPIFFE {
		bundle := d.Bundle.URL
		if bundle == "" {
			bundle = string(d.Bundle.File)
		}
		fmt.Fprintf(w, "spiffe: %s, bundle of %s\n", d.TrustDomain, bundle)
	}
	for _, p := range c.Federation.Partners {
		keys := "no keys: nothing it says is believed"
		if p.JWKS != nil {
			keys = "keys of " + p.JWKS.URL
		}
		fmt.Fprintf(w, "federation: %s for %s, %s, gets assertions for %d clients\n", p.Issuer, p.OrganizationID, keys, len(p.Clients))
	}
	if d := c.ClientDocuments; d != nil {
		fmt.Fprintf(w, "client documents: of %s\n", strings.Join(d.Hosts, ", "))
	}
	if c.ClientKeys.AllowPrivate {
		fmt.Fprintln(w, "client keys: WARNING: whoever registers credentials can make the issuer call private addresses")
	}
}
