package signin

import "net/http"

// The same endpoints of an organization's own issuer, at /o/{slug}: whose they are is decided before (issuers.Set.Resolve).

// AuthorizeAtOrganization serves GET /o/{slug}/oauth2/authorize.
func (e *Authorization) AuthorizeAtOrganization(w http.ResponseWriter, r *http.Request) {
	e.Authorize(w, r)
}

// AuthorizeAtOrganizationByForm serves POST /o/{slug}/oauth2/authorize.
func (e *Authorization) AuthorizeAtOrganizationByForm(w http.ResponseWriter, r *http.Request) {
	e.AuthorizeByForm(w, r)
}

// PushOrganizationAuthorizationRequest serves POST /o/{slug}/oauth2/par.
func (e *Authorization) PushOrganizationAuthorizationRequest(w http.ResponseWriter, r *http.Request) {
	e.PushAuthorizationRequest(w, r)
}
