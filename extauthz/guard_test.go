package extauthz

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/credential"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/policy"
)

// guarded runs a handler behind Guard.
func guarded(t testing.TB, s *Server, ctx context.Context, handler func(context.Context) []byte) *authv3.CheckResponse {
	t.Helper()
	m, err := decoded(s.Guard(ctx, handler))
	if err != nil {
		t.Fatalf("Guard let something through: %v", err)
	}
	return m
}

func unavailable(m *authv3.CheckResponse) bool {
	return m.GetOkResponse() == nil && m.GetDeniedResponse().GetStatus().GetCode() == typev3.StatusCode_ServiceUnavailable
}

// A panic in any stage is a denial with a counter.
func TestPanicInEachStage(t *testing.T) {
	t.Parallel()
	in := request("GET", "/orders")
	for name, inject := range map[string]func(*Server){
		"parse": func(s *Server) {
			s.stages.parse = func([]byte) (*checkreq.Request, *checkreq.Refusal) { panic("fault") }
		},
		"parse, nil": func(s *Server) {
			s.stages.parse = func([]byte) (*checkreq.Request, *checkreq.Refusal) { return nil, nil }
		},
		"credential": func(s *Server) {
			s.stages.credential = func(*checkreq.Request) (credential.Credential, *credential.Refusal) { panic("fault") }
		},
		"identify": func(s *Server) {
			s.stages.credential = func(*checkreq.Request) (credential.Credential, *credential.Refusal) {
				return credential.Credential{Token: "t"}, nil
			}
			s.stages.identify = func(_ *state.Snapshot, _, _ string, _ time.Time) (*identity.Identity, identity.Result, *identity.Refusal) {
				panic(errors.New("fault"))
			}
		},
		"decide": func(s *Server) {
			s.options.Identity = settings.IdentityPolicy
			s.stages.decide = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
				panic("fault")
			}
		},
		"decide, nil": func(s *Server) {
			s.options.Identity = settings.IdentityPolicy
			s.stages.decide = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
				return nil, nil, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, denyingNothing, nil)
			inject(e.Server)
			if got := e.ask(t, in); got.status != 503 {
				t.Errorf("got %+v", got)
			}
			if n := testutil.ToFloat64(e.metrics.panics); n != 1 {
				t.Errorf("%v panics counted", n)
			}
		})
	}
}

// A stage that says nothing at all (no identity, no refusal) gives no identity to anybody.
func TestStagesThatSayNothing(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	e.stages.credential = func(*checkreq.Request) (credential.Credential, *credential.Refusal) {
		return credential.Credential{}, nil
	}
	e.stages.identify = func(_ *state.Snapshot, _, _ string, _ time.Time) (*identity.Identity, identity.Result, *identity.Refusal) {
		return nil, identity.Result{}, nil
	}
	if got := e.ask(t, request("GET", "/orders")); got.status != 403 {
		t.Errorf("got %+v", got)
	}
}

func TestLateAnswersAreDenials(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, func(o *Options) { o.Identity = settings.IdentityPolicy })
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	past, cancelPast := context.WithDeadline(context.Background(), time.Now().Add(-time.Millisecond))
	defer cancelPast()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "past deadline": past} {
		m, err := e.Check(ctx, request("GET", "/x"))
		if err != nil || !unavailable(m) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	// The deadline passes while the policy decides: the OK it came to is taken back.
	during, cancelDuring := context.WithCancel(context.Background())
	real := e.stages.decide
	e.stages.decide = func(ctx context.Context, p decide.Evaluator, s decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
		d, refusal, fault := real(ctx, p, s)
		cancelDuring()
		return d, refusal, fault
	}
	if m, err := e.Check(during, request("GET", "/x")); err != nil || !unavailable(m) {
		t.Errorf("%v, %v", m, err)
	}
}

// A question that Envoy took back is no outage: it is counted apart, also when the policy was at it, and nobody is warned. What could not be decided in
// time, or for another reason, stays what it is.
func TestCancelledIsNoOutage(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	past, cancelPast := context.WithDeadline(context.Background(), time.Now().Add(-time.Millisecond))
	defer cancelPast()
	during, cancelDuring := context.WithCancel(context.Background())
	interrupted := func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
		cancelDuring()
		return nil, nil, &decide.Fault{Reason: decide.ReasonTimeout, Err: context.Canceled}
	}
	slow := func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
		return nil, nil, &decide.Fault{Reason: decide.ReasonTimeout, Err: policy.ErrTimeout}
	}
	for name, c := range map[string]struct {
		ctx    context.Context
		decide func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault)
		reason string
		warns  int
	}{
		"cancelled":                    {cancelled, nil, reasonCancelled, 0},
		"cancelled at the policy":      {during, interrupted, reasonCancelled, 0},
		"past the deadline":            {past, nil, reasonDeadline, 1},
		"a policy that takes too long": {context.Background(), slow, string(decide.ReasonTimeout), 1},
	} {
		var log bytes.Buffer
		e := newEdge(t, denyingNothing, func(o *Options) {
			o.Identity, o.Log = settings.IdentityPolicy, slog.New(slog.NewTextHandler(&log, nil))
		})
		if c.decide != nil {
			e.stages.decide = c.decide
		}
		if m, err := e.Check(c.ctx, request("GET", "/x")); err != nil || !unavailable(m) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
		if n := testutil.ToFloat64(e.metrics.decisions.WithLabelValues(resultUndecided, c.reason)); n != 1 {
			t.Errorf("%s: counted %v times as %s", name, n, c.reason)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != c.warns {
			t.Errorf("%s: %d warnings: %s", name, n, log.String())
		}
	}
}

func TestGuardReplaces(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	ok, denial := checkresp.Allow(checkresp.Grant{}).Wire(), checkresp.Deny(checkresp.Denial{Status: 403}).Wire()
	late, cancel := context.WithCancel(context.Background())
	cancel()
	replaced := 0.0
	for name, c := range map[string]struct {
		ctx     context.Context
		handler func(context.Context) []byte
	}{
		"nothing":        {nil, func(context.Context) []byte { return nil }},
		"empty":          {nil, func(context.Context) []byte { return []byte{} }},
		"half an answer": {nil, func(context.Context) []byte { return ok[:len(ok)-1] }},
		"two answers":    {nil, func(context.Context) []byte { return slices.Concat(denial, ok) }},
		"late OK":        {late, func(context.Context) []byte { return ok }},
		"panic":          {nil, func(context.Context) []byte { panic("fault") }},
		"panic with nil": {nil, func(context.Context) []byte { panic(nil) }}, //nolint:govet // deliberate
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = context.Background()
		}
		if m := guarded(t, e.Server, ctx, c.handler); !unavailable(m) {
			t.Errorf("%s: %v", name, m)
		}
		replaced++
	}
	if n := testutil.ToFloat64(e.metrics.replaced); n != replaced {
		t.Errorf("%v of %v replacements counted", n, replaced)
	}
	for name, c := range map[string]struct {
		ctx    context.Context
		answer []byte
	}{"OK": {context.Background(), ok}, "denial": {context.Background(), denial}, "late denial": {late, denial}} {
		want, err := decoded(c.answer)
		if err != nil {
			t.Fatal(err)
		}
		if got := guarded(t, e.Server, c.ctx, func(context.Context) []byte { return c.answer }); !proto.Equal(got, want) {
			t.Errorf("%s became %v", name, got)
		}
	}
}

// Whatever a handler returns, what leaves Guard can be read in one way, and is an OK only if the handler said so in full.
func TestGuardProperty(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	code := rapid.SampledFrom([]int32{0, 0, 0, 7, 14, 16, -1, 99})
	httpStatus := rapid.SampledFrom([]int32{0, 200, 204, 302, 401, 403, 503, 600, -5})
	rapid.Check(t, func(t *rapid.T) {
		m := &authv3.CheckResponse{}
		if rapid.Bool().Draw(t, "status") {
			m.Status = &rpcstatus.Status{Code: code.Draw(t, "code")}
		}
		denied := func() *authv3.DeniedHttpResponse {
			if rapid.Bool().Draw(t, "no denial") {
				return nil
			}
			d := &authv3.DeniedHttpResponse{}
			if rapid.Bool().Draw(t, "http status") {
				d.Status = &typev3.HttpStatus{Code: typev3.StatusCode(httpStatus.Draw(t, "http code"))}
			}
			return d
		}
		switch rapid.IntRange(0, 6).Draw(t, "form") {
		case 1:
			m.HttpResponse = &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}
		case 2:
			m.HttpResponse = &authv3.CheckResponse_OkResponse{}
		case 3:
			m.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied()}
		case 4:
			m.HttpResponse = &authv3.CheckResponse_ErrorResponse{ErrorResponse: denied()}
		case 5:
			m.HttpResponse = (*authv3.CheckResponse_OkResponse)(nil)
		case 6:
			m = nil
		}
		sent, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		wire := e.Guard(context.Background(), func(context.Context) []byte { return sent })
		got := &authv3.CheckResponse{}
		if err := proto.Unmarshal(wire, got); err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		// As Envoy decides: OK is status code 0, also by default.
		if got.GetStatus().GetCode() == 0 {
			_, isOK := m.GetHttpResponse().(*authv3.CheckResponse_OkResponse)
			if !isOK || m.GetStatus() == nil || m.GetStatus().GetCode() != 0 || !bytes.Equal(wire, sent) {
				t.Fatalf("%v became an OK", m)
			}
		} else if code := got.GetDeniedResponse().GetStatus().GetCode(); code < 300 || code > 599 {
			t.Fatalf("denied with %v", got)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	e := newEdge(t, ordersPolicy, func(o *Options) { o.Registerer = registry })
	token := e.signer(t)(nil)
	e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token))
	e.ask(t, request("GET", "/orders"))
	e.ask(t, request("GET", "/broken"))
	for labels, want := range map[[2]string]float64{
		{"allowed", "allowed"}: 1, {"denied", "credential_missing"}: 1, {"undecided", "policy_decision"}: 1,
	} {
		if got := testutil.ToFloat64(e.metrics.decisions.WithLabelValues(labels[0], labels[1])); got != want {
			t.Errorf("%v: %v", labels, got)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{
		"agentidp_extauthz_decisions_total", "agentidp_extauthz_decision_duration_seconds", "agentidp_extauthz_token_cache_hits_total",
		"agentidp_extauthz_token_cache_misses_total", "agentidp_extauthz_panics_total", "agentidp_extauthz_answers_replaced_total", "agentidp_extauthz_snapshot_epoch",
	} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
	if _, err := New(Options{Store: e.store, Registerer: registry}); err == nil {
		t.Error("two servers share one registry")
	}
}
