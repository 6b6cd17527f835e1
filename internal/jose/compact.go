package jose

import (
	"encoding/base64"
	"strings"
)

// canonical is base64url without padding that also refuses non-zero unused bits (RFC 7515 s2, RFC 4648 s3.5). It still
// skips line breaks, so decodeCanonical must be used instead.
var canonical = base64.RawURLEncoding.Strict()

// compactForm is a token taken apart. signed is the received text of the first two segments, never a re-encoding: what
// was signed, what is verified and what is read are the same bytes.
type compactForm struct {
	signed    string
	header    []byte
	payload   []byte
	signature []byte
}

// splitCompact accepts exactly one spelling of a JWS (RFC 7515 s7.1): three non-empty canonical base64url segments.
// Caches and replay stores are keyed by the text of a token; a second spelling would be a second entry.
func splitCompact(text string) (*compactForm, error) {
	if len(text) > tokenBytesMax {
		return nil, refuse(ReasonMalformed, "token is too long")
	}
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, two := strings.Cut(rest, ".")
	if !two || strings.IndexByte(signature, '.') >= 0 {
		return nil, refuse(ReasonMalformed, "token has not three segments")
	}
	if header == "" || payload == "" || signature == "" {
		return nil, refuse(ReasonMalformed, "token has an empty segment")
	}
	form := &compactForm{signed: text[:len(text)-len(signature)-1]}
	for _, segment := range []struct {
		text string
		into *[]byte
	}{{header, &form.header}, {payload, &form.payload}, {signature, &form.signature}} {
		decoded, ok := decodeCanonical(segment.text)
		if !ok {
			return nil, refuse(ReasonMalformed, "segment is not canonical base64url")
		}
		*segment.into = decoded
	}
	return form, nil
}

// decodeCanonical decodes base64url of which no other text gives the same bytes.
func decodeCanonical(text string) ([]byte, bool) {
	if strings.IndexByte(text, '\n') >= 0 || strings.IndexByte(text, '\r') >= 0 {
		return nil, false // encoding/base64 would skip them
	}
	decoded, err := canonical.DecodeString(text)
	return decoded, err == nil
}

func encode(b []byte) string {
	return base64.RawURLEncoding.EncodeToString(b)
}
