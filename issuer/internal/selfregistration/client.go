package selfregistration

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// kinds are the credentials a client can register with, by method. Those that need no registration of their own (SPIFFE) have no name in RFC 7591.
var kinds = map[string]string{
	"client_secret_basic":         agents.KindClientSecret,
	"client_secret_post":          agents.KindClientSecret,
	"private_key_jwt":             agents.KindPrivateKeyJWT,
	"tls_client_auth":             agents.KindTLS,
	"self_signed_tls_client_auth": agents.KindSelfSignedTLS,
}

// methodDefault is RFC 7591 s2.
const methodDefault = "client_secret_basic"

// agentOf turns metadata into an agent within what the token allows.
func (e *Registrar) agentOf(m *clientmetadata.Metadata, t InitialToken) (create agents.Create, kind string, r agents.Registration, err error) {
	if err := grantsWithin(m, clientmetadata.ClientCredentials, e.cfg.AgentGrants); err != nil {
		// The default of RFC 7591 s2 would be authorization_code: an agent has to say that it is none.
		return create, "", r, err
	}
	method := authentication(m)
	kind, known := kinds[method]
	if !known || !slices.Contains(e.cfg.Methods, method) {
		return create, "", r, invalidMetadata("token_endpoint_auth_method is not one a client can register for here.")
	}
	scopes, err := scopesWithin(m.Scopes, t.Scopes)
	if err != nil {
		return create, "", r, err
	}
	create = agents.Create{
		OrganizationID: t.OrganizationID, Name: m.Name, Scopes: scopes, Audiences: t.Audiences, DPoPBound: m.RequireDPoP, CertificateBound: m.BoundByTLS,
	}
	if kind != agents.KindClientSecret {
		r = agents.Registration{
			Keys: m.KeysDocument, KeysURL: m.KeysURI,
			SubjectDN: m.SubjectDN, SANDNS: m.SubjectDNS, SANURI: m.SubjectURI, SANIP: m.SubjectIP, SANEmail: m.SubjectEmail,
		}
	}
	return create, kind, r, nil
}

// grantsWithin wants the grant that makes a client what it is, and no other than its kind uses.
func grantsWithin(m *clientmetadata.Metadata, needed string, served []string) error {
	for _, t := range m.GrantTypes {
		if !slices.Contains(served, t) {
			return invalidMetadata("grant_types has one that such a client cannot use. It uses " + strings.Join(served, ", ") + ".")
		}
	}
	if !m.Wants(needed) {
		return invalidMetadata("grant_types must have " + needed + ".")
	}
	return nil
}

// authentication is the method a client is registered for.
func authentication(m *clientmetadata.Metadata) string {
	if m.Authentication == "" {
		return methodDefault
	}
	return m.Authentication
}

// scopesWithin is what the client asks for, all that is allowed when it does not say (RFC 7591 s2), and never more.
func scopesWithin(asked, allowed []string) ([]string, error) {
	if asked == nil {
		return allowed, nil
	}
	for _, s := range asked {
		if !slices.Contains(allowed, s) {
			return nil, invalidMetadata("scope has a scope that this registration may not have.")
		}
	}
	return asked, nil
}

// client is a registered client as it is now.
type client struct {
	issuer     issuers.Issuer
	agent      agents.Agent
	credential agents.Credential
	kept       Registration
	token      string // its registration access token
	method     string
	grants     []string // in force
	secret     string   // just made
}

// findCredential takes the newest of the kind that the client's method needs, one that works before one that is expired. When all are gone, so is the method.
func (c *client) findCredential(ctx context.Context, a Agents, now time.Time) error {
	all, err := a.Credentials(ctx, c.agent.ID)
	if err != nil {
		return err
	}
	var working bool
	for _, credential := range all { // oldest first
		if works := credential.ExpiresAt.IsZero() || credential.ExpiresAt.After(now); credential.Kind == kinds[c.kept.Authentication] && (works || !working) {
			c.credential, c.method, working = credential, c.kept.Authentication, works
		}
	}
	return nil
}

func (c *client) actor(ctx context.Context) audit.Actor {
	return audit.Actor{Kind: audit.KindAgent, ID: c.agent.ID.String(), RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
}

// information is RFC 7591 s3.2.1 and RFC 7592 s3. A secret is in the answer to the request that made it: it is not known any more afterwards.
type information struct {
	ClientID        string          `json:"client_id"`
	Secret          string          `json:"client_secret,omitempty"`
	SecretExpiresAt *int64          `json:"client_secret_expires_at,omitempty"`
	IssuedAt        int64           `json:"client_id_issued_at"`
	Token           string          `json:"registration_access_token"`
	URI             string          `json:"registration_client_uri"`
	Name            string          `json:"client_name"`
	GrantTypes      []string        `json:"grant_types"`
	ResponseTypes   []string        `json:"response_types"`
	Authentication  string          `json:"token_endpoint_auth_method,omitempty"`
	Scope           string          `json:"scope"`
	Keys            json.RawMessage `json:"jwks,omitempty"`
	KeysURI         string          `json:"jwks_uri,omitempty"`
	SubjectDN       string          `json:"tls_client_auth_subject_dn,omitempty"`
	SubjectDNS      string          `json:"tls_client_auth_san_dns,omitempty"`
	SubjectURI      string          `json:"tls_client_auth_san_uri,omitempty"`
	SubjectIP       string          `json:"tls_client_auth_san_ip,omitempty"`
	SubjectEmail    string          `json:"tls_client_auth_san_email,omitempty"`
	RequireDPoP     bool            `json:"dpop_bound_access_tokens"`
	BoundByTLS      bool            `json:"tls_client_certificate_bound_access_tokens"`
}

func (c *client) describe() *information {
	id, r := c.agent.ID.String(), c.credential.Registration
	var expires *int64 // 0: it does not expire, RFC 7591 s3.2.1
	if c.credential.Kind == agents.KindClientSecret {
		expires = new(int64)
		if !c.credential.ExpiresAt.IsZero() {
			*expires = c.credential.ExpiresAt.Unix()
		}
	}
	return &information{
		ClientID: id, Secret: c.secret, SecretExpiresAt: expires, IssuedAt: c.agent.CreatedAt.Unix(), Token: c.token, URI: c.issuer.URL(registerPath + "/" + id),
		Name: c.agent.Name, GrantTypes: c.grants, ResponseTypes: []string{}, Authentication: c.method,
		Scope: strings.Join(c.agent.Scopes, " "), Keys: r.Keys, KeysURI: r.KeysURL,
		SubjectDN: r.SubjectDN, SubjectDNS: r.SANDNS, SubjectURI: r.SANURI, SubjectIP: r.SANIP, SubjectEmail: r.SANEmail,
		RequireDPoP: c.agent.DPoPBound, BoundByTLS: c.agent.CertificateBound,
	}
}

// update replaces what a client may change (RFC 7592 s2.2): its name, its scopes within what it was allowed, what its tokens must be bound to, and what its
// credential is checked against. The kind of credential stays. All of it is checked before anything is changed; each change is made, and recorded, by itself, and
// a client that lost the answer can send the same again.
func (e *Registrar) update(r *http.Request) (any, error) {
	c, err := e.authenticate(r)
	if err != nil {
		return nil, err
	}
	m, err := readMetadata(r)
	if err != nil {
		return nil, err
	}
	if m.ClientID != c.agent.ID.String() { // RFC 7592 s2.2
		return nil, invalidMetadata("client_id must be the client's.")
	}
	sent, err := e.checkSecret(r.Context(), c, m)
	if err != nil {
		return nil, err
	}
	create, kind, registered, err := e.agentOf(m, InitialToken{OrganizationID: c.agent.OrganizationID, Scopes: c.kept.Scopes, Audiences: c.agent.Audiences})
	if err != nil {
		return nil, err
	}
	if kind != c.credential.Kind {
		return nil, invalidMetadata("token_endpoint_auth_method is of another kind of credential than the client has: the administrators of its organization give it one.")
	}
	registered.Algorithms = c.credential.Registration.Algorithms
	replaced := !sameRegistration(registered, c.credential.Registration)
	if replaced {
		if err := agents.CheckRegistration(kind, &registered); err != nil {
			return nil, asMetadataError(err)
		}
	}
	after, err := e.cfg.Agents.Update(r.Context(), c.actor(r.Context()), c.agent.ID, c.agent.Version, agents.Update{
		Name: &create.Name, Scopes: &create.Scopes, DPoPBound: &create.DPoPBound, CertificateBound: &create.CertificateBound,
	})
	if err != nil {
		return nil, asMetadataError(err)
	}
	c.agent = after
	if method := authentication(m); method != c.method {
		if err := e.cfg.Store.UpdateRegistration(r.Context(), c.actor(r.Context()), c.kept, method); err != nil {
			return nil, asMetadataError(err)
		}
		c.method = method
	}
	if replaced {
		// At once: what is registered is what the client says now. One that needs an overlap names the old key beside the new one.
		next, err := e.cfg.Agents.ReplaceCredential(r.Context(), c.actor(r.Context()), c.agent.ID, c.credential.ID, kind, registered, 0)
		if err != nil {
			return nil, asMetadataError(err)
		}
		c.credential = next
	}
	if err := e.renew(r.Context(), c, sent); err != nil {
		return nil, err
	}
	return c.describe(), nil
}

// renew gives a client another secret, as RFC 7592 s2.2 lets us, when those of its registration expire and this one is in the second half of its life or over. One
// that nobody has used, and that the client does not send back, was in an answer that got lost: it ends at once.
func (e *Registrar) renew(ctx context.Context, c *client, sent agentid.Credential) (err error) {
	old, now, overlap := c.credential, e.cfg.Now(), SecretOverlap
	if c.kept.SecretLifetime == 0 || old.Kind != agents.KindClientSecret || old.ExpiresAt.IsZero() {
		return nil
	}
	lost := old.LastUsedAt.IsZero() && sent != old.ID
	if !lost && now.Before(old.CreatedAt.Add(old.ExpiresAt.Sub(old.CreatedAt)/2)) {
		return nil
	}
	if lost {
		overlap = 0
	}
	if now.Before(old.ExpiresAt) {
		c.credential, c.secret, err = e.cfg.Agents.RotateCredential(ctx, c.actor(ctx), c.agent.ID, old.ID, overlap)
	} else {
		c.credential, c.secret, err = e.cfg.Agents.CreateCredential(ctx, c.actor(ctx), c.agent.ID, c.kept.SecretLifetime)
	}
	return asMetadataError(err)
}

// checkSecret wants of a client_secret that it is one of the client's that work, if it is there: it is told, not changed (RFC 7592 s2.2). What else is ours to
// say (client_secret_expires_at) is ignored.
func (e *Registrar) checkSecret(ctx context.Context, c *client, m *clientmetadata.Metadata) (sent agentid.Credential, err error) {
	if m.Secret == nil {
		return sent, nil
	}
	if _, sent, err = e.cfg.Agents.AuthenticateSecret(ctx, c.agent.ID.String(), *m.Secret); errors.Is(err, agents.ErrAuthentication) {
		err = invalidMetadata("client_secret is not the client's. It is chosen by the issuer.")
	}
	return sent, err
}

// sameRegistration compares what a client says with what it registered. Keys are compared as they were written back to it.
func sameRegistration(a, b agents.Registration) bool {
	return sameJSON(a.Keys, b.Keys) && a.KeysURL == b.KeysURL && a.SubjectDN == b.SubjectDN && a.SANDNS == b.SANDNS && a.SANURI == b.SANURI &&
		a.SANIP == b.SANIP && a.SANEmail == b.SANEmail
}

func sameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	first, err1 := json.Marshal(x)
	second, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && string(first) == string(second)
}

// asMetadataError says in the words of RFC 7591 s3.2.2 what is wrong with an agent.
func asMetadataError(err error) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return err
	}
	switch {
	case p.Kind == problem.PreconditionFailed:
		return &oauth.Error{Code: oauth.TemporarilyUnavailable, Description: "The client was changed at the same time.", Status: http.StatusServiceUnavailable, RetryAfter: time.Second, Err: err}
	case p.Kind != problem.Invalid && p.Kind != problem.Conflict:
		return err
	case p.Field == "/name":
		return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "client_name: " + p.Detail + ".", Err: err}
	}
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "The metadata cannot be registered: " + p.Detail + ".", Err: err}
}
