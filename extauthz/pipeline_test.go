package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/trust"
)

// ordersPolicy allows agents of org_a with the scope to read orders, and everybody to ask for health.
const ordersPolicy = `package agentidp.authz
import rego.v1
default allow := {"allowed": false, "reason": {"code": "insufficient_scope", "detail": "Reading orders needs a scope.", "required_scopes": ["orders.read"]}}
allow := {"allowed": true, "headers": {"x-tenant": input.identity.organizationId}} if {
	input.parsed_path[0] == "orders"
	"orders.read" in input.identity.scopes
}
allow := {"allowed": true} if input.parsed_path[0] == "healthz"
allow := {"allowed": true} if { input.parsed_path[0] == "open"; not input.identity }
allow := "yes" if input.parsed_path[0] == "broken"
allow := {"allowed": true, "headers": {"x-agent-id": "forged"}} if input.parsed_path[0] == "forging"
`

// denyingNothing allows everything, so that only the pipeline stands between an attack and an OK.
const denyingNothing = "package agentidp.authz\nallow := true\n"

func compile(t testing.TB, source string, tokens bool) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(context.Background(), []policy.Source{{Name: "authz.rego", Data: []byte(source)}},
		policy.Config{Path: "agentidp/authz/allow", TokenBuiltins: tokens, EvalTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// edge is a Server with one issuer (josetest's), at josetest's moment.
type edge struct {
	*Server
	store *state.Store
}

func newEdge(t testing.TB, source string, change func(*Options)) *edge {
	t.Helper()
	keys, problems, err := jose.ParseKeySet(josetest.KeySetDocument())
	if err != nil {
		t.Fatal(err, problems)
	}
	store := state.NewStore(&state.Snapshot{
		Epoch:   3,
		Issuers: map[string]*state.Issuer{josetest.Issuer: {Rules: *josetest.Rules(), OrganizationID: "org_a", Keys: keys}},
	})
	o := Options{
		Store: store, Now: josetest.Now, DecisionPath: "agentidp/authz/allow",
		Public: []settings.PublicRoute{{Method: "GET", PathPrefix: "/healthz"}, {Method: "GET", PathPrefix: "/broken"}},
	}
	if change != nil {
		change(&o)
	}
	store.Update(func(s *state.Snapshot) { s.Policy = compile(t, source, o.Identity == settings.IdentityPolicy) })
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &edge{s, store}
}

// Check asks as Envoy does, by bytes, and decodes the answer as Envoy does. There must be one that can be read in one way.
func (e *edge) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	wire, err := proto.Marshal(in)
	if err != nil {
		return nil, err
	}
	return decoded(e.Server.Check(ctx, wire).Wire())
}

func decoded(answer []byte) (*authv3.CheckResponse, error) {
	if _, explicit := checkresp.Explicit(answer); !explicit {
		return nil, fmt.Errorf("neither an OK nor a denial: %x", answer)
	}
	m := &authv3.CheckResponse{}
	return m, proto.Unmarshal(answer, m)
}

// signer issues tokens of josetest's issuer with a key of its own, which it adds to the snapshot.
func (e *edge) signer(t testing.TB) func(claims map[string]any) string {
	t.Helper()
	k, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := jose.ParseKeySet(jose.MarshalKeySet([]json.RawMessage{k.PublicJWK()}))
	if err != nil {
		t.Fatal(err)
	}
	e.changeIssuer(func(i *state.Issuer) { i.Keys = keys })
	return func(changes map[string]any) string {
		now := josetest.Now().Unix()
		c := map[string]any{
			"iss": josetest.Issuer, "sub": "agt_1", "aud": josetest.Audience, "iat": now, "exp": now + 300, "jti": "t-1",
			"client_id": "agt_1", "scope": "orders.read", "org_id": "org_a", "agent": map[string]any{"name": "Reader"},
		}
		for name, v := range changes {
			c[name] = v
		}
		doc, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		token, err := k.Sign("at+jwt", doc)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// changeKeysPointer makes the cache forget: a key set that was loaded again counts as another one.
func (e *edge) changeKeysPointer(t testing.TB) {
	t.Helper()
	e.changeIssuer(func(i *state.Issuer) { same := *i.Keys; i.Keys = &same })
}

func (e *edge) changeIssuer(change func(*state.Issuer)) {
	e.store.Update(func(s *state.Snapshot) {
		next := *s.Issuers[josetest.Issuer]
		change(&next)
		s.Issuers[josetest.Issuer] = &next
	})
}

// request is what an Envoy with encode_raw_headers sends.
func request(method, path string, headers ...string) *authv3.CheckRequest {
	fields := []*corev3.HeaderValue{
		{Key: ":method", RawValue: []byte(method)}, {Key: ":path", RawValue: []byte(path)}, {Key: ":authority", RawValue: []byte("shop.example")},
	}
	for n := 0; n < len(headers); n += 2 {
		fields = append(fields, &corev3.HeaderValue{Key: headers[n], RawValue: []byte(headers[n+1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Principal: "spiffe://example/caller"},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(josetest.Now()),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "req-1", Method: method, Path: path, Host: "shop.example", Scheme: "https", Protocol: "HTTP/1.1",
				HeaderMap: &corev3.HeaderMap{Headers: fields},
			},
		},
	}}
}

// answer is a CheckResponse as a client would see it.
type answer struct {
	status  int // 200 for an OK
	code    string
	headers map[string]string
	removed []string
	id      string
}

func read(t testing.TB, m *authv3.CheckResponse) answer {
	t.Helper()
	if (m.GetOkResponse() != nil) == (m.GetDeniedResponse() != nil) {
		t.Fatalf("neither an OK nor a denial: %v", m)
	}
	a := answer{status: 200, headers: map[string]string{}, removed: m.GetOkResponse().GetHeadersToRemove()}
	a.id, _ = m.GetDynamicMetadata().AsMap()["decision_id"].(string)
	for _, h := range append(m.GetOkResponse().GetHeaders(), m.GetDeniedResponse().GetHeaders()...) {
		a.headers[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	if d := m.GetDeniedResponse(); d != nil {
		a.status = int(d.GetStatus().GetCode())
		var body struct{ Code, DecisionID string }
		if json.Unmarshal([]byte(d.GetBody()), &body) == nil {
			a.code = body.Code
			if body.DecisionID != a.id {
				t.Errorf("decision id %q in the body, %q in the metadata", body.DecisionID, a.id)
			}
		}
		if len(d.GetBody()) >= 1<<10 {
			t.Errorf("a denial of %d bytes", len(d.GetBody()))
		}
	}
	if len(a.id) != 36 {
		t.Errorf("decision id %q", a.id)
	}
	return a
}

func (e *edge) ask(t testing.TB, in *authv3.CheckRequest) answer {
	t.Helper()
	m, err := e.Check(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, m)
}

func TestCheckAllows(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	token := e.signer(t)(nil)
	got := e.ask(t, request("GET", "/orders/42?x=1", "authorization", "Bearer "+token, "X-Agent-Id", "forged", "x-agent-id", "forged twice",
		"x_agent_id", "forged", "x-agent-role", "admin"))
	want := map[string]string{
		"x-agent-id": "agt_1", "x-agent-organization": "org_a", "x-agent-issuer": josetest.Issuer, "x-agent-client-id": "agt_1",
		"x-agent-scopes": "orders.read", "x-agent-name": "Reader", "x-agent-origin": "local", "x-tenant": "org_a",
	}
	if d := cmp.Diff(want, got.headers); d != "" || got.status != 200 {
		t.Errorf("%+v %s", got, d)
	}
	if d := cmp.Diff([]string{"x-agent-role", "x_agent_id"}, got.removed); d != "" {
		t.Error(d)
	}
}

func TestCheckDenies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	sign := e.signer(t)
	good := "Bearer " + sign(nil)
	const bare = `Bearer realm="agentidp"`
	const either = bare + `, DPoP realm="agentidp", algs="ES256 EdDSA PS256"`
	for name, c := range map[string]struct {
		in        *authv3.CheckRequest
		status    int
		code      string
		challenge string // prefix
	}{
		"nil":                 {nil, 400, "request_empty", ""},
		"empty":               {&authv3.CheckRequest{}, 400, "request_empty", ""},
		"no token":            {request("GET", "/orders"), 401, "credential_missing", either},
		"two tokens":          {request("GET", "/orders", "authorization", good, "authorization", good), 400, "request_duplicate", ""},
		"joined tokens":       {request("GET", "/orders", "authorization", good+","+good), 400, "credential_malformed", bare + `, error="invalid_request"`},
		"Basic":               {request("GET", "/orders", "authorization", "Basic YTpi"), 401, "credential_scheme", either},
		"DPoP":                {request("GET", "/orders", "authorization", "DPoP "+sign(nil)), 401, "proof_missing", `DPoP realm="agentidp", error="invalid_dpop_proof"`},
		"token in the query":  {request("GET", "/orders?access_token="+sign(nil)), 400, "credential_in_query", bare + `, error="invalid_request"`},
		"token too long":      {request("GET", "/orders", "authorization", "Bearer "+strings.Repeat("a", 9<<10)), 401, "token_malformed", bare + `, error="invalid_token"`},
		"forged token":        {request("GET", "/orders", "authorization", good[:len(good)-6]+"AAAAAA"), 401, "token_signature", bare + `, error="invalid_token"`},
		"expired token":       {request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"exp": josetest.Now().Unix() - 60, "iat": josetest.Now().Unix() - 90})), 401, "token_expired", bare + `, error="invalid_token", error_description="token has expired"`},
		"scope missing":       {request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"scope": "other"})), 403, "insufficient_scope", bare + `, error="insufficient_scope", error_description="Reading orders needs a scope.", scope="orders.read"`},
		"path not canonical":  {request("GET", "/healthz/../orders", "authorization", good), 400, "request_path", ""},
		"CONNECT":             {request("CONNECT", "", "authorization", good), 400, "request_target", ""},
		"OPTIONS *":           {request("OPTIONS", "*", "authorization", good), 400, "request_target", ""},
		"policy is no answer": {request("GET", "/broken"), 503, "cannot_decide", ""},
		"policy forges":       {request("GET", "/forging", "authorization", good), 503, "cannot_decide", ""},
		"public, other verb":  {request("POST", "/healthz"), 401, "credential_missing", either},
		"public, longer word": {request("GET", "/healthzz"), 401, "credential_missing", either},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := e.ask(t, c.in)
			if got.status != c.status || got.code != c.code || !strings.HasPrefix(got.headers["www-authenticate"], c.challenge) ||
				c.challenge == "" && got.headers["www-authenticate"] != "" || c.challenge == either && got.headers["www-authenticate"] != either {
				t.Errorf("got %+v", got)
			}
			if c.status == 503 && got.headers["retry-after"] != "1" {
				t.Errorf("no Retry-After: %v", got.headers)
			}
		})
	}
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	for _, in := range []*authv3.CheckRequest{
		request("GET", "/healthz"), request("GET", "/healthz/db"), request("GET", "/healthz?x"), request("GET", "/healthz", "authorization", "Bearer rubbish"),
	} {
		if got := e.ask(t, in); got.status != 200 || len(got.headers) != 0 {
			t.Errorf("got %+v", got)
		}
	}
}

// Where nobody was verified, the service gets no credential that it could take for verified; where the policy verifies, it gets what came.
func TestUnverifiedCredentialsDoNotReachTheService(t *testing.T) {
	t.Parallel()
	forged := []string{"authorization", "Bearer e30.e30.AA", "dpop", "p", "proxy-authorization", "Basic YTpi"}
	all := []string{"authorization", "dpop", "proxy-authorization"}
	public := func(mode settings.IdentityMode) func(*Options) {
		return func(o *Options) {
			o.Identity = mode
			o.Public = []settings.PublicRoute{{Method: "GET", PathPrefix: "/"}}
		}
	}
	const keeps = "package agentidp.authz\nallow := {\"allowed\": true, \"headers\": {\"authorization\": \"Basic c2VydmljZQ==\"}}\n"
	for name, c := range map[string]struct {
		source string
		change func(*Options)
		fields []string
		want   []string
	}{
		"public":                  {denyingNothing, public(settings.IdentityRequired), forged, all},
		"public, optional":        {denyingNothing, public(settings.IdentityOptional), forged, all},
		"public, dry run":         {"package agentidp.authz\nallow := false\n", func(o *Options) { public("")(o); o.DryRun = true }, forged, all},
		"public, none":            {denyingNothing, public(""), nil, nil},
		"public, set by policy":   {keeps, public(""), forged, []string{"dpop", "proxy-authorization"}},
		"optional, without token": {denyingNothing, func(o *Options) { o.Identity = settings.IdentityOptional }, forged[2:], all[1:]},
		"the policy verifies":     {denyingNothing, public(settings.IdentityPolicy), forged, nil},
	} {
		got := newEdge(t, c.source, c.change).ask(t, request("GET", "/orders", c.fields...))
		if d := cmp.Diff(c.want, got.removed); d != "" || got.status != 200 {
			t.Errorf("%s: %+v %s", name, got, d)
		}
		if (got.headers["authorization"] != "") != (c.source == keeps) {
			t.Errorf("%s: sets %v", name, got.headers)
		}
	}
	verified := newEdge(t, denyingNothing, nil)
	if got := verified.ask(t, request("GET", "/orders", "authorization", "Bearer "+verified.signer(t)(nil))); got.status != 200 || len(got.removed) != 0 {
		t.Errorf("verified: %+v", got)
	}
}

func TestIdentityModes(t *testing.T) {
	t.Parallel()
	optional := newEdge(t, ordersPolicy, func(o *Options) { o.Identity = settings.IdentityOptional })
	sign := optional.signer(t)
	for name, c := range map[string]struct {
		in     *authv3.CheckRequest
		status int
	}{
		"no token, policy allows":  {request("GET", "/open"), 200},
		"no token, policy refuses": {request("GET", "/orders"), 401},
		"good token":               {request("GET", "/orders", "authorization", "Bearer "+sign(nil)), 200},
		"good token, refused":      {request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"scope": ""})), 403},
		"bad token, policy open":   {request("GET", "/open", "authorization", "Bearer a.b.c"), 401},
		"other scheme":             {request("GET", "/open", "authorization", "Basic YTpi"), 401},
		"empty header":             {request("GET", "/open", "authorization", ""), 400},
	} {
		if got := optional.ask(t, c.in); got.status != c.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
	own := newEdge(t, `package agentidp.authz
import rego.v1
default allow := false
allow if input.attributes.request.http.headers.authorization == "Bearer letmein"
allow if input.identity
`, func(o *Options) { o.Identity = settings.IdentityPolicy })
	if got := own.ask(t, request("GET", "/x", "authorization", "Bearer letmein", "x-agent-id", "a")); got.status != 200 || len(got.removed) != 1 || len(got.headers) != 0 {
		t.Errorf("policy mode: %+v", got)
	}
	if got := own.ask(t, request("GET", "/x", "authorization", "Bearer "+sign(nil))); got.status != 403 {
		t.Errorf("policy mode: %+v", got)
	}
	masked := newEdge(t, `package agentidp.authz
import rego.v1
default allow := false
allow if input.attributes.request.http.headers.authorization == "Bearer [masked]"
`, nil)
	if got := masked.ask(t, request("GET", "/x", "authorization", "Bearer "+masked.signer(t)(nil))); got.status != 200 {
		t.Errorf("the policy sees the token: %+v", got)
	}
	if _, err := New(Options{Store: own.store, Identity: "sometimes"}); err == nil {
		t.Error("an unknown mode was accepted")
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no store was accepted")
	}
}

// What the sidecar does not know, it cannot decide; an outage does not look like a denial, and not like an OK.
func TestCannotDecide(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*state.Snapshot, *state.Issuer){
		"no policy":          func(s *state.Snapshot, _ *state.Issuer) { s.Policy = nil },
		"no keys":            func(_ *state.Snapshot, i *state.Issuer) { i.Keys = nil },
		"old keys":           func(_ *state.Snapshot, i *state.Issuer) { i.KeysUntil = josetest.Now().Add(-1) },
		"no revocation list": func(_ *state.Snapshot, i *state.Issuer) { i.HasRevocations = true },
		"old revocation list": func(_ *state.Snapshot, i *state.Issuer) {
			i.Revocations, i.RevocationsUntil = trust.Index(nil), josetest.Now().Add(-1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, ordersPolicy, nil)
			token := e.signer(t)(nil)
			e.store.Update(func(s *state.Snapshot) {
				next := *s.Issuers[josetest.Issuer]
				change(s, &next)
				s.Issuers[josetest.Issuer] = &next
			})
			got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token))
			if got.status != 503 || got.code != "cannot_decide" || got.headers["retry-after"] == "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRevocationWorksOnTheNextRequest(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, nil)
	in := request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil))
	if got := e.ask(t, in); got.status != 200 {
		t.Fatalf("got %+v", got)
	}
	e.changeIssuer(func(i *state.Issuer) {
		i.Revocations = trust.Index(&trust.RevocationList{Agents: []trust.Agent{{ID: "agt_1"}}})
	})
	if got := e.ask(t, in); got.status != 401 || got.code != "revoked_agent" {
		t.Errorf("got %+v", got)
	}
}

// The whole attack corpus through the real pipeline, with a policy that would allow everything.
func TestCorpusThroughCheck(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	cases := josetest.Corpus()
	if len(cases) < 359 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		for range 2 { // the second time the cache may answer
			m, err := e.Check(context.Background(), request("GET", "/orders", "authorization", "Bearer "+c.Token))
			if err != nil {
				t.Fatalf("%s %s: %v, %v", c.Group, c.Name, m, err)
			}
			if allowed := m.GetOkResponse() != nil; allowed != c.Accept {
				t.Errorf("%s %s: allowed %v; %s; %v", c.Group, c.Name, allowed, c.Why, m)
			}
			if status := m.GetDeniedResponse().GetStatus().GetCode(); !c.Accept && status != 400 && status != 401 {
				t.Errorf("%s %s: status %d", c.Group, c.Name, status)
			}
		}
	}
}

func TestFaultsAreLoggedOnceASecond(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	e := newEdge(t, ordersPolicy, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&lines, nil)) })
	for range 5 {
		e.ask(t, request("GET", "/broken"))
	}
	if got := strings.Count(lines.String(), "cannot decide"); got != 1 || !strings.Contains(lines.String(), "policy_decision") {
		t.Errorf("%d lines: %s", got, lines.String())
	}
}

// Every call is logged, also the one that could not be read, with the snapshot it was decided by and without its token.
func TestEveryDecisionIsLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{Labels: map[string]string{"id": "edge"}, SampleAllowed: 1})
	e := newEdge(t, ordersPolicy, func(o *Options) { o.DecisionLog = log })
	token := e.signer(t)(nil)
	ids := []string{
		e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token)).id,
		e.ask(t, request("GET", "/orders")).id,
		e.ask(t, nil).id,
		e.ask(t, request("GET", "/broken")).id,
	}
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), token) || strings.Contains(out.String(), strings.Split(token, ".")[2]) {
		t.Error("the token is in the log")
	}
	want := []string{"allowed allowed", "denied credential_missing", "denied request_empty", "undecided policy_decision"}
	for n, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var event struct {
			ID     string `json:"decision_id"`
			Custom struct {
				Epoch          uint64 `json:"snapshot_epoch"`
				Result, Reason string
			}
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		if event.ID != ids[n] || event.Custom.Epoch != e.store.Load().Epoch || event.Custom.Result+" "+event.Custom.Reason != want[n] {
			t.Errorf("line %d: %s", n, line)
		}
	}
}
