package web

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/problem"
)

// Route is one operation that is served.
type Route struct {
	Name      string // operationId in the contract
	Method    string
	Path      string // net/http pattern: /agents/{agentId}
	Protected bool   // Config.Authenticate must accept the request first
	Handler   http.HandlerFunc

	serve http.HandlerFunc // the Handler, and what the web.Handler does before it
}

// routes finds the route of a request. It is built once and never changes.
type routes struct {
	mux     *http.ServeMux
	table   map[string]Route // by mux pattern
	methods []string         // every method of the table
}

func newRoutes(table []Route) (*routes, error) {
	rs := &routes{mux: http.NewServeMux(), table: make(map[string]Route, len(table))}
	for _, route := range table {
		pattern := route.Method + " " + route.Path
		if _, dup := rs.table[pattern]; dup || route.Handler == nil {
			return nil, fmt.Errorf("route %s: given twice, or without a handler", pattern)
		}
		rs.mux.HandleFunc(pattern, route.Handler)
		rs.table[pattern] = route
		if !slices.Contains(rs.methods, route.Method) {
			rs.methods = append(rs.methods, route.Method)
		}
	}
	slices.Sort(rs.methods)
	return rs, nil
}

// find answers 404 for a path that is not served and 405 with Allow (RFC 9110 s15.5.6) for a method that is not. A path that is not in
// its canonical spelling is not served either: redirecting to the canonical one would hide mistakes and lose bodies.
func (rs *routes) find(w http.ResponseWriter, r *http.Request) (Route, error) {
	if r.URL.Path != path.Clean(r.URL.Path) || !strings.HasPrefix(r.URL.Path, "/") {
		return Route{}, NoRoute()
	}
	if route, ok := rs.lookup(r, r.Method); ok {
		return route, nil
	}
	var allowed []string
	for _, method := range rs.methods {
		if _, ok := rs.lookup(r, method); ok {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return Route{}, NoRoute()
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return Route{}, &problem.Error{Kind: problem.MethodNotAllowed, Detail: "This path does not serve this method. Allow lists those it does."}
}

// lookup asks the mux which pattern a request of that method would reach.
func (rs *routes) lookup(r *http.Request, method string) (Route, bool) {
	probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
	_, pattern := rs.mux.Handler(probe)
	route, ok := rs.table[pattern]
	return route, ok
}

// NoRoute is the answer for a path that is not served; also for one whose being served would tell a stranger something.
func NoRoute() error {
	return &problem.Error{Kind: problem.NotFound, Code: "no_such_route", Detail: "Nothing is served at this path."}
}
