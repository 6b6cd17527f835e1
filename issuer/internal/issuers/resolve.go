package issuers

import (
	"net/http"

	"github.com/agentidp/agentidp/internal/web"
)

// Set is every issuer of the instance.
type Set struct{ instance Issuer }

// NewSet returns the set.
func NewSet(instance Issuer) *Set { return &Set{instance} }

// Instance is the issuer that belongs to no organization.
func (s *Set) Instance() Issuer { return s.instance }

// Resolve makes every route answer as the issuer its path names.
func (s *Set) Resolve(routes []web.Route) []web.Route {
	resolved := make([]web.Route, 0, len(routes))
	for _, route := range routes {
		next := route.Handler
		route.Handler = func(w http.ResponseWriter, r *http.Request) {
			next(w, r.WithContext(With(r.Context(), s.instance)))
		}
		resolved = append(resolved, route)
	}
	return resolved
}
