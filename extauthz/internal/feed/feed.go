// Package feed fills the snapshot: keys from files and URLs, revocation lists from URLs, the policy from a directory or a bundle.
//
// Each feed owns one part of the snapshot and one goroutine, so that at most one read of a source is under way and nothing here runs
// on the request path. All of them keep what was good: a source that is down, slow, empty or broken never takes away what works, it
// is named in the log and in the metrics until it is well again. What ages (keys and lists from the network) says until when it may be
// used, and requests judge that themselves.
package feed

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/fetch"
	"github.com/agentidp/agentidp/internal/policy"
)

// Feed keeps one part of the snapshot current.
type Feed interface {
	// Name says what is fed, for logs and errors: "keys of https://issuer.example".
	Name() string
	// Load publishes what is at hand without the network. It is called once, before Run. An error means that the source is the
	// operator's own file and cannot be used; a feed whose source is a URL has nothing to report yet and returns nil.
	Load(ctx context.Context) error
	// Run keeps the part current until ctx ends. It returns nil then, and never before.
	Run(ctx context.Context) error
}

// Getter fetches a document; *fetch.Client is one.
type Getter interface {
	Get(ctx context.Context, url, etag string) (*fetch.Document, error)
}

// Env is what all feeds share.
type Env struct {
	Store   *state.Store
	Log     *slog.Logger
	Now     func() time.Time
	Metrics *Metrics
	// UsePolicy, when set, is told of each policy right before it comes into force. It is set before any feed runs.
	UsePolicy func(*policy.Policy)
	// UseRevocations, when set, is told right after another revocation list came into force. It is set before any feed runs.
	UseRevocations func()
}

// Metrics tell how the sources are. One value serves all feeds.
type Metrics struct {
	reads       *prometheus.CounterVec
	failing     *prometheus.GaugeVec
	lastSuccess *prometheus.GaugeVec
}

// Results of a read, as metric labels.
const (
	resultChanged   = "changed"   // new contents are in force
	resultUnchanged = "unchanged" // read, nothing new
	resultFailed    = "failed"    // could not be read
	resultRefused   = "refused"   // was read and must not be used
	resultPartial   = "partial"   // was read and is in force as far as it is understood
)

// NewMetrics registers the metrics of all feeds.
func NewMetrics(r prometheus.Registerer) *Metrics {
	labels := []string{"feed", "issuer"}
	m := &Metrics{
		reads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agentidp_extauthz_feed_reads_total",
			Help: "Reads of a source of keys, revocations or policy, by result: changed, unchanged, failed (not readable), refused (must not be used), partial (in force as far as it is understood).",
		}, append(labels, "result")),
		failing: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentidp_extauthz_feed_failing",
			Help: "1 while the newest contents of a source cannot be used and the last good ones are.",
		}, labels),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentidp_extauthz_feed_last_success_timestamp_seconds",
			Help: "When a source was last read and found good.",
		}, labels),
	}
	r.MustRegister(m.reads, m.failing, m.lastSuccess)
	return m
}

// health is one feed's view of its source. Only the feed's goroutine uses it.
type health struct {
	now          func() time.Time
	metrics      *Metrics // nil: there are none of this source
	heard        func(result string)
	feed, issuer string
	log          *slog.Logger
	problem      string    // the last failure reported, "" when well
	problemAt    time.Time // when it was reported
	lastSuccess  time.Time // when what is in force was last confirmed; zero while nothing is
}

// problemRepeat is how often an unchanged problem is logged again: often enough to be found, too seldom to bury the rest.
const problemRepeat = 5 * time.Minute

func newHealth(env *Env, feed, issuer string) *health {
	h := &health{now: env.Now, metrics: env.Metrics, feed: feed, issuer: issuer, log: env.Log.With("feed", feed)}
	if issuer != "" {
		h.log = h.log.With("issuer", issuer)
	}
	env.Metrics.failing.WithLabelValues(feed, issuer).Set(0)
	return h
}

// good records a read whose contents are in force.
func (h *health) good(ctx context.Context, result string) {
	h.lastSuccess = h.now()
	h.tell(result, 0)
	if h.problem != "" {
		h.log.InfoContext(ctx, "source is well again")
		h.problem = ""
	}
}

// tell counts a read.
func (h *health) tell(result string, failing float64) {
	if h.heard != nil {
		h.heard(result)
	}
	if h.metrics == nil {
		return
	}
	h.metrics.reads.WithLabelValues(h.feed, h.issuer, result).Inc()
	h.metrics.failing.WithLabelValues(h.feed, h.issuer).Set(failing)
	if failing == 0 {
		h.metrics.lastSuccess.WithLabelValues(h.feed, h.issuer).Set(float64(h.lastSuccess.Unix()))
	}
}

// bad records a read that left the last good contents in force, if there are any; the same problem is logged once, then now and then.
func (h *health) bad(ctx context.Context, result string, err error, attrs ...any) {
	h.tell(result, 1)
	now := h.now()
	if err.Error() == h.problem && now.Sub(h.problemAt) < problemRepeat {
		return
	}
	h.problem, h.problemAt = err.Error(), now
	attrs = append(attrs, "result", result, "err", err.Error())
	if h.lastSuccess.IsZero() {
		h.log.ErrorContext(ctx, "source cannot be used, and nothing of it is in force yet", attrs...)
		return
	}
	h.log.ErrorContext(ctx, "source cannot be used, the last good contents stay in force", append(attrs, "last_success", h.lastSuccess.UTC().Format(time.RFC3339))...)
}
