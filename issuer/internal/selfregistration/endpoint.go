package selfregistration

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// registerPath is the registration endpoint; a client's configuration endpoint (RFC 7592 s2) lies below.
const registerPath = "/oauth2/register"

// clientIDParam of the contract's paths.
const clientIDParam = "clientId"

// bearerBytesMax bounds what is hashed.
const bearerBytesMax = 512

// Agents is what registration needs of package agents.
type Agents interface {
	Prepare(in agents.Create, kind string, r credentials.Registration, lifetime time.Duration) (agents.Prepared, error)
	Get(ctx context.Context, id agentid.Agent) (agents.Agent, error)
	Credentials(ctx context.Context, id agentid.Agent) ([]agents.Credential, error)
	Update(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64, in agents.Update) (agents.Agent, error)
	Delete(ctx context.Context, actor audit.Actor, id agentid.Agent, version int64) error
	AuthenticateSecret(ctx context.Context, clientID, secret string) (agents.Agent, agentid.Credential, error)
	CreateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, lifetime time.Duration) (agents.Credential, string, error)
	RotateCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, overlap time.Duration) (agents.Credential, string, error)
	ReplaceCredential(ctx context.Context, actor audit.Actor, agent agentid.Agent, id agentid.Credential, kind string, r credentials.Registration, overlap time.Duration) (agents.Credential, error)
}

// Gate limits how often a source presents tokens that are not good. ratelimit.Gate is one; the name of the client is "".
type Gate interface {
	Admit(ctx context.Context, client string) error
	Failed(ctx context.Context, client string)
}

// Config is what the endpoints are made of.
type Config struct {
	Store          Store
	Secrets        Secrets
	Agents         Agents
	RelyingParties RelyingParties
	// Admits says why a credential of a kind cannot be used here.
	Admits             func(kind string, r credentials.Registration) error
	Methods            []string // of client authentication, as they are served
	AgentGrants        []string // that agents may use: all of them, whatever they register
	RelyingPartyGrants []string // that relying parties may use

	SignInScopes []string // that any relying party may ask for
	RefreshScope string   // the one of them that is for those with refresh tokens

	Gate Gate
	Now  func() time.Time
}

// Registrar serves the endpoints.
type Registrar struct{ cfg Config }

// New returns the endpoints.
func New(cfg Config) *Registrar { return &Registrar{cfg} }

// RegisterClient is RFC 7591 s3.
func (e *Registrar) RegisterClient(w http.ResponseWriter, r *http.Request) {
	body, err := e.register(r)
	e.answer(w, r, http.StatusCreated, body, err)
}

// GetRegisteredClient is RFC 7592 s2.1.
func (e *Registrar) GetRegisteredClient(w http.ResponseWriter, r *http.Request) {
	c, err := e.authenticate(r)
	if err != nil {
		e.answer(w, r, 0, nil, err)
		return
	}
	e.answer(w, r, http.StatusOK, c.describe(), nil)
}

// UpdateRegisteredClient is RFC 7592 s2.2.
func (e *Registrar) UpdateRegisteredClient(w http.ResponseWriter, r *http.Request) {
	body, err := e.update(r)
	e.answer(w, r, http.StatusOK, body, err)
}

// DeleteRegisteredClient is RFC 7592 s2.3. The tokens of an agent die with it, and so do the sign-ins to a relying party.
func (e *Registrar) DeleteRegisteredClient(w http.ResponseWriter, r *http.Request) {
	c, err := e.authenticate(r)
	if err == nil {
		err = c.remove(r.Context())
	}
	if err != nil {
		e.answer(w, r, 0, nil, gone(err))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

func (e *Registrar) register(r *http.Request) (any, error) {
	token, err := e.initialToken(r)
	if err != nil {
		return nil, err
	}
	m, err := readMetadata(r)
	if err != nil {
		return nil, err
	}
	if m.ClientID != "" {
		return nil, invalidMetadata("client_id is chosen by the issuer.")
	}
	if m.HasSecret {
		return nil, invalidMetadata("client_secret is chosen by the issuer.")
	}
	kind, register := KindAgent, e.registerAgent
	if m.Wants(clientmetadata.AuthorizationCode) && !m.Wants(clientmetadata.ClientCredentials) {
		kind, register = KindRelyingParty, e.registerRelyingParty
	}
	if !slices.Contains(token.Kinds, kind) {
		return nil, invalidMetadata("grant_types is that of a kind of client that this token does not register: an agent has client_credentials, a relying party authorization_code.")
	}
	c, err := register(r.Context(), m, token)
	if problem.KindOf(err) == problem.NotFound { // used up by somebody faster
		return nil, invalidToken(err)
	}
	if err != nil {
		return nil, asMetadataError(err)
	}
	return c.describe(), nil
}

// registering is who registers clients: whoever has the token, which the audit record names.
func registering(ctx context.Context) audit.Actor {
	return audit.Actor{Kind: audit.KindSystem, ID: "issuer/registration", RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
}

// updatesMax is how often an update is tried that finds the client changed since it was read. The client said what it wants to be, not what it saw: RFC 7592 has no versions.
const updatesMax = 5

func (e *Registrar) update(r *http.Request) (any, error) {
	c, err := e.authenticate(r)
	if err != nil {
		return nil, err
	}
	m, err := readMetadata(r)
	if err != nil {
		return nil, err
	}
	for tries := 1; ; tries++ {
		body, err := e.updateTo(r, c, m)
		if !changedMeanwhile(err) || tries == updatesMax {
			return body, err
		}
		if c, err = e.authenticate(r); err != nil {
			return nil, err
		}
	}
}

// changedMeanwhile reports whether an update was refused because of another one.
func changedMeanwhile(err error) bool {
	p, ok := errors.AsType[*problem.Error](err)
	return ok && (p.Kind == problem.PreconditionFailed || p.Code == "credential_expired") // replaced by the other
}

func (e *Registrar) updateTo(r *http.Request, c registrant, m *clientmetadata.Metadata) (any, error) {
	if m.ClientID != c.id() { // RFC 7592 s2.2
		return nil, invalidMetadata("client_id must be the client's.")
	}
	if err := c.update(r.Context(), m); err != nil {
		return nil, gone(err)
	}
	return c.describe(), nil
}

// initialToken is the token that opens the door; nobody gets in without one (RFC 7591 s3).
func (e *Registrar) initialToken(r *http.Request) (InitialToken, error) {
	if err := e.cfg.Gate.Admit(r.Context(), ""); err != nil {
		return InitialToken{}, err
	}
	org, id, hash, ok := e.cfg.Secrets.open(initialPrefix, bearer(r))
	if !ok || !issuers.From(r.Context()).Admits(org) {
		return InitialToken{}, invalidToken(nil)
	}
	t, err := e.cfg.Store.InitialToken(r.Context(), org, agentid.FromUUID[agentid.InitialToken](id))
	if err != nil && problem.KindOf(err) != problem.NotFound {
		return InitialToken{}, err
	}
	if err != nil || subtle.ConstantTimeCompare(hash, t.Hash) != 1 || t.Uses >= t.UsesMax || !e.cfg.Now().Before(t.ExpiresAt) {
		return InitialToken{}, invalidToken(err)
	}
	return t, nil
}

// registrant is a registered client as it is now.
type registrant interface {
	id() string
	describe() *information
	// update replaces what a client may change (RFC 7592 s2.2): its name, its scopes within what it was allowed, how it signs agents in, what its tokens must be
	// bound to, and what its credential is checked against. All of it is checked before anything is changed; each change is made, and recorded, by itself, and a
	// client that lost the answer can send the same again.
	update(ctx context.Context, m *clientmetadata.Metadata) error
	remove(ctx context.Context) error
}

// authenticate finds the client whose registration access token the request has. Every failure is one answer: of a client that is gone, too (RFC 7592 s2.1).
func (e *Registrar) authenticate(r *http.Request) (registrant, error) {
	ctx, text := r.Context(), bearer(r)
	if err := e.cfg.Gate.Admit(ctx, ""); err != nil {
		return nil, err
	}
	if r.URL.RawQuery != "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "Nothing belongs in the query."}
	}
	org, raw, hash, ok := e.cfg.Secrets.open(registrationPrefix, text)
	if !ok || !issuers.From(ctx).Admits(org) {
		return nil, invalidToken(nil)
	}
	var c registrant
	err := errGone
	agent, party := agentid.FromUUID[agentid.Agent](raw), agentid.FromUUID[agentid.Client](raw)
	switch r.PathValue(clientIDParam) {
	case agent.String():
		c, err = e.findAgent(ctx, org, agent, text, hash)
	case party.String():
		c, err = e.findRelyingParty(ctx, org, party, text, hash)
	}
	return c, gone(err)
}

// gone is the answer about a client that is gone, or went since its token was looked at.
func gone(err error) error {
	if problem.KindOf(err) == problem.NotFound || errors.Is(err, errGone) {
		return invalidToken(err)
	}
	return err
}

// bearer is the token of exactly one Authorization header, else "".
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 || len(values[0]) > bearerBytesMax {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// readMetadata reads the body of RFC 7591 s3.1.
func readMetadata(r *http.Request) (*clientmetadata.Metadata, error) {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || len(r.Header.Values("Content-Encoding")) != 0 || r.URL.RawQuery != "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "The body must be application/json, not compressed, and nothing may stand in the query."}
	}
	if media, _, err := mime.ParseMediaType(types[0]); err != nil || media != "application/json" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "The body must be application/json."}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, clientmetadata.BytesMax+1))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong || len(body) > clientmetadata.BytesMax {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "The body is too long.", Status: http.StatusRequestEntityTooLarge}
	}
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Description: "The body ended early or came too slowly.", Err: err}
	}
	return clientmetadata.Parse(body)
}

func (e *Registrar) answer(w http.ResponseWriter, r *http.Request, status int, body any, err error) {
	if err == nil {
		oauth.WriteJSON(w, status, body)
		return
	}
	failure := oauth.From(err)
	presented := r.Header.Get("Authorization") != ""
	if presented && failure.Code == oauth.InvalidToken {
		e.cfg.Gate.Failed(r.Context(), "")
	}
	web.Note(r.Context(), failure)
	oauth.WriteBearerError(w, failure, presented)
}

func invalidToken(err error) error {
	return &oauth.Error{Code: oauth.InvalidToken, Description: "The token is not good for this.", Err: err}
}

func invalidMetadata(description string) error {
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: description}
}

// The same at the issuer of an organization.

// RegisterOrganizationClient is RegisterClient there.
func (e *Registrar) RegisterOrganizationClient(w http.ResponseWriter, r *http.Request) {
	e.RegisterClient(w, r)
}

// GetOrganizationRegisteredClient is GetRegisteredClient there.
func (e *Registrar) GetOrganizationRegisteredClient(w http.ResponseWriter, r *http.Request) {
	e.GetRegisteredClient(w, r)
}

// UpdateOrganizationRegisteredClient is UpdateRegisteredClient there.
func (e *Registrar) UpdateOrganizationRegisteredClient(w http.ResponseWriter, r *http.Request) {
	e.UpdateRegisteredClient(w, r)
}

// DeleteOrganizationRegisteredClient is DeleteRegisteredClient there.
func (e *Registrar) DeleteOrganizationRegisteredClient(w http.ResponseWriter, r *http.Request) {
	e.DeleteRegisteredClient(w, r)
}
