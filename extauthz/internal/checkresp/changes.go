package checkresp

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of what a policy may ask for; docs/limits.md lists them. Envoy answers 500 to 200 added headers.
const (
	changesMax       = 64      // headers and query parameters set or removed, of each kind
	headerValueMax   = 4 << 10 // bytes of one value
	metadataBytesMax = 4 << 10 // encoded dynamic metadata
	metadataDepthMax = 8
)

// Errors of Changes. A policy that asks for what it may not have has a fault, and a faulty decision allows nothing.
var (
	ErrHeaderName  = errors.New("not a header name")
	ErrHeaderValue = errors.New("not a header value")
	ErrReserved    = errors.New("a header the policy may not touch")
	ErrTooMany     = errors.New("more changes than allowed")
	ErrQuery       = errors.New("not a query parameter")
	ErrMetadata    = errors.New("dynamic metadata too large or not JSON")
)

// Changes is what a policy wants done to the request and the answer. Every entry was checked when it was added.
type Changes struct {
	set           []setting
	addResponse   []named
	removeRequest []string
	setQuery      []named
	removeQuery   []string
	metadata      []metadatum
}

// named is one header field, or one query parameter.
type named struct{ name, value string }

// metadatum is a member of the dynamic metadata: its name, and the entry of the Struct as it is sent.
type metadatum struct {
	name  string
	entry []byte
}

// setting is one header and its values.
type setting struct {
	name   string
	values []string
}

// SetHeader sets a header of the request that goes upstream, replacing the client's; on a denial, of the answer.
func (c *Changes) SetHeader(name string, values ...string) error {
	name, err := checkHeader(name, values)
	if err != nil {
		return err
	}
	if len(c.set)+len(values) > changesMax {
		return ErrTooMany
	}
	if len(values) > 0 {
		c.set = append(c.set, setting{name, values})
	}
	return nil
}

// sets reports whether a header of the request is set.
func (c *Changes) sets(name string) bool {
	return slices.ContainsFunc(c.set, func(s setting) bool { return s.name == name })
}

// AddResponseHeader adds fields to the answer the client gets to an allowed request.
func (c *Changes) AddResponseHeader(name string, values ...string) error {
	name, err := checkHeader(name, values)
	if err != nil {
		return err
	}
	for _, v := range values {
		if len(c.addResponse) >= changesMax {
			return ErrTooMany
		}
		c.addResponse = append(c.addResponse, named{name, v})
	}
	return nil
}

// RemoveHeader removes a header from the request that goes upstream.
func (c *Changes) RemoveHeader(name string) error {
	name, err := checkHeader(name, nil)
	if err != nil {
		return err
	}
	if len(c.removeRequest) >= changesMax {
		return ErrTooMany
	}
	c.removeRequest = append(c.removeRequest, name)
	return nil
}

// SetQueryParameter sets a parameter of the request that goes upstream. Name and value must be percent-encoded already.
func (c *Changes) SetQueryParameter(name, value string) error {
	if name == "" || !isQueryPart(name) || strings.Contains(name, "=") || !isQueryPart(value) {
		return ErrQuery
	}
	if len(c.setQuery) >= changesMax {
		return ErrTooMany
	}
	c.setQuery = append(c.setQuery, named{name, value})
	return nil
}

// RemoveQueryParameter removes a parameter from the request that goes upstream.
func (c *Changes) RemoveQueryParameter(name string) error {
	if name == "" || !isQueryPart(name) {
		return ErrQuery
	}
	if len(c.removeQuery) >= changesMax {
		return ErrTooMany
	}
	c.removeQuery = append(c.removeQuery, name)
	return nil
}

// SetMetadata is dynamic metadata for later filters and the access log: a tree as strictjson returns it.
func (c *Changes) SetMetadata(tree map[string]any) error {
	members, size := make([]metadatum, 0, len(tree)), 0
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		entry, err := appendEntry(nil, name, tree[name], metadataDepthMax-1)
		if err != nil {
			return ErrMetadata
		}
		members = append(members, metadatum{name, entry})
		if size += 1 + protowire.SizeBytes(len(entry)); size > metadataBytesMax {
			return ErrMetadata
		}
	}
	c.metadata = members
	return nil
}

// speaksForUs reports whether a name in lower case begins as our headers do, with whatever a CGI-like upstream takes for a hyphen.
func speaksForUs(name string) bool {
	return len(name) >= len(identityPrefix) && name[0] == identityPrefix[0] && !isAlphanumeric(name[1]) && name[2:len(identityPrefix)] == identityPrefix[2:]
}

func isAlphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// checkHeader returns the name in lower case. Reserved are the identity headers (in spellings a CGI-like upstream cannot
// tell apart), pseudo headers and host (they would change where the request goes), and what frames the message or belongs
// to one connection (RFC 9110 s7.6.1).
func checkHeader(name string, values []string) (string, error) {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ":") || reserved[name] || speaksForUs(name) {
		return "", ErrReserved
	}
	if !isToken(name) {
		return "", ErrHeaderName
	}
	for _, v := range values {
		if !isHeaderValue(v) {
			return "", ErrHeaderValue
		}
	}
	return name, nil
}

var reserved = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "connection": true, "keep-alive": true,
	"proxy-connection": true, "te": true, "trailer": true, "upgrade": true, "http2-settings": true, "expect": true,
}

func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// isHeaderValue accepts printable ASCII and UTF-8, no control characters: CR LF in a value reaches the wire of an Envoy
// that does not validate mutations.
func isHeaderValue(s string) bool {
	if len(s) > headerValueMax || !utf8.ValidString(s) || strings.TrimSpace(s) != s {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func isQueryPart(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("#&\"<>\\^`{|}", c) >= 0 {
			return false
		}
	}
	return len(s) <= headerValueMax
}
