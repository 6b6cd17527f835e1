package checkresp

import (
	"slices"
	"strings"
)

// The headers that tell the upstream who calls. A header whose value is not known is not set, and never forwarded either.
// Values are percent-encoded where they are not visible ASCII, and at "%".
const (
	HeaderID           = "x-agent-id"
	HeaderOrganization = "x-agent-organization"
	HeaderIssuer       = "x-agent-issuer"
	HeaderClientID     = "x-agent-client-id"
	HeaderScopes       = "x-agent-scopes" // space-separated
	HeaderName         = "x-agent-name"
	HeaderOrigin       = "x-agent-origin" // local or federated
)

// identityPrefix begins all of them, and whatever else looks like one of them.
const identityPrefix = "x-agent"

const (
	nameBytesMax       = 512     // x-agent-name; longer names are cut
	identifierBytesMax = 3 * 512 // the other identity headers: 512 bytes, each of them encoded
	scopesBytesMax     = 2 << 10 // x-agent-scopes; scopes beyond are left out, which can only take rights away
)

// Agent is what the upstream is told about the caller.
type Agent struct {
	ID, Organization, Issuer, ClientID, Name, Origin string
	Scopes                                           []string
}

// Caller is an Agent as it is sent: made once, for all requests of one identity, and of the Agent's own texts where they
// can be sent as they are. It is never changed. The zero Caller is nobody.
type Caller struct {
	values [len(callerHeaders)]string // "" is not sent
}

// callerHeaders are those an identity can have.
var callerHeaders = [...]string{HeaderID, HeaderOrganization, HeaderIssuer, HeaderClientID, HeaderScopes, HeaderName, HeaderOrigin}

// Places in callerHeaders of what is in the metadata, too.
const (
	placeID           = 0
	placeOrganization = 1
)

// Describe makes what the upstream is told about a caller.
func Describe(a Agent) Caller {
	return Caller{[len(callerHeaders)]string{
		exact(a.ID), exact(a.Organization), exact(a.Issuer), exact(a.ClientID), joinScopes(a.Scopes), encode(a.Name, nameBytesMax), exact(a.Origin),
	}}
}

// names reports whether the caller has a header of this name.
func (c *Caller) names(header string) bool {
	n := slices.Index(callerHeaders[:], header)
	return n >= 0 && c.values[n] != ""
}

func (c *Caller) appendHeaders(b []byte) []byte {
	for n, value := range c.values {
		if value != "" {
			b = appendHeader(b, fieldHeaders, callerHeaders[n], value, actionOverwrite)
		}
	}
	return b
}

func (c *Caller) appendMetadata(b []byte) []byte {
	if *c == nobody {
		return b
	}
	return appendMember(appendMember(b, metadataAgent, c.values[placeID]), metadataOrganization, c.values[placeOrganization])
}

// Grant is what goes with an OK.
type Grant struct {
	DecisionID string
	Caller     *Caller  // nil when the request was allowed without an identity
	Strip      []string // lower-case names of client headers that must not reach the upstream
	Changes    Changes  // what the policy wants changed
	Quotas     *Quotas  // for Envoy's rate limiter; nil says none
	Nonce      string   // for the client's next DPoP proof (RFC 9449 s8.2); "" says nothing
}

// Allow answers OK. The upstream sees each identity header once, with the value given here, or not at all.
func Allow(g Grant) Answer {
	var okRoom, metadataRoom [1 << 10]byte // usual sizes: 300 and 120 bytes
	ok, caller := okRoom[:0], g.Caller
	if caller == nil {
		caller = &nobody
	}
	ok = caller.appendHeaders(ok)
	for _, h := range g.Changes.set {
		// Of several fields of one name Envoy keeps the last (seen with 1.40.0), so they are one field (RFC 9110 s5.3).
		ok = appendHeader(ok, fieldHeaders, h.name, strings.Join(h.values, ", "), actionOverwrite)
	}
	for _, name := range g.Changes.removeRequest {
		ok = appendElement(ok, fieldRemove, name)
	}
	for _, name := range g.Strip {
		// Envoy removes after it has set, so a name in both lists would be lost. Setting replaces all copies the client sent.
		if !caller.names(name) && !g.Changes.sets(name) {
			ok = appendElement(ok, fieldRemove, name)
		}
	}
	for _, h := range g.Changes.addResponse {
		ok = appendHeader(ok, fieldResponseHeaders, h.name, h.value, actionAdd)
	}
	if g.Nonce != "" { // the service's own, if it has one, is none that we would accept
		ok = appendHeader(ok, fieldResponseHeaders, headerNonce, g.Nonce, actionOverwrite)
	}
	for _, q := range g.Changes.setQuery {
		ok = appendPair(appendLength(ok, fieldQuerySet, textSize(q.name)+textSize(q.value)), q.name, q.value)
	}
	for _, name := range g.Changes.removeQuery {
		ok = appendElement(ok, fieldQueryRemove, name)
	}
	metadata := appendMetadata(metadataRoom[:0], g.Changes.metadata, g.DecisionID, caller, g.Quotas)

	wire := make([]byte, 0, len(ok)+len(metadata)+answerOverhead)
	wire = appendBytes(wire, fieldStatus, nil) // code 0, said
	wire = appendBytes(wire, fieldOK, ok)
	wire = appendBytes(wire, fieldMetadata, metadata)
	return Answer{wire, true}
}

// answerOverhead is room for the status, and for the tags and lengths of the two parts of an answer.
const answerOverhead = 20

// nobody is the caller of a request that is allowed without an identity.
var nobody Caller

// joinScopes leaves out what is no scope token (RFC 6749 s3.3): one with a space in it would be two.
func joinScopes(scopes []string) string {
	var b strings.Builder
	for _, s := range scopes {
		if !IsScopeToken(s) {
			continue
		}
		if b.Len()+1+len(s) > scopesBytesMax {
			break
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

// IsScopeToken is RFC 6749 s3.3: visible ASCII without quotation mark and backslash.
func IsScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// exact is encode for an identifier, whole or not at all: one that was cut could be somebody else's.
func exact(id string) string {
	if encoded := encode(id, len(id)*3); len(encoded) <= identifierBytesMax {
		return encoded
	}
	return ""
}

// encode percent-encodes what is not visible ASCII, and "%": the result is always a legal header value, and no two
// values look the same. What is too long is cut at a character.
func encode(s string, bytesMax int) string {
	if len(s) <= bytesMax && isPlain(s) {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, r := range s { // what is not UTF-8 becomes U+FFFD; no identifier is
		before := b.Len()
		for _, c := range []byte(string(r)) {
			if c > ' ' && c < 0x7f && c != '%' {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			}
		}
		if b.Len() > bytesMax {
			return b.String()[:before]
		}
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '%' {
			return false
		}
	}
	return true
}

// Members of the dynamic metadata that are always ours.
const (
	metadataDecision     = "decision_id"
	metadataAgent        = "agent_id"
	metadataOrganization = "organization_id"
)

// appendMetadata tells Envoy's access log and rate limiter what was decided about whom. It costs Envoy per byte: keep it
// small.
func appendMetadata(b []byte, policy []metadatum, decisionID string, c *Caller, q *Quotas) []byte {
	for _, m := range policy {
		ours := m.name == metadataDecision || *c != nobody && (m.name == metadataAgent || m.name == metadataOrganization) || q.says(m.name)
		if !ours {
			b = appendBytes(b, fieldFields, m.entry)
		}
	}
	b = c.appendMetadata(b)
	if q != nil {
		b = append(b, q.members...)
	}
	return appendMember(b, metadataDecision, exact(decisionID))
}
