package adminapi

import (
	"net/http"
	"slices"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// ListClientCredentials implements GET /clients/{clientId}/credentials.
func (a *API) ListClientCredentials(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listClientCredentials)(w, r)
}

func (a *API) listClientCredentials(r *http.Request, _ web.None) (reply web.Reply[ClientCredentialList], err error) {
	id, err := clientID(r)
	if err != nil {
		return reply, err
	}
	found, err := a.Clients.Credentials(r.Context(), id)
	if err != nil {
		return reply, err
	}
	reply.Body = ClientCredentialList{Credentials: mapped(found, clientCredentialBody)}
	return reply, nil
}

// CreateClientCredential implements POST /clients/{clientId}/credentials.
func (a *API) CreateClientCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.createClientCredential)(w, r)
}

func (a *API) createClientCredential(r *http.Request, in CreateClientCredential) (reply web.Reply[NewClientCredential], err error) {
	id, err := clientID(r)
	if err != nil {
		return reply, err
	}
	lifetime, err := lifetime(in.LifetimeSeconds)
	if err != nil {
		return reply, err
	}
	client, err := a.Clients.Get(r.Context(), id)
	if err != nil {
		return reply, err
	}
	if client.Public() {
		return reply, &problem.Error{Kind: problem.Conflict, Code: "client_has_no_credentials", Detail: "the client authenticates by none"}
	}
	registration, err := a.clientRegistration(client.Authentication, in.Registration)
	if err != nil {
		return reply, err
	}
	c, secret, err := a.Clients.CreateCredential(r.Context(), actor(r), id, client.Authentication.Kind(), registration, lifetime)
	if err != nil {
		return reply, err
	}
	return newClientCredentialReply(c, secret), nil
}

// RotateClientCredential implements POST /clients/{clientId}/credentials/{credentialId}/rotate.
func (a *API) RotateClientCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.rotateClientCredential)(w, r)
}

func (a *API) rotateClientCredential(r *http.Request, in RotateCredential) (reply web.Reply[NewClientCredential], err error) {
	client, id, err := clientCredentialID(r)
	if err != nil {
		return reply, err
	}
	overlap, err := overlap(in.OverlapSeconds)
	if err != nil {
		return reply, err
	}
	old, err := a.Clients.Credential(r.Context(), client, id)
	if err != nil {
		return reply, err
	}
	_, registration, err := a.registration(old.Kind, nil, in.Registration)
	if err != nil {
		return reply, err
	}
	c, secret, err := a.Clients.RotateCredential(r.Context(), actor(r), old, registration, overlap)
	if err != nil {
		return reply, err
	}
	return newClientCredentialReply(c, secret), nil
}

// DeleteClientCredential implements DELETE /clients/{clientId}/credentials/{credentialId}.
func (a *API) DeleteClientCredential(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.deleteClientCredential)(w, r)
}

func (a *API) deleteClientCredential(r *http.Request, _ web.None) (reply web.Reply[web.None], err error) {
	client, id, err := clientCredentialID(r)
	if err != nil {
		return reply, err
	}
	return reply, a.Clients.DeleteCredential(r.Context(), actor(r), client, id)
}

// clientRegistration reads the registration of a client that authenticates by a method. Whether there is such a method is for the service to say.
func (a *API) clientRegistration(by credentials.Method, in *Registration) (credentials.Registration, error) {
	if by == credentials.None {
		if in != nil {
			return credentials.Registration{}, &problem.Error{
				Kind: problem.Invalid, Code: "registration_unexpected", Field: "/registration", Detail: "A client that authenticates by none has none.",
			}
		}
		return credentials.Registration{}, nil
	}
	if !slices.Contains(credentials.Methods(), by) {
		return credentials.Registration{}, nil
	}
	_, registration, err := a.registration(by.Kind(), nil, in)
	return registration, err
}

func clientCredentialID(r *http.Request) (agentid.Client, agentid.Credential, error) {
	client, err := clientID(r)
	if err != nil {
		return agentid.Client{}, agentid.Credential{}, err
	}
	id, err := web.PathID(r, credentialIDParam, agentid.Parse[agentid.Credential])
	return client, id, err
}

func newClientCredentialReply(c clients.Credential, secret string) web.Reply[NewClientCredential] {
	return web.Reply[NewClientCredential]{
		Status: http.StatusCreated, Body: NewClientCredential{Credential: clientCredentialBody(c), ClientSecret: present(secret)},
	}
}

func clientCredentialBody(c clients.Credential) ClientCredential {
	return ClientCredential{
		Id: c.ID, ClientId: c.ClientID, Kind: CredentialKind(c.Kind), Registration: registrationBody(c.Kind, c.Registration), CreatedAt: c.CreatedAt.UTC(),
		ExpiresAt: present(c.ExpiresAt.UTC()), LastUsedAt: present(c.LastUsedAt.UTC()),
	}
}
