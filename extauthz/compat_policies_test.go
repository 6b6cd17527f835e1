package extauthz

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// sharedSecretToken is a token as tutorials have it: HS256, with a secret that stands in the policy.
func sharedSecretToken(claims string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte("hush"))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func basic(user string) string {
	return "Basic " + base64.URLEncoding.EncodeToString([]byte(user+":password"))
}

// quickStart: the token is verified by the policy, members read, managers write, and a manager cannot add their own name.
const quickStart = `package envoy.authz

import input.attributes.request.http as http_request

default allow = false

allow if {
	token.valid
	now := time.now_ns() / 1000000000
	token.payload.nbf <= now
	now < token.payload.exp
	permitted
}

permitted if {
	http_request.method == "GET"
	token.payload.role == "member"
	glob.match("/staff", ["/"], http_request.path)
}

permitted if {
	http_request.method == "GET"
	token.payload.role == "manager"
	glob.match("/staff", ["/"], http_request.path)
}

permitted if {
	http_request.method == "POST"
	token.payload.role == "manager"
	glob.match("/staff", ["/"], http_request.path)
	lower(input.parsed_body.name) != base64url.decode(token.payload.sub)
}

token := {"valid": valid, "payload": payload} if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[valid, _, payload] := io.jwt.decode_verify(encoded, {"secret": "hush"})
}
`

// istioStart: who somebody is comes from basic authentication, what they may do from two tables; old assignment syntax.
const istioStart = `package istio.authz

import input.attributes.request.http as http_request

default allow = false

allow if {
	some role
	has[role]
	suffices[role]
}

has contains role if role := roles_of[user][_]

suffices contains role if {
	some role
	grant := grants[role][_]
	grant.method = http_request.method
	grant.path = http_request.path
}

user := name if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[name, _] := split(base64url.decode(encoded), ":")
}

roles_of := {"ann": ["reader"], "ben": ["owner"]}

grants := {
	"reader": [{"method": "GET", "path": "/shop"}],
	"owner": [{"method": "GET", "path": "/shop"}, {"method": "GET", "path": "/api/stock"}],
}
`

// rolesOld is role-based access in Rego of version 0, as benchmarks of the peer have it.
const rolesOld = `package policy["com.shop"].rbac

default allow = false

allow {
	binding := bindings[_]
	binding.user == input.attributes.request.http.headers["x-user"]
	role := binding.roles[_]
	grant := roles[_]
	grant.name == role
	operation := grant.operations[_]
	re_match(operation, input.attributes.request.http.method)
}

bindings = [{"user": "ann", "roles": ["clerk"]}, {"user": "ben", "roles": ["clerk", "owner"]}]

roles = [{"name": "clerk", "operations": ["^GET$"]}, {"name": "owner", "operations": ["^(PUT|DELETE)$"]}]
`

// Policies in the forms the peer's tutorials and examples have, each with the requests they were made for.
func TestCompatPoliciesRunUnchanged(t *testing.T) {
	t.Parallel()
	member := "Bearer " + sharedSecretToken(`{"role":"member","sub":"YW5u","nbf":1500000000,"exp":4000000000}`)
	manager := "Bearer " + sharedSecretToken(`{"role":"manager","sub":"YmVu","nbf":1500000000,"exp":4000000000}`)
	late := "Bearer " + sharedSecretToken(`{"role":"manager","sub":"YmVu","nbf":1500000000,"exp":1500000300}`)
	for name, c := range map[string]struct {
		path, source string
		v0           bool
		statuses     map[string]int // by request
		requests     map[string]*authv3.CheckRequest
	}{
		"quick start": {"envoy/authz/allow", quickStart, false, map[string]int{
			"member reads": 200, "member writes": 403, "manager writes": 200, "manager writes about themselves": 403, "token is over": 403, "no token": 403, "forged": 403,
		}, map[string]*authv3.CheckRequest{
			"member reads": request("GET", "/staff", "authorization", member), "member writes": withBody(request("POST", "/staff", "authorization", member), `{"name":"Cleo"}`),
			"manager writes":                  withBody(request("POST", "/staff", "authorization", manager), `{"name":"Cleo"}`),
			"manager writes about themselves": withBody(request("POST", "/staff", "authorization", manager), `{"name":"Ben"}`),
			"token is over":                   request("GET", "/staff", "authorization", late),
			"no token":                        request("GET", "/staff"),
			"forged":                          request("GET", "/staff", "authorization", manager[:len(manager)-4]+"AAAA"),
		}},
		"istio": {"istio/authz/allow", istioStart, false, map[string]int{
			"reader at the shop": 200, "reader at the stock": 403, "owner at the shop": 200, "owner at the stock": 200,
		}, map[string]*authv3.CheckRequest{
			"reader at the shop": request("GET", "/shop", "authorization", basic("ann")), "reader at the stock": request("GET", "/api/stock", "authorization", basic("ann")),
			"owner at the shop": request("GET", "/shop", "authorization", basic("ben")), "owner at the stock": request("GET", "/api/stock", "authorization", basic("ben")),
		}},
		"unix socket example": {"envoy/authz/allow", `package envoy.authz
import input.attributes.request.http as http_request
default allow := false
allow if http_request.method == "GET"
allow if { http_request.method == "POST"; "admin" == http_request.headers["x-role"] }
`, false, map[string]int{"read": 200, "write": 403, "admin writes": 200}, map[string]*authv3.CheckRequest{
			"read": request("GET", "/x"), "write": request("POST", "/x"), "admin writes": request("POST", "/x", "x-role", "admin"),
		}},
		"gloo example": {"envoy/authz/allow", `package envoy.authz
import input.attributes.request.http as req
default allow := false
allow if { glob.match("/api/pets/*", ["/"], req.path); req.method == "GET" }
allow if { input.parsed_path == ["api", "pets"]; req.method == "GET"; not input.parsed_query.limit }
`, false, map[string]int{"one pet": 200, "all pets": 200, "deeper": 403, "with a parameter": 403}, map[string]*authv3.CheckRequest{
			"one pet": request("GET", "/api/pets/1"), "all pets": request("GET", "/api/pets"), "deeper": request("GET", "/api/pets/1/x"), "with a parameter": request("GET", "/api/pets?limit=1"),
		}},
		"primer, boolean": {"envoy/authz/allow", `package envoy.authz
import rego.v1
default allow := false
allow if {
	input.attributes.request.http.method == "GET"
	input.parsed_path = ["staff", name]
	input.attributes.source.principal == concat("/", ["spiffe://example", name])
}
`, false, map[string]int{"own record": 200, "another's record": 403}, map[string]*authv3.CheckRequest{
			"own record": request("GET", "/staff/caller"), "another's record": request("GET", "/staff/other"),
		}},
		"roles, version 0": {"policy/com.shop/rbac/allow", rolesOld, true, map[string]int{
			"clerk reads": 200, "clerk deletes": 403, "owner deletes": 200, "stranger": 403,
		}, map[string]*authv3.CheckRequest{
			"clerk reads": request("GET", "/x", "x-user", "ann"), "clerk deletes": request("DELETE", "/x", "x-user", "ann"),
			"owner deletes": request("DELETE", "/x", "x-user", "ben"), "stranger": request("GET", "/x", "x-user", "cleo"),
		}},
		"version 0 beside rego.v1": {
			"envoy/authz/allow", "package envoy.authz\nimport rego.v1\ndefault allow := false\nallow if input.parsed_path == [\"x\"]\n", true,
			map[string]int{"x": 200, "y": 403},
			map[string]*authv3.CheckRequest{"x": request("GET", "/x"), "y": request("GET", "/y")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := drop(t, "envoy/authz/allow", "package envoy.authz\nallow := false\n", nil)
			e.setPolicy(compileAt(t, c.path, c.source, c.v0))
			for request, want := range c.statuses {
				if got := e.ask(t, c.requests[request]); got.status != want {
					t.Errorf("%s: %+v", request, got)
				}
			}
		})
	}
}

// withBody adds a JSON body, as Envoy does when it is told to send bodies.
func withBody(in *authv3.CheckRequest, body string) *authv3.CheckRequest {
	return withTypedBody(in, "application/json", body)
}

func withTypedBody(in *authv3.CheckRequest, contentType, body string) *authv3.CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	http.RawBody, http.Size = []byte(body), int64(len(body))
	if contentType != "" {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: "content-type", RawValue: []byte(contentType)})
	}
	return in
}

// primerObject is the object form with all its members, stated whether the request is allowed or not.
const primerObject = `package envoy.authz
import input.attributes.request.http as http_request

default allow := false

allow if {
	http_request.method == "GET"
	http_request.headers["x-staff"] == "yes"
}

headers["x-checked-by"] := "policy"
headers["x-many"] := ["a", "b"]

request_headers_to_remove := ["x-internal", "X-Debug"]
response_headers_to_add := [{"x-served": "1"}, {"x-served": "2"}]
query_parameters_to_set := {"version": "2", "tag": ["a", "b"]}
query_parameters_to_remove := ["debug"]
status_code := 200 if allow else := 451
body := "not here" if not allow

result["allowed"] := allow
result["headers"] := headers
result["response_headers_to_add"] := response_headers_to_add
result["request_headers_to_remove"] := request_headers_to_remove
result["query_parameters_to_set"] := query_parameters_to_set
result["query_parameters_to_remove"] := query_parameters_to_remove
result["body"] := body
result["http_status"] := status_code
result["dynamic_metadata"] := {"plan": "gold", "level": 3, "tags": ["a", true, null]}
`
