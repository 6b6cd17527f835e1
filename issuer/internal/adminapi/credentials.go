package adminapi

import (
	"fmt"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// overlapDefault lets a running agent be given its new secret without hurry.
const overlapDefault = time.Hour

// ListCredentials implements GET /agents/{agentId}/credentials.
func (a *API) ListCredentials(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listCredentials)(w, r)
}

func (a *API) listCredentials(r *http.Request, _ web.None) (reply web.Reply[CredentialList], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	found, err := a.Agents.Credentials(r.Context(), id)
	if err != nil {
		return reply, err
	}
	reply.Body = CredentialList{Credentials: mapped(found, credentialBody)}
	return reply, nil
}

// CreateCredential implements POST /agents/{agentId}/credentials.
func (a *API) CreateCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.createCredential)(w, r)
}

func (a *API) createCredential(r *http.Request, in CreateCredential) (reply web.Reply[NewCredential], err error) {
	id, err := agentID(r)
	if err != nil {
		return reply, err
	}
	lifetime, err := lifetime(in.LifetimeSeconds)
	if err != nil {
		return reply, err
	}
	kind, registration, err := a.registration(credentials.KindClientSecret, in.Kind, in.Registration)
	if err != nil {
		return reply, err
	}
	var c agents.Credential
	var secret string
	if kind == credentials.KindClientSecret {
		c, secret, err = a.Agents.CreateCredential(r.Context(), actor(r), id, lifetime)
	} else {
		c, err = a.Agents.RegisterCredential(r.Context(), actor(r), id, kind, registration, lifetime)
	}
	if err != nil {
		return reply, err
	}
	return newCredentialReply(c, secret), nil
}

// RotateCredential implements POST /agents/{agentId}/credentials/{credentialId}/rotate.
func (a *API) RotateCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.rotateCredential)(w, r)
}

func (a *API) rotateCredential(r *http.Request, in RotateCredential) (reply web.Reply[NewCredential], err error) {
	agent, id, err := credentialID(r)
	if err != nil {
		return reply, err
	}
	overlap, err := overlap(in.OverlapSeconds)
	if err != nil {
		return reply, err
	}
	old, err := a.Agents.Credential(r.Context(), agent, id)
	if err != nil {
		return reply, err
	}
	kind, registration, err := a.registration(old.Kind, nil, in.Registration)
	if err != nil {
		return reply, err
	}
	var c agents.Credential
	var secret string
	if kind == credentials.KindClientSecret {
		c, secret, err = a.Agents.RotateCredential(r.Context(), actor(r), agent, id, overlap)
	} else {
		c, err = a.Agents.ReplaceCredential(r.Context(), actor(r), agent, id, kind, registration, overlap)
	}
	if err != nil {
		return reply, err
	}
	return newCredentialReply(c, secret), nil
}

// DeleteCredential implements DELETE /agents/{agentId}/credentials/{credentialId}.
func (a *API) DeleteCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.deleteCredential)(w, r)
}

func (a *API) deleteCredential(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	agent, id, err := credentialID(r)
	if err != nil {
		return reply, err
	}
	return reply, a.Agents.DeleteCredential(r.Context(), actor(r), agent, id)
}

// newCredentialReply is the only answer that holds a secret of an agent. Every answer of web.Handler is no-store already.
func newCredentialReply(c agents.Credential, secret string) web.Reply[NewCredential] {
	return web.Reply[NewCredential]{
		Status: http.StatusCreated,
		Body:   NewCredential{Credential: credentialBody(c), ClientId: c.AgentID, ClientSecret: present(secret)},
	}
}

func credentialBody(c agents.Credential) Credential {
	return Credential{
		Registration: registrationBody(c.Kind, c.Registration),
		Id:           c.ID, AgentId: c.AgentID, Kind: CredentialKind(c.Kind), CreatedAt: c.CreatedAt.UTC(),
		ExpiresAt: present(c.ExpiresAt.UTC()), LastUsedAt: present(c.LastUsedAt.UTC()),
	}
}

func lifetime(asked *int64) (time.Duration, error) {
	if asked == nil {
		return 0, nil
	}
	return seconds(*asked, credentials.LifetimeMin, credentials.LifetimeMax, "/lifetimeSeconds")
}

func overlap(asked *int64) (time.Duration, error) {
	if asked == nil {
		return overlapDefault, nil
	}
	return seconds(*asked, 0, credentials.OverlapMax, "/overlapSeconds")
}

// seconds checks the bounds before multiplying, so that nothing overflows. 0 means no expiry to the service; a client says that by leaving it out.
func seconds(n int64, lowest, highest time.Duration, field string) (time.Duration, error) {
	if n < int64(lowest/time.Second) || n > int64(highest/time.Second) {
		return 0, &problem.Error{
			Kind: problem.Invalid, Code: "out_of_range", Field: field,
			Detail: fmt.Sprintf("This must be %d to %d seconds.", lowest/time.Second, highest/time.Second),
		}
	}
	return time.Duration(n) * time.Second, nil
}
