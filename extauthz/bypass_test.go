package extauthz

import (
	"context"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/settings"
)

// preflight is what a browser sends, with more headers.
func preflight(path string, more ...string) *authv3.CheckRequest {
	return request("OPTIONS", path, append([]string{"origin", "https://app.example", "access-control-request-method", "POST"}, more...)...)
}

// passesUndecided reports whether a request passes, and that then nobody decided about it, nobody is named and nothing is shown
// that the service could believe.
func passesUndecided(t *testing.T, e *edge, in *authv3.CheckRequest) bool {
	t.Helper()
	m, err := e.Check(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	ok := m.GetOkResponse()
	if ok == nil {
		return false
	}
	for _, h := range ok.GetHeaders() {
		if strings.HasPrefix(h.GetHeader().GetKey(), "x-agent") {
			t.Errorf("names a caller: %v", h)
		}
	}
	for _, h := range in.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		switch name := h.GetKey(); name {
		case "authorization", "dpop", "proxy-authorization", "x-agent-id":
			if !slices.Contains(ok.GetHeadersToRemove(), name) {
				t.Errorf("the service gets %s", name)
			}
		}
	}
	return true
}

func neverAsked(t *testing.T, e *edge) {
	t.Helper()
	e.stages.decide = func(context.Context, decide.Evaluator, decide.Subject) (*decide.Decision, *checkreq.Refusal, *decide.Fault) {
		t.Error("the policy was asked")
		return &decide.Decision{}, nil, nil
	}
}

func TestHealthBypass(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, func(o *Options) {
		o.Public, o.Health = nil, []settings.HealthRoute{{Method: "GET", Path: "/ready"}, {Method: "HEAD", Path: "/live/now"}}
	})
	neverAsked(t, e)
	withBody := request("GET", "/ready")
	withBody.Attributes.Request.Http.Body = "x"
	withSize := request("GET", "/ready")
	withSize.Attributes.Request.Http.Size = 5
	withoutSize := request("GET", "/ready")
	withoutSize.Attributes.Request.Http.Size = -1
	for name, c := range map[string]struct {
		in     *authv3.CheckRequest
		passes bool
	}{
		"the path":               {request("GET", "/ready"), true},
		"the other":              {request("HEAD", "/live/now"), true},
		"with a bad token":       {request("GET", "/ready", "authorization", "Bearer a.b.c", "dpop", "x", "proxy-authorization", "Basic YTpi"), true},
		"with a forged identity": {request("GET", "/ready", "x-agent-id", "agt_1"), true},
		"no body":                {request("GET", "/ready", "content-length", "0"), true},
		"another method":         {request("HEAD", "/ready"), false},
		"the method of another":  {request("GET", "/live/now"), false},
		"POST":                   {request("POST", "/ready"), false},
		"method in lower case":   {request("get", "/ready"), false},
		"a query":                {request("GET", "/ready?x"), false},
		"an empty query":         {request("GET", "/ready?"), false},
		"below":                  {request("GET", "/ready/x"), false},
		"a slash at the end":     {request("GET", "/ready/"), false},
		"longer":                 {request("GET", "/readyz"), false},
		"in upper case":          {request("GET", "/READY"), false},
		"escaped":                {request("GET", "/%72eady"), false},
		"two slashes":            {request("GET", "//ready"), false},
		"dot segments":           {request("GET", "/admin/../ready"), false},
		"parameters":             {request("GET", "/ready;/../admin"), false},
		"a fragment":             {request("GET", "/ready#x"), false},
		"announces a body":       {request("GET", "/ready", "content-length", "1"), false},
		"chunked":                {request("GET", "/ready", "transfer-encoding", "chunked"), false},
		"a body":                 {withBody, false},
		"a size":                 {withSize, false},
		"no size is known":       {withoutSize, true},
		"a WebSocket":            {request("GET", "/ready", "upgrade", "websocket", "connection", "upgrade"), false},
		"cleartext HTTP/2":       {request("GET", "/ready", "upgrade", "h2c", "http2-settings", "AAMAAABk"), false},
		"its settings alone":     {request("GET", "/ready", "http2-settings", "AAMAAABk"), false},
		"an extended CONNECT":    {request("GET", "/ready", ":protocol", "websocket"), false},
		"elsewhere in a header":  {request("GET", "/admin", "x-original-url", "/ready", "user-agent", "kube-probe/1.30"), false},
	} {
		if got := passesUndecided(t, e, c.in); got != c.passes {
			t.Errorf("%s: passes: %v, want %v", name, got, c.passes)
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	service := newEdge(t, denyingNothing, func(o *Options) { o.CORS.Preflight = settings.PreflightService })
	neverAsked(t, service)
	policy := newEdge(t, "package agentidp.authz\ndefault allow := false\nallow if { input.parsed_path[0] == \"orders\"; not input.identity }\nallow if input.identity\n", func(o *Options) { o.CORS.Preflight = settings.PreflightPolicy })
	off := newEdge(t, denyingNothing, nil)
	for name, c := range map[string]struct {
		in      *authv3.CheckRequest
		genuine bool
	}{
		"a browser's":              {preflight("/orders"), true},
		"with headers to follow":   {preflight("/orders", "access-control-request-headers", "authorization,content-type"), true},
		"of a private page":        {request("OPTIONS", "/orders", "origin", "null", "access-control-request-method", "GET"), true},
		"with a forged identity":   {preflight("/orders", "x-agent-id", "agt_1"), true},
		"no body":                  {preflight("/orders", "content-length", "0"), true},
		"without an origin":        {request("OPTIONS", "/orders", "access-control-request-method", "GET"), false},
		"without a method":         {request("OPTIONS", "/orders", "origin", "https://app.example"), false},
		"an empty origin":          {request("OPTIONS", "/orders", "origin", "", "access-control-request-method", "GET"), false},
		"an empty method":          {request("OPTIONS", "/orders", "origin", "null", "access-control-request-method", ""), false},
		"no method":                {request("OPTIONS", "/orders", "origin", "null", "access-control-request-method", "GET, POST"), false},
		"two methods":              {preflight("/orders", "access-control-request-method", "GET"), false},
		"two origins":              {preflight("/orders", "origin", "https://b.example"), false},
		"a token":                  {preflight("/orders", "authorization", "Bearer a.b.c"), false},
		"a proof":                  {preflight("/orders", "dpop", "x"), false},
		"a cookie":                 {preflight("/orders", "cookie", "a=1"), false},
		"announces a body":         {preflight("/orders", "content-length", "7"), false},
		"chunked":                  {preflight("/orders", "transfer-encoding", "chunked"), false},
		"another protocol":         {preflight("/orders", "upgrade", "h2c"), false},
		"an extended CONNECT":      {preflight("/orders", ":protocol", "websocket"), false},
		"GET":                      {request("GET", "/orders", "origin", "null", "access-control-request-method", "GET"), false},
		"POST":                     {request("POST", "/orders", "origin", "null", "access-control-request-method", "POST"), false},
		"OPTIONS by override":      {request("POST", "/orders", "origin", "null", "access-control-request-method", "POST", "x-http-method-override", "OPTIONS"), false},
		"two origins in one":       {request("OPTIONS", "/orders", "origin", "https://a.example,https://b.example", "access-control-request-method", "GET"), false},
		"a path with two readings": {preflight("/orders/..;/admin"), false},
	} {
		if got := passesUndecided(t, service, c.in); got != c.genuine {
			t.Errorf("%s: passes to the service: %v, want %v", name, got, c.genuine)
		}
		if got := policy.ask(t, c.in); (got.status == 200) != c.genuine {
			t.Errorf("%s: asked of the policy without an identity: %+v, want %v", name, got, c.genuine)
		}
		if got := off.ask(t, c.in); got.status == 200 {
			t.Errorf("%s: passes though preflights are off", name)
		}
	}
	if got := policy.ask(t, preflight("/admin")); got.status != 403 {
		t.Errorf("the policy denies: %+v", got)
	}
}
