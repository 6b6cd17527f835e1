package selfregistration

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/clientmetadata"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

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

	*signInInformation // of a relying party
}

// holding is what a registered client has, whichever kind of client it is.
type holding struct {
	issuer     issuers.Issuer
	token      string // its registration access token
	lifetime   time.Duration
	credential agents.Credential // zero when it has none, or all are gone
	secret     string            // just made
}

// hold takes the newest credential of the kind that the client's method needs, one that works before one that is expired.
func (h *holding) hold(all []agents.Credential, kind string, now time.Time) {
	var working bool
	for _, c := range all { // oldest first
		if works := c.ExpiresAt.IsZero() || c.ExpiresAt.After(now); c.Kind == kind && (works || !working) {
			h.credential, working = c, works
		}
	}
}

// describe says what does not depend on the kind of client.
func (h *holding) describe(id string, created time.Time) *information {
	r := h.credential.Registration
	i := &information{
		ClientID: id, Secret: h.secret, IssuedAt: created.Unix(), Token: h.token, URI: h.issuer.URL(registerPath + "/" + id), Keys: r.Keys, KeysURI: r.KeysURL,
		SubjectDN: r.SubjectDN, SubjectDNS: r.SANDNS, SubjectURI: r.SANURI, SubjectIP: r.SANIP, SubjectEmail: r.SANEmail,
	}
	if h.credential.Kind == credentials.KindClientSecret {
		i.SecretExpiresAt = new(int64) // 0: it does not expire, RFC 7591 s3.2.1
		if !h.credential.ExpiresAt.IsZero() {
			*i.SecretExpiresAt = h.credential.ExpiresAt.Unix()
		}
	}
	return i
}

// replaces compares what a client says of its credential with what it has, checks it, and reports whether it is another. The kind of credential stays.
func (h *holding) replaces(kind string, r *credentials.Registration) (bool, error) {
	if kind != h.credential.Kind {
		return false, invalidMetadata("token_endpoint_auth_method is of another kind of credential than the client has: the administrators of its organization give it one.")
	}
	r.Algorithms = h.credential.Registration.Algorithms
	if sameRegistration(*r, h.credential.Registration) {
		return false, nil
	}
	return true, asMetadataError(r.Validate(kind))
}

// renewal says whether a client gets another secret, as RFC 7592 s2.2 lets us, and how long the one before works beside it: when those of its registration expire
// and this one is in the second half of its life or over. One that nobody has used, and that the client does not send back, was in an answer that got lost: it
// ends at once.
func (h *holding) renewal(now time.Time, sent agentid.Credential) (due bool, overlap time.Duration) {
	old := h.credential
	if h.lifetime == 0 || old.Kind != credentials.KindClientSecret || old.ExpiresAt.IsZero() {
		return false, 0
	}
	if old.LastUsedAt.IsZero() && sent != old.ID {
		return true, 0
	}
	return !now.Before(old.CreatedAt.Add(old.ExpiresAt.Sub(old.CreatedAt) / 2)), SecretOverlap
}

// checkSecret wants of a client_secret that it is one of the client's that work, if it is there: it is told, not changed (RFC 7592 s2.2). What else is ours to
// say (client_secret_expires_at) is ignored.
func checkSecret(m *clientmetadata.Metadata, prove func(secret string) (agentid.Credential, error)) (sent agentid.Credential, err error) {
	if m.Secret == nil {
		return sent, nil
	}
	if sent, err = prove(*m.Secret); errors.Is(err, credentials.ErrAuthentication) {
		err = invalidMetadata("client_secret is not the client's. It is chosen by the issuer.")
	}
	return sent, err
}

// kinds are the credentials a client can register with, by method. Those that need no registration of their own (SPIFFE) have no name in RFC 7591.
var kinds = map[string]string{
	"client_secret_basic":         credentials.KindClientSecret,
	"client_secret_post":          credentials.KindClientSecret,
	"private_key_jwt":             credentials.KindPrivateKeyJWT,
	"tls_client_auth":             credentials.KindTLS,
	"self_signed_tls_client_auth": credentials.KindSelfSignedTLS,
}

// methodDefault is RFC 7591 s2.
const methodDefault = "client_secret_basic"

// authentication is the method a client is registered for.
func authentication(m *clientmetadata.Metadata) string {
	if m.Authentication == "" {
		return methodDefault
	}
	return m.Authentication
}

// credentialOf is the kind of credential the client's method needs, and what it is checked against.
func (e *Registrar) credentialOf(m *clientmetadata.Metadata) (kind string, r credentials.Registration, err error) {
	method := authentication(m)
	kind, known := kinds[method]
	if !known || !slices.Contains(e.cfg.Methods, method) {
		return "", r, invalidMetadata("token_endpoint_auth_method is not one that such a client can register for here.")
	}
	if kind != credentials.KindClientSecret {
		r = credentials.Registration{
			Keys: m.KeysDocument, KeysURL: m.KeysURI,
			SubjectDN: m.SubjectDN, SANDNS: m.SubjectDNS, SANURI: m.SubjectURI, SANIP: m.SubjectIP, SANEmail: m.SubjectEmail,
		}
	}
	return kind, r, asMetadataError(e.cfg.Admits(kind, r))
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

// sameRegistration compares what a client says with what it registered. Keys are compared as they were written back to it.
func sameRegistration(a, b credentials.Registration) bool {
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

// asMetadataError says in the words of RFC 7591 s3.2.2 what is wrong with a client.
func asMetadataError(err error) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok {
		return err
	}
	switch {
	case p.Kind == problem.PreconditionFailed:
		return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: "The client is being changed by others at the same time. Send it again.", Err: err}
	case p.Kind != problem.Invalid && p.Kind != problem.Conflict:
		return err
	case strings.HasPrefix(p.Field, "/redirectUris"):
		return &oauth.Error{Code: oauth.InvalidRedirectURI, Description: "One of redirect_uris " + p.Detail + ".", Err: err}
	}
	about, detail := "The metadata cannot be registered", memberNames.Replace(p.Detail)
	field, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(p.Field, "/registration"), "/"), "/")
	if member, known := members[field]; known {
		about = member
	}
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: about + ": " + detail + ".", Err: err}
}

// members are the names in RFC 7591, RFC 8705 and OpenID Connect Dynamic Client Registration of what has another in the admin API.
var members = map[string]string{
	"name": "client_name", "type": "application_type", "authentication": "token_endpoint_auth_method", "scopes": "scope", "jwks": "jwks", "jwksUri": "jwks_uri",
	"subjectDn": "tls_client_auth_subject_dn", "sanDns": "tls_client_auth_san_dns", "sanUri": "tls_client_auth_san_uri", "sanIp": "tls_client_auth_san_ip", "sanEmail": "tls_client_auth_san_email",
}

// memberNames puts them into a text. A certificate's thumbprint is no metadata.
var memberNames = strings.NewReplacer(", certificateThumbprint", "", "jwksUri", members["jwksUri"], "subjectDn", members["subjectDn"], "sanDns", members["sanDns"],
	"sanUri", members["sanUri"], "sanIp", members["sanIp"], "sanEmail", members["sanEmail"])
