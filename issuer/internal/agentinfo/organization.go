package agentinfo

import "net/http"

// The same of an organization's own issuer, at /o/{slug}: whose tokens they take is decided before (issuers.Set.Resolve).

// GetOrganizationAgentInfo serves GET /o/{slug}/agent-info.
func (e *Info) GetOrganizationAgentInfo(w http.ResponseWriter, r *http.Request) { e.GetAgentInfo(w, r) }

// PostOrganizationAgentInfo serves POST /o/{slug}/agent-info.
func (e *Info) PostOrganizationAgentInfo(w http.ResponseWriter, r *http.Request) {
	e.PostAgentInfo(w, r)
}

// GetOrganizationUserInfo serves GET /o/{slug}/userinfo.
func (e *Info) GetOrganizationUserInfo(w http.ResponseWriter, r *http.Request) { e.GetUserInfo(w, r) }

// PostOrganizationUserInfo serves POST /o/{slug}/userinfo.
func (e *Info) PostOrganizationUserInfo(w http.ResponseWriter, r *http.Request) {
	e.PostUserInfo(w, r)
}
