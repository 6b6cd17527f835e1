package signin

import (
	"context"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/clientauth"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Clients authenticates clients of either kind. clientauth.Clients implements it.
type Clients interface {
	Authenticate(r *http.Request, form oauth.Form) (clientauth.Sender, error)
}

// Uses remembers what may be used once. agents.Service implements it.
type Uses interface {
	UseUp(ctx context.Context, org agentid.Organization, use issuance.SingleUse) error
}

// PushAuthorizationRequest serves POST /oauth2/par, RFC 9126.
func (e *Authorization) PushAuthorizationRequest(w http.ResponseWriter, r *http.Request) {
	uri, err := e.push(w, r)
	if err != nil {
		failure := oauth.From(err)
		web.Note(r.Context(), failure)
		oauth.WriteError(w, failure)
		return
	}
	oauth.WritePushed(w, oauth.PushedResponse{RequestURI: uri, ExpiresIn: int64(PushedLifetime / time.Second)})
}

// push checks the request as the authorization endpoint will (RFC 9126 s2.1), so that the client hears of its mistakes while it can do something about them.
func (e *Authorization) push(w http.ResponseWriter, r *http.Request) (string, error) {
	form, err := oauth.ReadForm(r)
	if err != nil {
		return "", err
	}
	issuer, now := issuers.From(r.Context()), e.cfg.Now()
	proof, err := e.cfg.Proofs.Check(r, issuer.URL(pushPath), "", now) // before anything is used up: whoever is asked for a nonce may come again with the same assertion
	if err != nil {
		return "", err
	}
	sender, err := e.cfg.Clients.Authenticate(r, form)
	if err != nil {
		return "", err
	}
	if sender.RelyingParty == nil {
		return "", &oauth.Error{Code: oauth.UnauthorizedClient, Description: "Agents sign in and have nobody sign in to them."}
	}
	client := *sender.RelyingParty
	if form.Has("request_uri") { // RFC 9126 s2.1
		return "", invalid("request_uri cannot be pushed.")
	}
	form = form.Only(parameters...) // without what proved the client
	target, err := redirectTarget(form, client)
	if err != nil {
		return "", err
	}
	if _, err := readRequest(form, client, target); err != nil {
		return "", err
	}
	key, err := e.codeKey(w, r, form, client, proof)
	if err != nil {
		return "", err
	}
	kept := form.With("dpop_jkt", key).Query()
	if len(kept) > pushedBytesMax { // RFC 9126 s2.3
		return "", &oauth.Error{Code: oauth.InvalidRequest, Description: "The request is too long.", Status: http.StatusRequestEntityTooLarge}
	}
	uri, stored := e.cfg.Secrets.pushed()
	err = e.cfg.Store.PushRequest(r.Context(), PushedRequest{
		OrganizationID: client.OrganizationID, Client: client.ClientID(), Issuer: issuer.ID, Key: stored, Parameters: kept, ExpiresAt: now.Add(PushedLifetime),
	})
	if problem.KindOf(err) == problem.NotFound { // deleted since it authenticated: the answer is that to a client that does not exist
		err = &oauth.Error{Code: oauth.InvalidClient, Description: "Client authentication failed.", Err: err}
	}
	return uri, err
}

// codeKey is the key that the code will be bound to: dpop_jkt, or that of the proof the request was pushed with, which must be the same (RFC 9449 s10.1).
func (e *Authorization) codeKey(w http.ResponseWriter, r *http.Request, form oauth.Form, client clients.Client, proof *dpop.Proof) (string, error) {
	named := form.Get("dpop_jkt")
	if proof == nil {
		return named, nil
	}
	if named != "" && named != proof.Thumbprint {
		return "", &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "dpop_jkt is not the key of the DPoP proof."}
	}
	err := e.cfg.Uses.UseUp(r.Context(), client.OrganizationID, proof.Use)
	if _, used := issuance.AsUsed(err); used {
		return "", &oauth.Error{Code: oauth.InvalidDPoPProof, Description: "The DPoP proof was used before."}
	}
	if proof.NextNonce != "" {
		w.Header().Set(dpop.NonceHeader, proof.NextNonce)
	}
	return proof.Thumbprint, err
}
