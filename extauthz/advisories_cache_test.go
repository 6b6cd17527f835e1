package extauthz

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// Advisories about what is remembered: verdicts, keys of caches, calls that are answered together.

// What is remembered of a token is never more than what was asked about it (oathkeeper).
func TestAdvisoriesOfVerdicts(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-33496", func(t *testing.T) { // another asks than the one the verdict is about
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		token := e.signer(t)(nil)
		for range 3 {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token)); got.status != 200 {
				t.Fatalf("before: %+v", got)
			}
		}
		head, rest, _ := strings.Cut(token, ".")
		payload, signature, _ := strings.Cut(rest, ".")
		other := e.signer(t)(map[string]any{"sub": "agt_2"}) // of keys that replaced the first ones
		for name, near := range map[string]string{
			"other signature": head + "." + payload + "." + other[strings.LastIndexByte(other, '.')+1:], "other claims": head + "." + strings.Split(other, ".")[1] + "." + signature,
			"padded": token + "=", "cut": token[:len(token)-1], "the key is gone": token,
		} {
			if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+near)); got.status != 401 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	})
	t.Run("GHSA-qvp4-rpmr-xwrr", testRememberedTokensAreAskedAgain)
}

func testRememberedTokensAreAskedAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(e *edge, now *atomic.Int64){
		"the issuer wants another audience": func(e *edge, _ *atomic.Int64) {
			e.changeIssuer(func(i *state.Issuer) { i.Rules.Audiences = []string{"svc://other"} })
		},
		"the issuer is gone": func(e *edge, _ *atomic.Int64) {
			e.store.Update(func(s *state.Snapshot) { delete(s.Issuers, josetest.Issuer) })
		},
		"the issuer speaks for one organization": func(e *edge, _ *atomic.Int64) {
			e.changeIssuer(func(i *state.Issuer) { i.OrganizationID = "org_b" })
		},
		"the token is over": func(_ *edge, now *atomic.Int64) { now.Add(400) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var now atomic.Int64
			now.Store(josetest.Now().Unix())
			e := newEdge(t, denyingNothing, func(o *Options) { o.Now = func() time.Time { return time.Unix(now.Load(), 0) } })
			in := request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil))
			for range 3 {
				if got := e.ask(t, in); got.status != 200 {
					t.Fatalf("before: %+v", got)
				}
			}
			change(e, &now)
			if got := e.ask(t, in); got.status != 401 {
				t.Errorf("after: %+v", got)
			}
		})
	}
}

// Two requests that are spelled alike once their parts are joined get their own decisions, in whatever order they are asked (OpenFGA,
// fast-jwt).
func TestAdvisoriesOfCacheKeys(t *testing.T) {
	t.Parallel()
	const source = `package agentidp.authz
default allow := false
allow if { http.method == "GET"; http.headers["x-a"] == "1"; http.headers["x-b"] == "2"; input.parsed_path == ["a", "b"]; not input.parsed_query.c }
http := input.attributes.request.http
`
	get := func(path string, headers ...string) *authv3.CheckRequest { return request("GET", path, headers...) }
	for id, others := range map[string]map[string]*authv3.CheckRequest{
		"CVE-2026-48096": { // delimiters
			"values moved":     get("/a/b", "x-a", "12", "x-b", ""),
			"a delimiter":      get("/a/b", "x-a", "1\tx-b:2"),
			"one segment":      get("/ab", "x-a", "1", "x-b", "2"),
			"an empty segment": get("/a/b/", "x-a", "1", "x-b", "2"),
			"a space, escaped": get("/a%20b", "x-a", "1", "x-b", "2"),
		},
		"CVE-2026-34972": { // lists
			"a list in one": get("/a/b", "x-a", "1,2"),
			"two in one":    get("/a/b", "x-a", "1", "x-a", "2"),
		},
		"CVE-2026-33729": { // what was left out of the key
			"a query":           get("/a/b?c", "x-a", "1", "x-b", "2"),
			"names swapped":     get("/a/b", "x-a", "2", "x-b", "1"),
			"method in a value": request("GE", "/a/b", "x-a", "1", "x-b", "2"),
		},
		"GHSA-rp9m-7r4c-75qg": { // one caller's decision for another
			"another caller": nil,
		},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			for _, first := range []bool{true, false} {
				e := newEdge(t, source, nil)
				sign := e.signer(t)
				bearer := func(in *authv3.CheckRequest) *authv3.CheckRequest {
					return withHeader(in, "authorization", "Bearer "+sign(nil))
				}
				good := bearer(get("/a/b", "x-a", "1", "x-b", "2"))
				for name, other := range others {
					if other == nil {
						other = get("/a/b", "x-a", "1", "x-b", "2") // without a token
					} else {
						other = bearer(other)
					}
					for n := range 4 {
						in, want := other, false
						if (n%2 == 0) == first {
							in, want = good, true
						}
						if got := e.ask(t, in); (got.status == 200) != want {
							t.Errorf("%s: %+v, want allowed %v", name, got, want)
						}
					}
				}
			}
		})
	}
}

// withHeader is the request with one more header; the request itself stays as it is.
func withHeader(in *authv3.CheckRequest, name, value string) *authv3.CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	headers := []string{name, value}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if h.GetKey()[0] != ':' {
			headers = append(headers, h.GetKey(), string(h.GetRawValue()))
		}
	}
	return request(http.GetMethod(), http.GetPath(), headers...)
}

// Calls that are answered together must not share an identity (Traefik).
func TestAdvisoryOfSharedCalls(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2026-71326", testCallersAtOnce)
}

func testCallersAtOnce(t *testing.T) {
	t.Parallel()
	e := newEdge(t, denyingNothing, nil)
	sign := e.signer(t)
	const callers, rounds = 8, 25
	requests := make([]*authv3.CheckRequest, callers)
	for n := range requests {
		requests[n] = request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"sub": "agt_" + strconv.Itoa(n), "client_id": "agt_" + strconv.Itoa(n)}))
	}
	var waiting sync.WaitGroup
	for round := range rounds {
		for n, in := range requests {
			waiting.Go(func() {
				if got := e.ask(t, in); got.status != 200 || got.headers["x-agent-id"] != "agt_"+strconv.Itoa(n) {
					t.Errorf("round %d: caller %d became %+v", round, n, got)
				}
			})
		}
	}
	waiting.Wait()
}

// Pomerium: a policy that changed decides the next request, also of a caller it had allowed; a request that was made to be read in two
// ways is decided in neither.
func TestAdvisoriesOfChangedDecisions(t *testing.T) {
	t.Parallel()
	t.Run("CVE-2021-41230", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		in := request("GET", "/orders", "authorization", "Bearer "+e.signer(t)(nil))
		for range 3 {
			if got := e.ask(t, in); got.status != 200 {
				t.Fatalf("before: %+v", got)
			}
		}
		e.setPolicy(compile(t, "package agentidp.authz\nallow := false\n", false))
		if got := e.ask(t, in); got.status != 403 {
			t.Errorf("after: %+v", got)
		}
	})
	t.Run("CVE-2023-33189", func(t *testing.T) {
		t.Parallel()
		e := newEdge(t, denyingNothing, nil)
		bearer := "Bearer " + e.signer(t)(nil)
		type attributes = authv3.AttributeContext_HttpRequest
		for name, change := range map[string]func(h *attributes){
			"path":     func(h *attributes) { h.Path = "/public" },
			"method":   func(h *attributes) { h.Method = "OPTIONS" },
			"host":     func(h *attributes) { h.Host = "public.example" },
			"query":    func(h *attributes) { h.Query = "a=b" },
			"fragment": func(h *attributes) { h.Fragment = "/public" },
			"headers":  func(h *attributes) { h.Headers = map[string]string{":path": "/public"} },
			"two bodies": func(h *attributes) {
				h.Body, h.RawBody = "{}", []byte("{}")
			},
		} {
			in := request("GET", "/orders", "authorization", bearer)
			if got := e.ask(t, in); got.status != 200 {
				t.Fatalf("as Envoy sends it: %+v", got)
			}
			change(in.Attributes.Request.Http)
			if got := e.ask(t, in); got.status != 400 {
				t.Errorf("another %s: %+v", name, got)
			}
		}
	})
}
