package issuer

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/obs"
	"github.com/agentidp/agentidp/internal/servertls"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/adminapi"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/grants"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/keys"
	"github.com/agentidp/agentidp/issuer/internal/postgres"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// Config is issuer.yaml. Relative paths count from the file's folder; secrets are references, {file: path} or {env: NAME}.
type Config struct {
	// Issuer is the iss of every token and the base of every URL we publish: https, a host, maybe a port, and nothing else.
	Issuer string `yaml:"issuer"`

	// Listen is host:port. There is TLS on it, and only TLS: tokens and secrets cross it.
	Listen string `yaml:"listen"`

	TLS        TLS           `yaml:"tls"`
	ClientKeys ClientKeys    `yaml:"clientKeys"`
	SPIFFE     []TrustDomain `yaml:"spiffe"`

	// ClientDocuments lets agents sign in to relying parties that nobody registered here, known by the document behind their client_id. Without it there are none.
	ClientDocuments *ClientDocuments `yaml:"clientDocuments"`

	Federation Federation `yaml:"federation"`

	Database Database `yaml:"database"`

	// BootstrapToken lets its holder use the admin API. At least 32 bytes, best of a random generator.
	BootstrapToken config.Secret `yaml:"bootstrapToken"`

	// CredentialHashKey is the key of the hashes under which client secrets are stored, at least 32 bytes. All instances share it; with another key, no client secret works.
	CredentialHashKey config.Secret `yaml:"credentialHashKey"`

	// KEK is the key-encryption key, a document made by `issuer -generate-kek`. Without it the signing keys in the database cannot be opened. It may be left out where KMS
	// is given; beside KMS it only opens what it wrapped before, unless kms.primary says otherwise (docs/keys.md).
	KEK config.Secret `yaml:"kek"`

	// KMS keeps the key-encryption key elsewhere.
	KMS *KMS `yaml:"kms"`

	// OrganizationIssuers says which issuers an organization's agents can get tokens of: both (the default: the instance's, and the organization's own at
	// /o/{slug}, as the agent asks), own, or instance.
	OrganizationIssuers issuers.Mode `yaml:"organizationIssuers"`

	SigningKeys SigningKeys `yaml:"signingKeys"`

	Tokens    Tokens    `yaml:"tokens"`
	Discovery Discovery `yaml:"discovery"`
	Metrics   Metrics   `yaml:"metrics"`
	Log       Log       `yaml:"log"`

	// Tracing says where the spans of traced requests go; without it nothing is traced.
	Tracing *obs.Tracing `yaml:"tracing"`

	Limits Limits `yaml:"limits"`

	// TrustedProxies are networks whose X-Forwarded-For is believed: what passes a request on and ends TLS. Everybody else is where the connection comes from.
	TrustedProxies []string `yaml:"trustedProxies"`

	// RequestsMax is how many requests are handled at once; more are answered 503 at once. Default 512.
	RequestsMax int `yaml:"requestsMax"`
}

// TLS names the server certificate. The files are looked at each second, a new certificate is used without a restart.
type TLS struct {
	Cert config.Path `yaml:"cert"`
	Key  config.Path `yaml:"key"`

	// ClientCA holds the authorities whose certificates prove a client by its name (tls_client_auth), PEM; followed like the others. No client needs a certificate: every
	// connection is asked for one, and may have none.
	ClientCA config.Path `yaml:"clientCA"`
}

func (t TLS) files() servertls.Files {
	return servertls.Files{Cert: string(t.Cert), Key: string(t.Key), ClientCA: string(t.ClientCA)}
}

// Database holds the DSNs of the roles (ADR 0005); they reach the same database.
type Database struct {
	App      config.Secret `yaml:"app"`      // role agentidp_app
	Platform config.Secret `yaml:"platform"` // role agentidp_platform
	Owner    config.Secret `yaml:"owner"`    // needed by -migrate alone; leave it out where the issuer serves

	// ConnectionsMax is per role and instance. Default 10.
	ConnectionsMax int `yaml:"connectionsMax"`
}

func (d *Database) validate(r *config.Report) {
	for _, dsn := range []struct {
		field string
		config.Secret
	}{{"app", d.App}, {"platform", d.Platform}, {"owner", d.Owner}} {
		if !dsn.IsSet() {
			continue
		}
		if _, err := postgres.Place(dsn.Reveal()); err != nil {
			r.Errorf("database."+dsn.field, "%v", err)
		}
	}
}

// SigningKeys are the keys of every issuer (docs/keys.md).
type SigningKeys struct {
	Period    config.Duration `yaml:"period"`    // how long a key signs; default 720h, at least twice the time it is published before
	Algorithm jose.Algorithm  `yaml:"algorithm"` // of access tokens: ES256 (the default) or EdDSA; an operator may choose another for one issuer
}

// Tokens are the access tokens.
type Tokens struct {
	Lifetime config.Duration `yaml:"lifetime"` // default 5m, at most 15m

	// DPoPNonce says whether a DPoP proof must carry a nonce of the issuer (RFC 9449 s8): required (the default) or optional.
	DPoPNonce string `yaml:"dpopNonce"`

	// ActorsMax is how many agents may act for a subject, one through the other, after token exchanges (RFC 8693). Default 4, at most 8.
	ActorsMax int `yaml:"actorsMax"`
}

// The values of Tokens.DPoPNonce.
const (
	nonceRequired = "required"
	nonceOptional = "optional"
)

// Discovery is about the public documents.
type Discovery struct {
	MaxAge config.Duration `yaml:"maxAge"` // of metadata and keys, default 5m; a new key must be published that long before it signs
}

// Metrics is the operator's listener with /metrics, /healthz and /readyz. It asks for no credential: keep it on loopback or on the pod's network.
type Metrics struct {
	Listen string `yaml:"listen"` // host:port; empty for none
	Pprof  bool   `yaml:"pprof"`  // adds /debug/pprof/, over loopback only
}

// Log is the log.
type Log struct {
	Level slog.Level `yaml:"level"` // debug, info, warn, error; default info
}

// Bounds of what an operator may set.
const (
	requestsMaxMax    = 100_000
	connectionsMaxMax = 1000
	maxAgeMax         = 24 * time.Hour
	hashKeyBytesMin   = 32
)

// SetDefaults implements the contract of package config.
func (c *Config) SetDefaults() {
	c.Tokens.Lifetime.Duration = tokens.LifetimeDefault
	c.Tokens.DPoPNonce = nonceRequired
	c.Tokens.ActorsMax = grants.ActorsMaxDefault
	c.Discovery.MaxAge.Duration = 5 * time.Minute
	c.OrganizationIssuers = issuers.Both
	c.SigningKeys.Period.Duration = keys.PeriodDefault
	c.SigningKeys.Algorithm = jose.ES256
	c.Database.ConnectionsMax = 10
	c.RequestsMax = web.ConcurrentRequestsMax
	c.Limits.setDefaults()
}

// Validate reports everything that is wrong, without opening a socket. The files that the configuration names are read: a start reads no others.
func (c *Config) Validate(r *config.Report) {
	if _, err := parseIssuer(c.Issuer); err != nil {
		r.Errorf("issuer", "%v", err)
	}
	checkAddress(r, "listen", c.Listen)
	if c.Metrics.Listen != "" {
		checkAddress(r, "metrics.listen", c.Metrics.Listen)
	}
	for _, required := range []struct {
		field string
		given bool
	}{
		{"tls.cert", c.TLS.Cert != ""},
		{"tls.key", c.TLS.Key != ""},
		{"database.app", c.Database.App.IsSet()},
		{"database.platform", c.Database.Platform.IsSet()},
	} {
		if !required.given {
			r.Errorf(required.field, "is required")
		}
	}
	if c.TLS.Cert != "" && c.TLS.Key != "" {
		if _, err := servertls.Open(c.TLS.files(), time.Now, slog.New(slog.DiscardHandler)); err != nil {
			r.Errorf("tls", "%v", err)
		}
	}
	c.Database.validate(r)
	checkRoots(r, "clientKeys.ca", c.ClientKeys.CA)
	c.checkKEK(r)
	if n := len(c.BootstrapToken.Reveal()); n < adminapi.BootstrapTokenBytesMin || n > adminapi.BootstrapTokenBytesMax {
		r.Errorf("bootstrapToken", "is required and must have %d to %d bytes", adminapi.BootstrapTokenBytesMin, adminapi.BootstrapTokenBytesMax)
	}
	if len(c.CredentialHashKey.Reveal()) < hashKeyBytesMin {
		r.Errorf("credentialHashKey", "is required and must have at least %d bytes", hashKeyBytesMin)
	}
	if l := c.Tokens.Lifetime.Duration; l < tokens.LifetimeMin || l > tokens.LifetimeMax {
		r.Errorf("tokens.lifetime", "must be %s to %s", tokens.LifetimeMin, tokens.LifetimeMax)
	}
	if n := c.Tokens.DPoPNonce; n != nonceRequired && n != nonceOptional {
		r.Errorf("tokens.dpopNonce", "must be %s or %s", nonceRequired, nonceOptional)
	}
	if a := c.Discovery.MaxAge.Duration; a > maxAgeMax {
		r.Errorf("discovery.maxAge", "must be at most %s", maxAgeMax)
	}
	checkTrustDomains(r, c.SPIFFE)
	c.ClientDocuments.validate(r)
	checkFederation(r, c.Issuer, c.Federation.Partners)
	if !slices.Contains(issuers.Modes(), c.OrganizationIssuers) {
		r.Errorf("organizationIssuers", "must be both, own or instance")
	}
	if !slices.Contains(keys.AccessTokenAlgorithms(), c.SigningKeys.Algorithm) {
		r.Errorf("signingKeys.algorithm", "must be ES256 or EdDSA")
	}
	if err := c.schedule().Validate(); err != nil {
		r.Errorf("signingKeys.period", "%v", err)
	}
	if c.Tracing != nil {
		c.Tracing.Validate(r, "tracing")
	}
	checkRange(r, "tokens.actorsMax", c.Tokens.ActorsMax, tokens.ActorsMax)
	c.Limits.validate(r)
	if _, wrong := parseProxies(c.TrustedProxies); wrong >= 0 {
		r.Errorf(fmt.Sprintf("trustedProxies[%d]", wrong), "want an address or a network, such as 10.0.0.0/8")
	}
	checkRange(r, "requestsMax", c.RequestsMax, requestsMaxMax)
	checkRange(r, "database.connectionsMax", c.Database.ConnectionsMax, connectionsMaxMax)
}

func (c *Config) schedule() keys.Schedule {
	return keys.Schedule{Period: c.SigningKeys.Period.Duration, MaxAge: c.Discovery.MaxAge.Duration}
}

func checkRange(r *config.Report, field string, n, highest int) {
	if n < 1 || n > highest {
		r.Errorf(field, "must be 1 to %d", highest)
	}
}

// checkRoots wants a file of certificates, or none.
func checkRoots(r *config.Report, field string, file config.Path) {
	if _, err := fetch.Roots(string(file)); err != nil {
		r.Errorf(field, "%v", err)
	}
}

func checkAddress(r *config.Report, field, address string) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		r.Errorf(field, "want host:port, such as 127.0.0.1:8443")
	}
}

var errIssuer = errors.New("want https://host or https://host:port in lower case, with nothing behind it, such as https://localhost:8443")

// parseIssuer wants the one spelling that can be compared as a string everywhere (RFC 8414 s2: https, no query, no fragment). A path is what tells the issuers of
// organizations apart.
func parseIssuer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.String() != "https://"+u.Host || u.Host != strings.ToLower(u.Host) || u.Port() == "443" {
		return nil, errIssuer
	}
	if _, err := did.NewNamespace(u); err != nil {
		return nil, err
	}
	return u, nil
}

// parseProxies reads trustedProxies: networks, or single addresses.
func parseProxies(list []string) (proxies []netip.Prefix, wrong int) {
	for n, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addressErr := netip.ParseAddr(text)
			if addressErr != nil || a.Zone() != "" {
				return nil, n
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, -1
}
