package settings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/feed"
	"github.com/agentidp/agentidp/extauthz/internal/listener"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/servertls"
)

// OpenToAll warns of a port beyond loopback on which clients need no certificate; the log and -check say it.
const OpenToAll = "whoever reaches this address can ask for decisions: keep it inside the pod, or set tls.clientCA"

// Describe writes what a process with this configuration, which must be valid, would do: a line for each thing it would listen on, read, ask or
// write. It opens no socket, asks no URL and writes no file. Secrets are not in it.
func (c *Config) Describe(w io.Writer) {
	c.describeListen(w)
	for i := range c.Issuers {
		c.Issuers[i].describe(w)
	}
	c.describeState(w)
	fmt.Fprintf(w, "identity: %s\n", c.Identity)
	c.describePolicy(w)
	if d := c.DecisionLog; d != nil {
		where := "standard output"
		switch {
		case d.File != "":
			where = string(d.File)
		case d.HTTP != nil:
			where = d.HTTP.URL
		}
		fmt.Fprintf(w, "decision log: to %s, %g %% of what is allowed, all else\n", where, 100*d.SampleAllowed)
	}
	if c.Metrics != nil {
		c.describeMetrics(w)
	}
	c.describeMemory(w)
}

func (c *Config) describeListen(w io.Writer) {
	for _, name := range c.Listen {
		path, unix := strings.CutPrefix(name, "unix://")
		switch {
		case unix:
			place := "free"
			if err := listener.CheckPlace(path, c.SocketTakeover); err != nil {
				place = "WARNING: " + err.Error()
			} else if c.SocketTakeover && listener.IsAnswered(path) {
				place = "to be taken over"
			}
			fmt.Fprintf(w, "listen: %s, mode %04o: %s\n", name, uint32(c.SocketMode), place)
		case c.TLS == nil:
			fmt.Fprintf(w, "listen: %s, plaintext\n", name)
		default:
			c.TLS.describe(w, name)
		}
		if hostPort, tcp := strings.CutPrefix(name, "tcp://"); tcp && listener.IsBeyondLoopback(hostPort) && (c.TLS == nil || c.TLS.ClientCA == "") {
			fmt.Fprintf(w, "listen: %s, WARNING: %s\n", name, OpenToAll)
		}
	}
}

func (c *Config) describeMetrics(w io.Writer) {
	m := c.Metrics
	fmt.Fprintf(w, "metrics: on http://%s\n", m.Listen)
	if listener.IsBeyondLoopback(m.Listen) {
		fmt.Fprintf(w, "metrics: WARNING: whoever reaches this address reads them\n")
	}
	if c.Explain != nil || m.Pprof {
		fmt.Fprintln(w, "metrics: /debug/ is answered over loopback only")
	}
}

func (t *TLS) describe(w io.Writer, name string) {
	clients := "clients without certificate"
	if t.ClientCA != "" {
		clients = "clients with a certificate of " + string(t.ClientCA)
	}
	certificate, err := servertls.Open(t.Files(), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintf(w, "listen: %s, TLS: %v\n", name, err)
		return
	}
	fmt.Fprintf(w, "listen: %s, TLS until %s, %s\n", name, certificate.NotAfter().UTC().Format(time.RFC3339), clients)
}

func (i *Issuer) describe(w io.Writer) {
	keys := i.JWKS.URL
	if keys == "" {
		keys = string(i.JWKS.File)
	}
	revocations := "no revocation list"
	if i.Revocations != nil {
		revocations = fmt.Sprintf("revocations of %s each %s", i.Revocations.URL, i.Revocations.Interval)
	}
	fmt.Fprintf(w, "issuer: %s, keys of %s, %s\n", i.Issuer, keys, revocations)
	if i.JWKS.URL == "" {
		i.describeKeys(w)
	}
}

// describeKeys warns of keys in a file that verify nothing.
func (i *Issuer) describeKeys(w io.Writer) {
	doc, err := feed.ReadKeyFile(string(i.JWKS.File))
	if err != nil { // it was there a moment ago
		fmt.Fprintf(w, "issuer: %s, keys: %v\n", i.Issuer, err)
		return
	}
	keys, problems, err := jose.ParseKeySetFor(doc, i.Algorithms)
	if err != nil {
		fmt.Fprintf(w, "issuer: %s, keys: %v\n", i.Issuer, err)
		return
	}
	for _, p := range problems {
		fmt.Fprintf(w, "issuer: %s, WARNING: key %d (kid %q) is left out: %s\n", i.Issuer, p.Index, p.KeyID, p.Reason)
	}
	for _, k := range keys.Keys() {
		if !slices.Contains(i.Algorithms, k.Algorithm()) {
			fmt.Fprintf(w, "issuer: %s, WARNING: key %q is for %s, which is not among the algorithms accepted of this issuer\n", i.Issuer, k.ID(), k.Algorithm())
		}
	}
}

// describePolicy compiles once more, to say what is remembered, and the candidate, which validation leaves alone. A bundle is not asked for.
func (c *Config) describePolicy(w io.Writer) {
	if c.Policy.Bundle != "" {
		fmt.Fprintf(w, "policy: %s of the bundle %s, asked each %s\n", c.Policy.DecisionPath(), c.Policy.Bundle, c.Policy.Interval)
	} else {
		p, err := compileDir(string(c.Policy.Dir), c.PolicyConfig())
		if err != nil { // it was good a moment ago
			fmt.Fprintf(w, "policy: %v\n", err)
			return
		}
		defer p.Close()
		fmt.Fprintf(w, "policy: %s of %s, revision %.12s\n", c.Policy.DecisionPath(), c.Policy.Dir, p.Revision())
		c.describeCache(w, p)
	}
	if c.Policy.DryRun {
		fmt.Fprintln(w, "policy: DRY RUN, what it denies passes")
	}
	c.describeOrganizations(w)
	if s := c.Shadow; s != nil {
		s.describe(w, c)
	}
}

func (c *Config) describeCache(w io.Writer, p *policy.Policy) {
	if c.DecisionCache.Bytes == 0 {
		fmt.Fprintln(w, "decisions: not remembered: decisionCache.bytes is 0")
		return
	}
	cache, err := decide.NewCache(int64(c.DecisionCache.Bytes), c.DecisionCache.MaxAge.Duration)
	if err != nil {
		fmt.Fprintf(w, "decisions: not remembered: %v\n", err)
		return
	}
	defer cache.Close()
	report := cache.Use(p)
	if report.On {
		fmt.Fprintf(w, "decisions: remembered for %s by %s\n", c.DecisionCache.MaxAge, report.ReadSet)
		return
	}
	for _, o := range report.Obstacles[:min(len(report.Obstacles), ObstaclesShownMax)] {
		fmt.Fprintf(w, "decisions: not remembered: %s\n", o)
	}
}

func compileDir(dir string, cfg policy.Config) (*policy.Policy, error) {
	sources, err := policy.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p, err := decide.Compile(context.Background(), sources, cfg)
	var broken *policy.CompileError
	if errors.As(err, &broken) && len(broken.Problems) > 0 {
		return nil, errors.New(broken.Problems[0].String())
	}
	return p, err
}
