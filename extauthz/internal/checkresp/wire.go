package checkresp

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of what is sent (envoy/service/auth/v3/external_auth.proto, envoy/config/core/v3/base.proto,
// envoy/type/v3/http_status.proto, google/rpc/status.proto, google/protobuf/struct.proto).
const (
	fieldStatus   = 1 // of CheckResponse
	fieldDenied   = 2
	fieldOK       = 3
	fieldMetadata = 4

	fieldHTTPStatus    = 1 // of DeniedHttpResponse
	fieldDeniedHeaders = 2
	fieldBody          = 3

	fieldHeaders         = 2 // of OkHttpResponse
	fieldRemove          = 5
	fieldResponseHeaders = 6
	fieldQuerySet        = 7
	fieldQueryRemove     = 8

	fieldCode   = 1 // of Status and HttpStatus
	fieldHeader = 1 // of HeaderValueOption
	fieldAction = 3
	fieldKey    = 1 // of HeaderValue, QueryParameter, and of an entry of a map
	fieldValue  = 2
	fieldFields = 1 // of Struct, and values of ListValue

	kindNull, kindNumber, kindString, kindBool, kindStruct, kindList = 1, 2, 3, 4, 5, 6 // of Value
)

// Values of HeaderValueOption.append_action. Adding is the default and not sent.
const (
	actionAdd       = 0 // APPEND_IF_EXISTS_OR_ADD
	actionOverwrite = 2 // OVERWRITE_IF_EXISTS_OR_ADD
)

// appendBytes appends a field that is a message, or an element of a repeated field.
func appendBytes(b []byte, field protowire.Number, value []byte) []byte {
	return append(appendLength(b, field, len(value)), value...)
}

func appendLength(b []byte, field protowire.Number, length int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.BytesType), uint64(length))
}

// characters are text: built here, or a string.
type characters interface{ ~string | ~[]byte }

// appendElement appends an element of a repeated string field, or a member of a oneof: also when it is empty.
func appendElement[S characters](b []byte, field protowire.Number, s S) []byte {
	return append(appendLength(b, field, len(s)), s...)
}

// appendText appends a singular string field: the empty string is its default and not sent.
func appendText[S characters](b []byte, field protowire.Number, s S) []byte {
	if len(s) == 0 {
		return b
	}
	return appendElement(b, field, s)
}

func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func textSize[S characters](s S) int {
	if len(s) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s)) // fields up to 15 have a tag of one byte
}

// appendHeader appends a HeaderValueOption.
func appendHeader[S characters](b []byte, field protowire.Number, name string, value S, action uint64) []byte {
	header := textSize(name) + textSize(value)
	option := 1 + protowire.SizeBytes(header)
	if action != actionAdd {
		option += 2
	}
	b = appendLength(b, field, option)
	b = appendPair(appendLength(b, fieldHeader, header), name, value)
	if action != actionAdd {
		b = appendVarint(b, fieldAction, action)
	}
	return b
}

func appendPair[S characters](b []byte, name string, value S) []byte {
	return appendText(appendText(b, fieldKey, name), fieldValue, value)
}

// appendMember appends an entry of a Struct whose value is a string.
func appendMember(b []byte, name, value string) []byte {
	text := 1 + protowire.SizeBytes(len(value))
	b = appendLength(b, fieldFields, textSize(name)+1+protowire.SizeBytes(text))
	b = appendLength(appendText(b, fieldKey, name), fieldValue, text)
	return appendElement(b, kindString, value)
}

// shape is what a message may hold: for each field number what is in it. It is for messages this package makes, which are
// small; whatever else somebody might put into an answer does not fit.
type shape struct {
	kind     protowire.Type
	utf8     bool
	repeated bool
	fields   []*shape
}

var (
	shapeNumber  = &shape{kind: protowire.VarintType}
	shapeDouble  = &shape{kind: protowire.Fixed64Type}
	shapeText    = &shape{kind: protowire.BytesType, utf8: true}
	shapeTexts   = &shape{kind: protowire.BytesType, utf8: true, repeated: true}
	shapeStatus  = object(nil, shapeNumber)
	shapePair    = object(nil, shapeText, shapeText)
	shapeHeaders = list(nil, object(nil, shapeText, shapeText), nil, shapeNumber)

	shapeValue     = object() // filled in by values: it holds itself
	shapeStructure = object(nil, list(nil, shapeText, shapeValue))

	checkResponse = values(object(nil,
		shapeStatus,
		object(nil, shapeStatus, shapeHeaders, shapeText),
		object(nil, nil, shapeHeaders, nil, nil, shapeTexts, shapeHeaders, list(shapePair.fields...), shapeTexts),
		shapeStructure))
)

func object(fields ...*shape) *shape { return &shape{kind: protowire.BytesType, fields: fields} }

func list(fields ...*shape) *shape {
	return &shape{kind: protowire.BytesType, repeated: true, fields: fields}
}

func values(root *shape) *shape {
	shapeValue.fields = []*shape{nil, shapeNumber, shapeDouble, shapeText, shapeNumber, shapeStructure, object(nil, list(nil))}
	shapeValue.fields[kindList].fields[fieldFields] = &shape{kind: protowire.BytesType, repeated: true, fields: shapeValue.fields}
	return root
}

// fits reports whether a message decodes, and holds only what its shape has, singular fields at most once.
func (s *shape) fits(message []byte) bool {
	seen := 0
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 || int(field) >= len(s.fields) || s.fields[field] == nil || s.fields[field].kind != kind {
			return false
		}
		in := s.fields[field]
		if !in.repeated && seen&(1<<field) != 0 {
			return false
		}
		seen |= 1 << field
		message = message[n:]
		size := 0
		switch kind {
		case protowire.VarintType:
			_, size = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			_, size = protowire.ConsumeFixed64(message)
		default: // no shape has another kind
			var content []byte
			if content, size = protowire.ConsumeBytes(message); size >= 0 && !in.holds(content) {
				return false
			}
		}
		if size < 0 {
			return false
		}
		message = message[size:]
	}
	return true
}

func (s *shape) holds(content []byte) bool {
	if s.utf8 {
		return utf8.Valid(content)
	}
	return s.fits(content)
}
