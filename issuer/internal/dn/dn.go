// Package dn reads distinguished names, from text and from certificates, into one form that can be compared.
package dn

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Name is a distinguished name: relative names in the order of the text, most specific first, each a set of attributes.
type Name [][]attribute

type attribute struct{ oid, value string }

// attributeTypes are the names RFC 4514 s3 wants everybody to know, and those certificates are full of. Any other type is written as its object identifier.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "L": "2.5.4.7", "ST": "2.5.4.8", "O": "2.5.4.10", "OU": "2.5.4.11", "C": "2.5.4.6", "STREET": "2.5.4.9",
	"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1", "SERIALNUMBER": "2.5.4.5", "EMAILADDRESS": "1.2.840.113549.1.9.1",
}

var errFormat = errors.New("must be a distinguished name as of RFC 4514, such as CN=payer,OU=agents,O=Acme Ltd.,C=DE")

// Parse reads the string form of RFC 4514. Values are compared as they are written: no folding of case, no folding of spaces. A name that a certification
// authority writes differently does not match, which is the safe way to be wrong. Values in hexadecimal (#04…) are not read.
func Parse(text string) (Name, error) {
	var name Name
	relative := []attribute{}
	for rest := text; ; {
		a, end, err := parseAttribute(rest)
		if err != nil {
			return nil, err
		}
		relative = append(relative, a)
		if end == len(rest) || rest[end] == ',' {
			slices.SortFunc(relative, compareAttributes)
			name = append(name, relative)
			relative = []attribute{}
		}
		if end == len(rest) {
			return name, nil
		}
		rest = rest[end+1:]
	}
}

// parseAttribute reads one type and value, and returns where it ends: at an unescaped comma, at a plus, or at the end.
func parseAttribute(s string) (attribute, int, error) {
	name, value, equals := strings.Cut(s, "=")
	oid, ok := typeOf(strings.TrimLeft(name, " "))
	if !equals || !ok || strings.HasPrefix(value, "#") {
		return attribute{}, 0, errFormat
	}
	text, length, err := parseValue(value)
	if err != nil || text == "" {
		return attribute{}, 0, errFormat
	}
	return attribute{oid, text}, len(name) + 1 + length, nil
}

func typeOf(name string) (oid string, ok bool) {
	if oid, ok = attributeTypes[strings.ToUpper(name)]; ok {
		return oid, true
	}
	if name == "" || strings.Trim(name, "0123456789.") != "" || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || !strings.Contains(name, ".") {
		return "", false
	}
	return name, true
}

// parseValue undoes the escapes of RFC 4514 s2.4. Space at either end counts only when it is escaped.
func parseValue(s string) (value string, length int, err error) {
	var out []byte
	kept := 0 // bytes of out that trimming must leave
	i := 0
	for ; i < len(s) && s[i] != ',' && s[i] != '+'; i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(` "#+,;<=>\`, s[i+1]) >= 0:
			i++
			out = append(out, s[i])
			kept = len(out)
		case c == '\\':
			if i+2 >= len(s) {
				return "", 0, errFormat
			}
			b, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", 0, errFormat
			}
			i += 2
			out = append(out, b...)
			kept = len(out)
		case strings.IndexByte(`";<>`, c) >= 0 || c < ' ':
			return "", 0, errFormat
		case c == ' ' && len(out) == 0:
		default:
			out = append(out, c)
		}
	}
	for len(out) > kept && out[len(out)-1] == ' ' {
		out = out[:len(out)-1]
	}
	if !utf8.Valid(out) {
		return "", 0, errFormat
	}
	return string(out), i, nil
}

// OfCertificate is the subject of a certificate, from its DER. ok is false when it holds something other than text.
func OfCertificate(rawSubject []byte) (_ Name, ok bool) {
	var sequence pkix.RDNSequence
	rest, err := asn1.Unmarshal(rawSubject, &sequence)
	if err != nil || len(rest) > 0 {
		return nil, false
	}
	var name Name
	for _, set := range slices.Backward(sequence) { // RFC 4514 s2.1: starting with the last
		var relative []attribute
		for _, a := range set {
			text, isText := a.Value.(string)
			if !isText {
				return nil, false
			}
			relative = append(relative, attribute{a.Type.String(), text})
		}
		slices.SortFunc(relative, compareAttributes)
		name = append(name, relative)
	}
	return name, true
}

// Equal compares names. The empty name equals nothing: a certificate without a subject is nobody's.
func (n Name) Equal(other Name) bool {
	return len(n) > 0 && slices.EqualFunc(n, other, func(a, b []attribute) bool { return slices.Equal(a, b) })
}

func compareAttributes(a, b attribute) int {
	if c := strings.Compare(a.oid, b.oid); c != 0 {
		return c
	}
	return strings.Compare(a.value, b.value)
}
