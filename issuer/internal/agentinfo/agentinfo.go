// Package agentinfo serves what an access token lets a relying party know about the agent that signed in: the UserInfo endpoint of OpenID Connect Core s5.3, for
// agents. An agent can ask about itself.
package agentinfo

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/did"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/presented"
	"github.com/agentidp/agentidp/issuer/internal/signin"
)

// Paths below the issuer, one an alias of the other: clients look for both. They are fixed by the contract.
const (
	Path      = "/agent-info"
	AliasPath = "/userinfo"
)

// Claims is every claim of ID tokens and of this endpoint, for metadata.
func Claims() []string {
	return []string{
		"iss", "sub", "aud", "exp", "iat", "jti", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "name", "updated_at", "org_id", "agent",
	}
}

// Presented checks access tokens. presented.Checker implements it.
type Presented interface {
	Check(r *http.Request, path, scheme, text string) (*presented.Token, error)
}

// Info serves the claims. Signed answers are not offered.
type Info struct {
	presented Presented
	dids      did.Namespace
}

// New returns the endpoint.
func New(p Presented, dids did.Namespace) *Info { return &Info{p, dids} }

// claims are by scope: profile gives the first two, agent the others.
type claims struct {
	Subject        string `json:"sub"`
	Name           string `json:"name,omitempty"`
	UpdatedAt      int64  `json:"updated_at,omitempty"` // seconds
	OrganizationID string `json:"org_id,omitempty"`
	Agent          *agent `json:"agent,omitempty"`
}

type agent struct {
	Name         string   `json:"name"`
	DID          string   `json:"did"`
	Type         string   `json:"type"`
	Capabilities []string `json:"capabilities"`
}

// GetAgentInfo serves GET /agent-info.
func (e *Info) GetAgentInfo(w http.ResponseWriter, r *http.Request) { e.serve(w, r, Path, "") }

// GetUserInfo serves GET /userinfo.
func (e *Info) GetUserInfo(w http.ResponseWriter, r *http.Request) { e.serve(w, r, AliasPath, "") }

// PostAgentInfo serves POST /agent-info.
func (e *Info) PostAgentInfo(w http.ResponseWriter, r *http.Request) { e.post(w, r, Path) }

// PostUserInfo serves POST /userinfo.
func (e *Info) PostUserInfo(w http.ResponseWriter, r *http.Request) { e.post(w, r, AliasPath) }

// post reads a token from the form, RFC 6750 s2.2. A POST without a body has it in the header.
func (e *Info) post(w http.ResponseWriter, r *http.Request, path string) {
	if len(r.Header.Values("Content-Type")) == 0 {
		e.serve(w, r, path, "")
		return
	}
	form, err := oauth.ReadForm(r)
	if err != nil {
		presented.Refuse(w, r, err)
		return
	}
	e.serve(w, r, path, form.Get("access_token"))
}

func (e *Info) serve(w http.ResponseWriter, r *http.Request, path, posted string) {
	scheme, text, err := presented.Text(r, posted)
	if err != nil {
		presented.Refuse(w, r, err)
		return
	}
	if text == "" {
		presented.Refuse(w, r, nil)
		return
	}
	t, err := e.presented.Check(r, path, scheme, text)
	if err != nil {
		presented.Refuse(w, r, err)
		return
	}
	if t.NextNonce != "" {
		w.Header().Set(dpop.NonceHeader, t.NextNonce)
	}
	if !t.Own() && !slices.Contains(t.Scopes, signin.OpenID) {
		presented.Refuse(w, r, &oauth.Error{
			Code: presented.InsufficientScope, Description: "The access token is not one of a sign-in with OpenID Connect.", Status: http.StatusForbidden,
		}, `scope="openid"`)
		return
	}
	body, err := json.Marshal(e.claims(t))
	if err != nil {
		web.Fail(w, r, errors.Join(errors.New("encode the claims"), err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
}

// claims of the agent as it is now. It may know all of its own.
func (e *Info) claims(t *presented.Token) claims {
	c := claims{Subject: t.Agent.ID.String()}
	if t.Own() || slices.Contains(t.Scopes, signin.Profile) {
		c.Name, c.UpdatedAt = t.Agent.Name, t.Agent.UpdatedAt.Unix()
	}
	if t.Own() || slices.Contains(t.Scopes, signin.AgentScope) {
		capabilities := t.Agent.Capabilities
		if capabilities == nil {
			capabilities = []string{}
		}
		c.OrganizationID = t.Agent.OrganizationID.String()
		c.Agent = &agent{t.Agent.Name, e.dids.Agent(t.Agent.ID), t.Agent.Type, capabilities}
	}
	return c
}
