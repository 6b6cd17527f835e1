// Package settings is the configuration file: its keys and their defaults, what is wrong with a file, and what -check says of a good one. Reading it
// opens no socket and asks no URL; the pipeline gets its parts as they are here.
package settings

import (
	"log/slog"
	"slices"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/listener"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/obs"
)

// Config is the file of extauthz. Its keys, defaults and limits are described in docs/extauthz.md; what has a default may be left out.
type Config struct {
	// Listen names where Envoy connects: unix:///path, tcp://host:port, or a list of them. Nothing listens that is not named.
	Listen config.OneOrMany `yaml:"listen"`
	// SocketMode is the mode of unix sockets: who may connect may ask for decisions, nothing more.
	SocketMode listener.SocketMode `yaml:"socketMode"`
	// SocketTakeover lets this process take the place of one that listens on a unix socket, for upgrades without a lost request.
	SocketTakeover bool `yaml:"socketTakeover"`
	// DrainDelay is how long health checks say "not serving" before connections are ended, for balancers that go by them.
	DrainDelay config.Duration `yaml:"drainDelay"`
	// TLS, when there is one, is what ports speak.
	TLS *TLS `yaml:"tls"`
	// StateDir keeps the last good answers of URLs across restarts. See state.go for what it is by default.
	StateDir config.Path `yaml:"stateDir"`
	// File is where the configuration was read.
	File config.Path `yaml:"-"`

	Issuers []Issuer `yaml:"issuers"`
	Policy  Policy   `yaml:"policy"`
	// Identity says what a request without a token means.
	Identity IdentityMode `yaml:"identity"`
	// Public routes are asked of the policy without an identity.
	Public  []PublicRoute `yaml:"public"`
	Metrics *Metrics      `yaml:"metrics"`
	// TokenCache remembers verified tokens.
	TokenCache TokenCache `yaml:"tokenCache"`
	// DecisionCache remembers decisions of policies that allow it.
	DecisionCache DecisionCache `yaml:"decisionCache"`
	// DPoP says how proofs of possession are judged.
	DPoP DPoP `yaml:"dpop"`
	// CORS says what becomes of preflights.
	CORS CORS `yaml:"cors"`
	// Health are requests that pass without being decided about.
	Health []HealthRoute `yaml:"health"`
	// TrustedHops are proxies whose x-forwarded-client-cert is believed.
	TrustedHops []TrustedHop `yaml:"trustedHops"`
	// Resource, when there is one, is published to clients, and every challenge says where.
	Resource *Resource `yaml:"resource"`
	// DecisionLog, when there is one, gets a line for each decision.
	DecisionLog *DecisionLog `yaml:"decisionLog"`
	// Explain, when there is one, keeps the last decisions so that an operator can ask why.
	Explain *Explain `yaml:"explain"`
	// Shadow, when there is one, is a candidate policy that is asked too and never obeyed.
	Shadow *Shadow `yaml:"shadow"`
	// Limits, when there are any, are how many requests callers may make.
	Limits *Limits `yaml:"limits"`
	// Tracing, when there is one, says where the spans of traced checks go.
	Tracing *obs.Tracing `yaml:"tracing"`
	Log     Log          `yaml:"log"`
}

// Issuer is one issuer whose tokens are accepted.
type Issuer struct {
	Issuer    string   `yaml:"issuer"` // compared byte by byte with iss
	JWKS      JWKS     `yaml:"jwks"`
	Audiences []string `yaml:"audiences"` // one of them must be in aud
	// OrganizationID, when set, is the only organization this issuer may speak for.
	OrganizationID   string           `yaml:"organizationId"`
	MaxTokenLifetime config.Duration  `yaml:"maxTokenLifetime"` // of exp - iat
	Types            []string         `yaml:"types"`            // accepted typ
	Algorithms       []jose.Algorithm `yaml:"algorithms"`       // accepted alg
	RequireBound     bool             `yaml:"requireBound"`     // only tokens that are bound to a key, certificate or workload
	// RequireBoundOf is RequireBound for some organizations an issuer speaks for.
	RequireBoundOf []string     `yaml:"requireBoundOf"`
	Revocations    *Revocations `yaml:"revocations"`
	// TokensNotBefore refuses tokens issued before it, whatever the revocation list says.
	TokensNotBefore Instant  `yaml:"tokensNotBefore"`
	Partner         *Partner `yaml:"partner"` // whose issuer it is, when it is not ours
}

// JWKS says where an issuer's keys are: in a file, or at a URL.
type JWKS struct {
	File     config.Path     `yaml:"file"`
	URL      string          `yaml:"url"`
	CA       config.Path     `yaml:"ca"`       // roots for the URL beside the system's
	MaxStale config.Duration `yaml:"maxStale"` // keys are not used longer than this after the URL last confirmed them
}

// Revocations is an issuer's revocation list. Once configured, nothing of the issuer is accepted without a current list.
type Revocations struct {
	URL      string          `yaml:"url"`
	CA       config.Path     `yaml:"ca"`
	Interval config.Duration `yaml:"interval"` // how often the list is read
	MaxStale config.Duration `yaml:"maxStale"` // the list is not used longer than this after the URL last confirmed it
}

// Policy says where the policy is and which rule of it decides.
type Policy struct {
	Dir      config.Path     `yaml:"dir"`
	Bundle   string          `yaml:"bundle"`   // URL of an OPA bundle, in place of Dir
	CA       config.Path     `yaml:"ca"`       // roots for it beside the system's
	Token    config.Secret   `yaml:"token"`    // sent to it as Authorization: Bearer, if there is one
	Interval config.Duration `yaml:"interval"` // how often it is asked
	Path     string          `yaml:"path"`     // of the decision, a boolean or an object; or Query, or neither
	Query    string          `yaml:"query"`    // the same, as data.agentidp.authz.allow
	// RoutePaths are further decisions; a route of Envoy may name one of them instead of Path. See route.go.
	RoutePaths []string        `yaml:"routePaths"`
	Timeout    config.Duration `yaml:"timeout"` // of one evaluation
	// RegoVersion is the syntax of files that do not import rego.v1.
	RegoVersion RegoVersion `yaml:"regoVersion"`
	// ProtoDescriptor is a FileDescriptorSet: the gRPC methods whose messages the policy can read.
	ProtoDescriptor config.Path `yaml:"protoDescriptor"`
	SkipBodyParse   bool        `yaml:"skipBodyParse"` // parsed_body and truncated_body are absent
	ShowToken       bool        `yaml:"showToken"`     // the policy sees the token, which otherwise only identity: policy does
	DryRun          bool        `yaml:"dryRun"`        // the policy is asked, logged and not obeyed when it denies
	// Organizations, when there are any, are policies of single organizations.
	Organizations *OrganizationPolicies `yaml:"organizations"`
}

// RegoVersion names a version of the policy language.
type RegoVersion string

const (
	RegoV1 RegoVersion = "v1"
	RegoV0 RegoVersion = "v0" // before OPA 1.0: rules without if, sets without contains
)

// PublicRoute is a set of requests that need no identity: a method, and a path or what lies below it.
type PublicRoute struct {
	Method     string `yaml:"method"`
	PathPrefix string `yaml:"pathPrefix"`
}

// Metrics is the operator's listener with /metrics, /healthz and /readyz, for whoever reaches it, and with what shows requests or memory
// (/debug/decision/{id}, /debug/pprof/) for loopback alone.
type Metrics struct {
	Listen string `yaml:"listen"`
	Pprof  bool   `yaml:"pprof"`
}

// Log sets what is logged, to standard error.
type Log struct {
	Level slog.Level `yaml:"level"`
}

// IdentityMode says what a request without a token means.
type IdentityMode string

const (
	IdentityRequired IdentityMode = "required" // refused
	IdentityOptional IdentityMode = "optional" // the policy decides without an identity; a bad token is still refused
	IdentityPolicy   IdentityMode = "policy"   // tokens are left to the policy, which sees them, as with opa-envoy-plugin
)

// Defaults and limits; docs/limits.md lists them for operators.
const (
	socketModeDefault       = 0o660
	tokenLifetimeDefault    = time.Hour
	keysStaleDefault        = 24 * time.Hour
	revocationsEveryDefault = time.Second
	revocationsEveryMin     = 100 * time.Millisecond
	revocationsEveryMax     = time.Minute
	revocationsStaleDefault = 15 * time.Minute // as long as the longest token of our own issuer: older lists miss only dead tokens
	policyPathDefault       = "agentidp/authz/allow"
	policyTimeoutDefault    = 25 * time.Millisecond
	policyTimeoutMax        = 200 * time.Millisecond // Envoy gives up after 250 ms
	bundleEveryDefault      = 10 * time.Second
	bundleEveryMin          = time.Second
	bundleEveryMax          = time.Hour
	bundleTimeout           = 30 * time.Second // of one fetch: bundles are larger than keys
	issuersMax              = 1000
	listenersMax            = 16
	identifierBytesMax      = 512 // issuer, audience, organization
	publicRoutesMax         = 100
	clockSkew               = time.Minute // allowed between us and an issuer
	drainDelayMax           = time.Minute
)

// SetDefaults implements the defaults of the config file.
func (c *Config) SetDefaults() {
	c.SocketMode = socketModeDefault
	c.Identity = IdentityRequired
}

// algorithms are all that an issuer may sign with, and what is accepted of one by default: a key does one of them, and the salt of PS256 is always
// checked.
var algorithms = []jose.Algorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256}

// SetDefaults implements the defaults of the config file.
func (i *Issuer) SetDefaults() {
	i.MaxTokenLifetime = config.Duration{Duration: tokenLifetimeDefault}
	i.Types = []string{"at+jwt"}
	i.Algorithms = slices.Clone(algorithms)
}

// SetDefaults implements the defaults of the config file.
func (j *JWKS) SetDefaults() { j.MaxStale = config.Duration{Duration: keysStaleDefault} }

// SetDefaults implements the defaults of the config file.
func (r *Revocations) SetDefaults() {
	r.Interval = config.Duration{Duration: revocationsEveryDefault}
	r.MaxStale = config.Duration{Duration: revocationsStaleDefault}
}

// SetDefaults implements the defaults of the config file.
func (p *Policy) SetDefaults() {
	p.RegoVersion = RegoV1
	p.Interval = config.Duration{Duration: bundleEveryDefault}
	p.Timeout = config.Duration{Duration: policyTimeoutDefault}
}

// Rules are the verification rules of an issuer's tokens.
func (i *Issuer) Rules() jose.Rules {
	return jose.Rules{
		Issuer: i.Issuer, Audiences: i.Audiences, Types: i.Types, Algorithms: i.Algorithms,
		LifetimeMax: i.MaxTokenLifetime.Duration, Skew: clockSkew,
	}
}
