// Package clientmetadata reads what an OAuth client says about itself (RFC 7591 s2), in a registration or in a document behind its client_id, as strictly as
// if a stranger had written it, which is what happened. It decides what the words mean and nothing of what the client may have.
package clientmetadata

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/strictjson"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

// Application types, OpenID Connect Dynamic Client Registration 1.0 s2.
const (
	Web    = "web"
	Native = "native"
)

// Grant types and the response type that have a meaning here (RFC 7591 s2).
const (
	AuthorizationCode = "authorization_code"
	RefreshToken      = "refresh_token"
	ClientCredentials = "client_credentials"
	ResponseCode      = "code"
)

// What ID tokens are like, for every client (OpenID Connect Dynamic Client Registration 1.0 s2): one that wants them otherwise is told so.
const (
	IDTokenAlgorithm = "RS256"
	SubjectType      = "public"
)

// Limits of a metadata document.
const (
	BytesMax        = 32 << 10
	RedirectURIsMax = 10
	ScopesMax       = 100
	namesMax        = 20  // grant types, response types
	nameBytesMax    = 100 // of any of them
	uriBytesMax     = 2 << 10
	clientNameMax   = 400 // bytes; the characters are counted where the name is kept
)

var limits = strictjson.Limits{Bytes: BytesMax, Depth: 8, Values: 2000, Members: 200}

// Metadata is what a client says about itself. Members this issuer does not know are left out, as RFC 7591 s2 demands; absent members have their defaults.
type Metadata struct {
	ClientID        string // "" when the document does not say it
	Name            string
	ApplicationType string
	RedirectURIs    []string
	GrantTypes      []string
	ResponseTypes   []string
	Authentication  string // token_endpoint_auth_method; "" when the document does not say it
	Scopes          []string
	Keys            *jose.KeySet    // of jwks; nil when there is none
	KeysDocument    json.RawMessage // jwks as it was written; nil when there is none
	KeysURI         string          // jwks_uri; never beside Keys
	RequirePushed   bool            // require_pushed_authorization_requests, RFC 9126 s6
	RequireDPoP     bool            // dpop_bound_access_tokens, RFC 9449 s5.2
	BoundByTLS      bool            // tls_client_certificate_bound_access_tokens, RFC 8705 s3.4
	SubjectDN       string          // tls_client_auth_subject_dn, RFC 8705 s2.1.2
	SubjectDNS      string          // tls_client_auth_san_dns
	SubjectURI      string          // tls_client_auth_san_uri
	SubjectIP       string          // tls_client_auth_san_ip
	SubjectEmail    string          // tls_client_auth_san_email
	HasSecret       bool            // the document holds a client_secret, or its end: a mistake, or worse, but where the client has it from us
	Secret          *string         // client_secret; nil when there is none
}

// Wants reports whether the client asks for a grant type.
func (m *Metadata) Wants(grantType string) bool { return slices.Contains(m.GrantTypes, grantType) }

// Parse reads a document. Every error is an *oauth.Error with invalid_client_metadata or invalid_redirect_uri (RFC 7591 s3.2.2) that names the member and
// never repeats what was sent.
func Parse(doc []byte) (*Metadata, error) {
	members, err := strictjson.ParseObject(doc, limits)
	if err != nil {
		var bad *strictjson.Error
		if errors.As(err, &bad) {
			return nil, invalid("The document is not well-formed JSON: " + bad.Reason + ".")
		}
		return nil, invalid("The document is not a JSON object.")
	}
	r := reader{members: members}
	m := &Metadata{
		ClientID: r.text("client_id", uriBytesMax), Name: r.text("client_name", clientNameMax),
		ApplicationType: r.text("application_type", nameBytesMax), Authentication: r.text("token_endpoint_auth_method", nameBytesMax),
		RedirectURIs: r.texts("redirect_uris", RedirectURIsMax, uriBytesMax), GrantTypes: r.texts("grant_types", namesMax, nameBytesMax),
		ResponseTypes: r.texts("response_types", namesMax, nameBytesMax), KeysURI: r.text("jwks_uri", uriBytesMax),
		RequirePushed: r.flag("require_pushed_authorization_requests"), RequireDPoP: r.flag("dpop_bound_access_tokens"),
		BoundByTLS: r.flag("tls_client_certificate_bound_access_tokens"), SubjectDN: r.text("tls_client_auth_subject_dn", uriBytesMax),
		SubjectDNS: r.text("tls_client_auth_san_dns", uriBytesMax), SubjectURI: r.text("tls_client_auth_san_uri", uriBytesMax),
		SubjectIP: r.text("tls_client_auth_san_ip", uriBytesMax), SubjectEmail: r.text("tls_client_auth_san_email", uriBytesMax),
		HasSecret: r.has("client_secret") || r.has("client_secret_expires_at"),
	}
	if secret := r.text("client_secret", uriBytesMax); r.has("client_secret") {
		m.Secret = &secret
	}
	r.only("id_token_signed_response_alg", IDTokenAlgorithm)
	r.only("subject_type", SubjectType)
	scope := r.text("scope", BytesMax)
	if r.err != nil {
		return nil, r.err
	}
	if err := m.readKeys(members["jwks"]); err != nil {
		return nil, err
	}
	if err := m.readScope(scope); err != nil {
		return nil, err
	}
	if err := m.setDefaults(); err != nil {
		return nil, err
	}
	if err := m.checkRedirects(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Metadata) readScope(scope string) error {
	if scope == "" {
		return nil
	}
	scopes, ok := oauth.ParseScope(scope)
	if !ok || len(scopes) > ScopesMax {
		return invalid("scope is malformed, or names more scopes than a client can have.")
	}
	m.Scopes = scopes
	return nil
}

// readKeys takes jwks. A key that cannot be used is an error here: the client would find out when it is refused, and not why.
func (m *Metadata) readKeys(jwks any) error {
	if jwks == nil {
		return nil
	}
	if m.KeysURI != "" {
		return invalid("jwks and jwks_uri must not both be given.") // RFC 7591 s2
	}
	doc, err := json.Marshal(jwks)
	if err != nil {
		return invalid("jwks is not a key set.")
	}
	set, problems, err := jose.ParseKeySet(doc)
	if err != nil {
		return invalid("jwks is not a key set.")
	}
	if len(problems) > 0 {
		return invalid("jwks holds a key that cannot be used: " + problems[0].Reason + ".")
	}
	if set.Len() == 0 {
		return invalid("jwks holds no key.")
	}
	m.Keys, m.KeysDocument = set, doc
	return nil
}

// setDefaults applies RFC 7591 s2 and checks what must agree by s2.1. The default of token_endpoint_auth_method is the caller's: it is not the same
// for a client that can be given a secret and one that cannot.
func (m *Metadata) setDefaults() error {
	switch m.ApplicationType {
	case "":
		m.ApplicationType = Web
	case Web, Native:
	default:
		return invalid("application_type must be web or native.")
	}
	if m.GrantTypes == nil {
		m.GrantTypes = []string{AuthorizationCode}
	}
	if m.ResponseTypes == nil && m.Wants(AuthorizationCode) {
		m.ResponseTypes = []string{ResponseCode}
	}
	for _, t := range m.ResponseTypes {
		if t != ResponseCode {
			return invalid("response_types must be code, or empty for a client that nobody signs in to.")
		}
	}
	if m.Wants(AuthorizationCode) != slices.Contains(m.ResponseTypes, ResponseCode) {
		return invalid("grant_types and response_types do not agree: authorization_code goes with code.")
	}
	return nil
}

// reader takes typed members out of an object and keeps the first problem. A member that is null counts as absent.
type reader struct {
	members map[string]any
	err     error
}

func (r *reader) fail(name, want string) {
	if r.err == nil {
		r.err = invalid(name + " must be " + want + ".")
	}
}

func (r *reader) has(name string) bool { return r.members[name] != nil }

func (r *reader) text(name string, bytesMax int) string {
	v := r.members[name]
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok || len(s) > bytesMax || strings.ContainsRune(s, 0) {
		r.fail(name, "a string of limited length")
		return ""
	}
	return strings.Clone(s)
}

// only takes one value, which is the default too.
func (r *reader) only(name, value string) {
	if s := r.text(name, nameBytesMax); s != "" && s != value {
		r.fail(name, value)
	}
}

func (r *reader) flag(name string) bool {
	v := r.members[name]
	if v == nil {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		r.fail(name, "true or false")
	}
	return b
}

// texts is nil when the member is absent, and not nil when it is empty.
func (r *reader) texts(name string, countMax, bytesMax int) []string {
	v := r.members[name]
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok || len(list) > countMax {
		r.fail(name, "a list of limited length")
		return nil
	}
	out := make([]string, 0, len(list))
	for _, element := range list {
		s, ok := element.(string)
		if !ok || s == "" || len(s) > bytesMax {
			r.fail(name, "a list of strings of limited length")
			return nil
		}
		if !slices.Contains(out, s) {
			out = append(out, strings.Clone(s))
		}
	}
	return out
}

func invalid(description string) error {
	return &oauth.Error{Code: oauth.InvalidClientMetadata, Description: description}
}
