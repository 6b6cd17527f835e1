package settings

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/listener"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
)

// Validate reports everything that is wrong, files included: keys are read and the policy is compiled, because a config that names a
// broken policy is broken. It opens no socket and asks no URL.
func (c *Config) Validate(r *config.Report) {
	c.validateState(r)
	c.validateListen(r)
	c.validateTLS(r)
	c.validateIssuers(r)
	c.validatePolicy(r)
	c.validatePublic(r)
	c.TokenCache.validate(r)
	c.DecisionCache.validate(r)
	c.DPoP.validate(r)
	c.validateHops(r)
	c.validateBypasses(r)
	c.validateResource(r)
	switch c.Identity {
	case IdentityRequired, IdentityOptional, IdentityPolicy:
	default:
		r.Errorf("identity", "want required, optional or policy")
	}
	if c.Metrics != nil {
		if err := listener.CheckHostPort(c.Metrics.Listen); err != nil {
			r.Errorf("metrics.listen", "%v", err)
		}
	}
	if c.DecisionLog != nil {
		c.DecisionLog.validate(r, "decisionLog")
	}
	c.validateObservers(r)
	c.validateLimits(r)
	if c.Tracing != nil {
		c.Tracing.Validate(r, "tracing")
	}
}

func (c *Config) validateListen(r *config.Report) {
	if len(c.Listen) == 0 {
		r.Errorf("listen", "is required: unix:///path, tcp://host:port, or a list of them")
	}
	if len(c.Listen) > listenersMax {
		r.Errorf("listen", "has %d addresses, at most %d are accepted", len(c.Listen), listenersMax)
	}
	for i, s := range c.Listen {
		field := fmt.Sprintf("listen[%d]", i)
		if _, err := listener.ParseAddress(s); err != nil {
			r.Errorf(field, "%v", err)
		}
		if slices.Contains(c.Listen[:i], s) {
			r.Errorf(field, "the same address twice")
		}
	}
	if c.DrainDelay.Duration < 0 || c.DrainDelay.Duration > drainDelayMax {
		r.Errorf("drainDelay", "want between 0s and %s", drainDelayMax)
	}
	if c.SocketTakeover && !slices.ContainsFunc(c.Listen, func(s string) bool { return strings.HasPrefix(s, "unix://") }) {
		r.Errorf("socketTakeover", "is for unix:// addresses, and listen has none")
	}
}

func (c *Config) validateIssuers(r *config.Report) {
	if len(c.Issuers) == 0 && (c.Identity == IdentityRequired || c.Identity == IdentityOptional) { // of a misspelled one nobody knows whether it needs any
		r.Errorf("issuers", "at least one is required, except with identity: policy")
	}
	if len(c.Issuers) > issuersMax {
		r.Errorf("issuers", "has %d entries, at most %d are accepted", len(c.Issuers), issuersMax)
		return
	}
	first := map[string]int{}
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		field := fmt.Sprintf("issuers[%d]", i)
		issuer.validate(r, field)
		if j, twice := first[issuer.Issuer]; twice && issuer.Issuer != "" {
			r.Errorf(field+".issuer", "the same issuer as issuers[%d]: keys of two sets are never mixed", j)
		} else {
			first[issuer.Issuer] = i
		}
	}
	c.validatePartners(r)
}

func (i *Issuer) validate(r *config.Report, field string) {
	if err := checkIdentifier(i.Issuer); err != nil {
		r.Errorf(field+".issuer", "%v", err)
	}
	if i.OrganizationID != "" {
		if err := checkIdentifier(i.OrganizationID); err != nil {
			r.Errorf(field+".organizationId", "%v", err)
		}
	}
	validateList(r, field+".audiences", i.Audiences, checkIdentifier)
	validateList(r, field+".types", i.Types, checkType)
	validateList(r, field+".algorithms", i.Algorithms, checkAlgorithm)
	if len(i.RequireBoundOf) > 0 {
		if i.OrganizationID != "" || i.RequireBound {
			r.Errorf(field+".requireBoundOf", "is for an issuer that speaks for several organizations, some of which may use unbound tokens")
		}
		validateList(r, field+".requireBoundOf", i.RequireBoundOf, checkIdentifier)
	}
	if i.MaxTokenLifetime.Duration <= 0 {
		r.Errorf(field+".maxTokenLifetime", "must be more than 0")
	}
	i.JWKS.validate(r, field+".jwks")
	if i.Revocations != nil {
		i.Revocations.validate(r, field+".revocations")
	}
}

func (j *JWKS) validate(r *config.Report, field string) {
	switch {
	case (j.File == "") == (j.URL == ""):
		r.Errorf(field, "want exactly one of file and url")
	case j.URL != "":
		validateURL(r, field, j.URL, j.CA)
	case j.CA != "":
		r.Errorf(field+".ca", "is for a url; a file needs none")
	default:
		validateKeyFile(r, field+".file", string(j.File))
	}
	if j.MaxStale.Duration < feed.KeyStaleMin {
		r.Errorf(field+".maxStale", "want at least %s: keys are read again before half of it is over", feed.KeyStaleMin)
	}
}

func validateKeyFile(r *config.Report, field, path string) {
	doc, err := feed.ReadKeyFile(path)
	if err != nil {
		r.Errorf(field, "%v", err)
		return
	}
	keys, problems, err := jose.ParseKeySet(doc)
	switch {
	case err != nil:
		r.Errorf(field, "%s: %v", path, err)
	case keys.Len() == 0 && len(problems) > 0:
		r.Errorf(field, "%s holds no usable key; the first was left out because: %s", path, problems[0].Reason)
	case keys.Len() == 0:
		r.Errorf(field, "%s holds no key", path)
	}
}

func (v *Revocations) validate(r *config.Report, field string) {
	if v.URL == "" {
		r.Errorf(field+".url", "is required")
	} else {
		validateURL(r, field, v.URL, v.CA)
	}
	if v.Interval.Duration < revocationsEveryMin || v.Interval.Duration > revocationsEveryMax {
		r.Errorf(field+".interval", "want between %s and %s", revocationsEveryMin, revocationsEveryMax)
	}
	if least := feed.RevocationStaleMin(v.Interval.Duration); v.MaxStale.Duration < least {
		r.Errorf(field+".maxStale", "want at least %s with this interval: twice the interval and the 5s a read may take", least)
	}
}

// validateURL makes the client that will fetch the URL, which checks the CA file, and lets it judge the URL.
func validateURL(r *config.Report, field, url string, ca config.Path) {
	client, err := NewFetcher(ca, 0)
	if err != nil {
		r.Errorf(field+".ca", "%v", err)
		return
	}
	if err := client.CheckURL(url); err != nil {
		r.Errorf(field+".url", "%v", err)
	}
}

func (c *Config) validatePolicy(r *config.Report) {
	p := &c.Policy
	if p.Timeout.Duration <= 0 || p.Timeout.Duration > policyTimeoutMax {
		r.Errorf("policy.timeout", "want more than 0 and at most %s: Envoy waits 250 ms for everything", policyTimeoutMax)
	}
	p.validateView(r)
	p.validateRoutes(r)
	if p.Organizations != nil {
		p.Organizations.validate(c, r)
	}
	switch {
	case (p.Dir == "") == (p.Bundle == ""):
		r.Errorf("policy", "want exactly one of dir and bundle")
	case !p.validateDecision(r):
	case p.Bundle != "":
		p.validateBundle(r)
	default:
		if p.CA != "" || p.Token.Reveal() != "" {
			r.Errorf("policy", "ca and token are for a bundle; a directory needs none")
		}
		c.compilePolicy(r)
	}
}

// validateBundle checks all but the bundle: no URL is asked.
func (p *Policy) validateBundle(r *config.Report) {
	client, err := p.Fetcher()
	if err != nil {
		r.Errorf("policy.ca", "%v", err)
	} else if err := client.CheckURL(p.Bundle); err != nil {
		r.Errorf("policy.bundle", "%v", err)
	}
	if slices.Contains(strings.Split(p.DecisionPath(), "/"), "") {
		r.Errorf("policy.path", "want names separated by single slashes, as in %s", policyPathDefault)
	}
	if !isVisible(p.Token.Reveal()) {
		r.Errorf("policy.token", "want visible ASCII without spaces")
	}
	if p.Interval.Duration < bundleEveryMin || p.Interval.Duration > bundleEveryMax {
		r.Errorf("policy.interval", "want between %s and %s", bundleEveryMin, bundleEveryMax)
	}
}

// compilePolicy compiles once to find what is wrong; each finding names file and line of the policy.
func (c *Config) compilePolicy(r *config.Report) {
	dir := string(c.Policy.Dir)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		r.Errorf("policy.dir", "%s is not a directory", dir)
		return
	}
	sources, err := policy.ReadDir(dir)
	if err != nil {
		r.Errorf("policy.dir", "%v", err)
		return
	}
	compiled, err := decide.Compile(context.Background(), sources, c.PolicyConfig())
	var compileError *policy.CompileError
	switch {
	case errors.As(err, &compileError):
		for _, p := range compileError.Problems {
			if p.File != "" {
				p.File = filepath.Join(dir, p.File)
			}
			r.Errorf("policy.dir", "%s", p.String())
		}
	case err != nil:
		r.Errorf("policy.dir", "%v", err)
	default:
		compiled.Close()
	}
}

// PolicyConfig is how the mesh policy is compiled.
func (c *Config) PolicyConfig() policy.Config {
	return policy.Config{
		Path: c.Policy.DecisionPath(), TokenBuiltins: c.Identity == IdentityPolicy || c.Policy.ShowToken,
		RegoV0: c.Policy.RegoVersion == RegoV0, EvalTimeout: c.Policy.Timeout.Duration, Routes: c.Policy.RoutePaths,
	}
}

func (c *Config) validatePublic(r *config.Report) {
	if len(c.Public) > publicRoutesMax {
		r.Errorf("public", "has %d entries, at most %d are accepted", len(c.Public), publicRoutesMax)
	}
	for i, p := range c.Public {
		field := fmt.Sprintf("public[%d]", i)
		if p.Method == "" || strings.Trim(p.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
			r.Errorf(field+".method", "want a method in upper case, such as GET")
		}
		if !isPlainPath(p.PathPrefix) {
			r.Errorf(field+".pathPrefix", "want a path such as /healthz, without query, escapes, // or dot segments")
		}
	}
}

// isPlainPath accepts paths that have one spelling: anything else would match what it does not say.
func isPlainPath(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "%?#;\\") || strings.Contains(p, "//") {
		return false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return isVisible(p)
}

// validateList wants at least one element, all good, none twice.
func validateList[T ~string](r *config.Report, field string, list []T, check func(string) error) {
	if len(list) == 0 {
		r.Errorf(field, "at least one is required")
	}
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := check(string(s)); err != nil {
			r.Errorf(at, "%v", err)
		} else if slices.Contains(list[:i], s) {
			r.Errorf(at, "is listed twice")
		}
	}
}

func checkIdentifier(s string) error {
	switch {
	case s == "":
		return errors.New("is required")
	case len(s) > identifierBytesMax:
		return fmt.Errorf("has %d bytes, at most %d are accepted", len(s), identifierBytesMax)
	case !isVisible(s):
		return errors.New("want visible ASCII without spaces")
	}
	return nil
}

// checkType: see jose.Rules.Types for the form.
func checkType(s string) error {
	if s == "" || !isVisible(s) || strings.ToLower(s) != s || strings.HasPrefix(s, "application/") {
		return errors.New(`want a token type in lower case and without "application/", such as at+jwt`)
	}
	return nil
}

func checkAlgorithm(s string) error {
	if !slices.Contains(algorithms, jose.Algorithm(s)) {
		return fmt.Errorf("want one of %s", algorithms)
	}
	return nil
}

func isVisible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
