package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/clients"
	"github.com/agentidp/agentidp/issuer/internal/dpop"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Paths below the issuer. They are fixed by the contract.
const (
	authorizePath = "/oauth2/authorize"
	pushPath      = "/oauth2/par"
)

// RelyingParties finds relying parties.
type RelyingParties interface {
	// Find answers NotFound when the issuer has no client by that client_id.
	Find(ctx context.Context, issuer issuers.Issuer, clientID string) (clients.Client, error)
}

// Config of the endpoints. Everything is required.
type Config struct {
	RelyingParties RelyingParties
	Presented      Presented
	Clients        Clients
	Proofs         *dpop.Checker
	Uses           Uses
	Store          Store
	Secrets        Secrets
	Now            func() time.Time
}

// Authorization serves the authorization endpoint and the one for pushed requests.
type Authorization struct{ cfg Config }

// New returns the endpoints.
func New(cfg Config) *Authorization { return &Authorization{cfg} }

// Authorize serves GET /oauth2/authorize.
func (e *Authorization) Authorize(w http.ResponseWriter, r *http.Request) {
	form, err := oauth.ReadQuery(r)
	e.answer(w, r, form, err)
}

// AuthorizeByForm serves POST /oauth2/authorize (OpenID Connect Core s3.1.2.1).
func (e *Authorization) AuthorizeByForm(w http.ResponseWriter, r *http.Request) {
	form, err := oauth.ReadForm(r)
	e.answer(w, r, form, err)
}

// answer goes to one of three: the sender as a problem, while it is not certain where else it may go; the agent as a challenge; the client by a redirect.
func (e *Authorization) answer(w http.ResponseWriter, r *http.Request, form oauth.Form, err error) {
	if err != nil {
		web.Fail(w, r, asProblem(err))
		return
	}
	issuer := issuers.From(r.Context())
	client, form, pushed, err := e.find(r.Context(), issuer, form)
	if err != nil {
		web.Fail(w, r, asProblem(err))
		return
	}
	target, err := redirectTarget(form, client)
	if err != nil {
		web.Fail(w, r, asProblem(err))
		return
	}
	back := redirect{target: target, state: form.Get("state"), issuer: issuer.ID}
	if len(back.state) > stateBytesMax { // sent back nowhere
		web.Fail(w, r, asProblem(invalid("A parameter is too long.")))
		return
	}
	if client.RequirePushed && pushed == nil {
		back.fail(w, r, invalid("The client must push its authorization requests.")) // RFC 9126 s6
		return
	}
	request, err := readRequest(form, client, target)
	if err != nil {
		back.fail(w, r, err)
		return
	}
	request.pushed = pushed
	e.signIn(w, r, issuer, request, back)
}

// find is the client, and the parameters of the request: those pushed, or those given. Beside a request_uri only client_id counts (RFC 9126 s4).
func (e *Authorization) find(ctx context.Context, issuer issuers.Issuer, form oauth.Form) (clients.Client, oauth.Form, *[32]byte, error) {
	client, err := e.cfg.RelyingParties.Find(ctx, issuer, form.Get("client_id"))
	if problem.KindOf(err) == problem.NotFound {
		err = &problem.Error{Kind: problem.Invalid, Code: "client_unknown", Field: "client_id", Detail: "There is no such client here."}
	}
	uri := form.Get("request_uri")
	if err != nil || !strings.HasPrefix(uri, requestPrefix) {
		return client, form, nil, err
	}
	key := e.cfg.Secrets.pushedKey(uri)
	query, err := e.cfg.Store.PushedRequest(ctx, PushedRequest{OrganizationID: client.OrganizationID, Client: client.ClientID(), Issuer: issuer.ID, Key: key})
	if problem.KindOf(err) == problem.NotFound {
		err = errPushedGone()
	}
	if err != nil {
		return client, form, nil, err
	}
	form, err = oauth.ParseForm(query)
	return client, form, &key, err
}

func errPushedGone() error {
	return &problem.Error{Kind: problem.Invalid, Code: "invalid_request_uri", Field: "request_uri", Detail: "The pushed request is unknown, expired or used."}
}

// signIn authenticates the agent and answers with a code. What is refused to an agent that presented something goes to the agent, which can do better, unless the
// client said that nobody shall be asked.
func (e *Authorization) signIn(w http.ResponseWriter, r *http.Request, issuer issuers.Issuer, request *request, back redirect) {
	now := e.cfg.Now()
	who, err := e.subject(r, now)
	if err == nil {
		err = request.prompt.recent(who.authentication.At, now)
	}
	if err == nil {
		err = e.anew(r.Context(), request, who)
	}
	refused := forAgent(err)
	switch {
	case errors.Is(err, errNobody), refused && request.prompt.none:
		back.fail(w, r, &oauth.Error{Code: oauth.LoginRequired, Description: "An agent must follow the URL with its own credential.", Err: err})
		return
	case refused:
		challenge(w, r, err)
		return
	case err != nil:
		back.fail(w, r, err)
		return
	}
	if who.nextNonce != "" {
		w.Header().Set(dpop.NonceHeader, who.nextNonce)
	}
	code, err := e.issueCode(r.Context(), issuer, request, who, now)
	if used, ok := issuance.AsUsed(err); ok {
		if used.Purpose == issuance.UsePushedRequest {
			err = errPushedGone()
		}
		web.Fail(w, r, asProblem(err))
		return
	}
	if err != nil {
		back.fail(w, r, err)
		return
	}
	back.send(w, r, "code", code)
}

// issueCode checks what depends on the agent, and stores the sign-in.
func (e *Authorization) issueCode(ctx context.Context, issuer issuers.Issuer, request *request, who *subject, now time.Time) (string, error) {
	if !request.client.Admits(who.agent.OrganizationID) {
		return "", &oauth.Error{Code: oauth.AccessDenied, Description: "The agent cannot sign in to this client."}
	}
	if err := checkHint(issuer, request, who.agent, now); err != nil {
		return "", err
	}
	scopes, err := grantedScopes(request.scopes, request.client, who.agent)
	if err != nil {
		return "", err
	}
	audience, err := grantedAudience(issuer, request.resources, who.agent)
	if err != nil {
		return "", err
	}
	now = now.UTC().Truncate(time.Microsecond)
	id := agentid.New[agentid.SignIn]()
	code, hash := e.cfg.Secrets.issue(codePrefix, id)
	actor := audit.Actor{Kind: audit.KindAgent, ID: who.agent.ID.String(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
	err = e.cfg.Store.CreateSignIn(ctx, actor, SignIn{
		ID: id, OrganizationID: who.agent.OrganizationID, Client: request.client.ClientID(), Agent: who.agent.ID, Credential: who.credential, Issuer: issuer.ID,
		Scopes: scopes, Audience: audience, Details: request.details, Authentication: who.authentication, Nonce: request.nonce, RedirectURI: request.redirectURI,
		CodeChallenge: request.challenge, CodeHash: hash, CodeKey: request.codeKey, CodeExpiresAt: now.Add(CodeLifetime), CreatedAt: now, ExpiresAt: now.Add(CodeLifetime),
	}, request.pushed)
	if problem.KindOf(err) == problem.NotFound { // suspended, or the credential deleted, a moment ago
		err = &oauth.Error{Code: oauth.AccessDenied, Description: "The agent cannot sign in.", Err: err}
	}
	return code, err
}

// redirect is the way back to the client.
type redirect struct{ target, state, issuer string }

// send answers with parameters in the query, which is appended to one that is there (RFC 6749 s3.1.2), and never anywhere but to the client's own URI. A POST
// is answered with 303, so that its body is not sent on (RFC 9700 s4.12).
func (b redirect) send(w http.ResponseWriter, r *http.Request, params ...string) {
	values := url.Values{"iss": {b.issuer}} // RFC 9207
	if b.state != "" {
		values.Set("state", b.state)
	}
	for i := 0; i+1 < len(params); i += 2 {
		values.Set(params[i], params[i+1])
	}
	separator := "?"
	if strings.Contains(b.target, "?") {
		separator = "&"
	}
	w.Header().Set("Location", b.target+separator+values.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

// fail tells the client what is wrong, RFC 6749 s4.1.2.1.
func (b redirect) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := oauth.From(err)
	web.Note(r.Context(), e)
	b.send(w, r, "error", string(e.Code), "error_description", e.Description)
}
