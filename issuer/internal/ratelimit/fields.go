package ratelimit

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// describe sets RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-10 section 3 and 4. until is when the whole quota is there again or, of
// a request that is refused, when the next one is within it.
func describe(header http.Header, policy string, l Limit, remaining int64, until time.Duration) {
	header.Set("RateLimit-Policy", `"`+policy+`";q=`+strconv.FormatInt(l.Burst, 10)+";w="+strconv.FormatInt(max(1, seconds(l.window())), 10))
	header.Set("RateLimit", `"`+policy+`";r=`+strconv.FormatInt(remaining, 10)+";t="+strconv.FormatInt(max(0, seconds(until)), 10))
}

// Form writes a refusal.
type Form func(w http.ResponseWriter, r *http.Request, refusal *oauth.Error)

// AsOAuth is the form OAuth clients read.
func AsOAuth(w http.ResponseWriter, r *http.Request, refusal *oauth.Error) {
	web.Note(r.Context(), refusal)
	oauth.WriteError(w, refusal)
}

// AsProblem is the form of everything else.
func AsProblem(w http.ResponseWriter, r *http.Request, refusal *oauth.Error) {
	web.Fail(w, r, Problem(refusal))
}

// Problem is a refusal as an error of the admin API.
func Problem(err error) error {
	refusal, ok := errors.AsType[*oauth.Error](err)
	if !ok {
		return err
	}
	return &problem.Error{Kind: problem.RateLimited, Detail: refusal.Description, RetryAfter: refusal.RetryAfter, Err: refusal.Err}
}

// refuse is 429 (RFC 6585 s4) with Retry-After. RFC 6749 has no code for it; temporarily_unavailable means the same to them.
func (g *Gate) refuse(q *request, policy string, l Limit, retry time.Duration) *oauth.Error {
	g.refused.WithLabelValues(policy).Inc()
	describe(q.header, policy, l, 0, retry)
	q.counted = true // it was counted when it met its limit
	return &oauth.Error{
		Code: oauth.TemporarilyUnavailable, Description: "Too many requests. Retry-After says when to come again.",
		Status: http.StatusTooManyRequests, RetryAfter: max(retry, time.Second),
	}
}

func (g *Gate) register(reg prometheus.Registerer) {
	g.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agentidp_issuer_limit_refused_total", Help: "Requests refused with 429, by limit.",
	}, []string{"limit"})
	reg.MustRegister(
		g.refused,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "agentidp_issuer_limit_fallback_total", Help: "Requests counted by this instance alone, at half of the limits, because Redis did not answer.",
		}, func() float64 { return float64(g.limiter.fallback.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "agentidp_issuer_limit_alone", Help: "1 while Redis does not answer and limits are counted by this instance alone.",
		}, func() float64 {
			if g.limiter.alone() {
				return 1
			}
			return 0
		}),
	)
}
