package strictjson_test

import (
	"encoding/json"
	"testing"

	"github.com/agentidp/agentidp/internal/strictjson"
)

const (
	typicalHeader  = `{"typ":"at+jwt","alg":"ES256","kid":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}`
	typicalPayload = `{"iss":"https://issuer.example/org/a","sub":"agt_01961f0e5f6a7c4f9c0c5f6a7c4f9c0c","aud":["svc://payments"],` +
		`"exp":1790000300,"iat":1790000000,"nbf":1790000000,"jti":"tok_01961f0e5f6a7c4f9c0c5f6a7c4f9c0d",` +
		`"client_id":"agt_01961f0e5f6a7c4f9c0c5f6a7c4f9c0c","scope":"payments:read payments:write","org_id":"org_a",` +
		`"agent":{"name":"invoice-bot","did":"did:web:issuer.example:agents:agt_01961f0e","type":"worker","capabilities":["pay","read"]}}`
)

var (
	headerLimits  = strictjson.Limits{Bytes: 1 << 10, Depth: 2, Values: 64, Members: 16}
	payloadLimits = strictjson.Limits{Bytes: 6 << 10, Depth: 16, Values: 512, Members: 128}
)

// BenchmarkToken reads the header and the payload of one typical access token.
func BenchmarkToken(b *testing.B) {
	header, payload := []byte(typicalHeader), []byte(typicalPayload)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := strictjson.ParseObject(header, headerLimits); err != nil {
			b.Fatal(err)
		}
		if _, err := strictjson.ParseObject(payload, payloadLimits); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTokenEncodingJSON is the yardstick: the same two documents, not strictly.
func BenchmarkTokenEncodingJSON(b *testing.B) {
	header, payload := []byte(typicalHeader), []byte(typicalPayload)
	b.ReportAllocs()
	for b.Loop() {
		for _, doc := range [][]byte{header, payload} {
			var v map[string]any
			if err := json.Unmarshal(doc, &v); err != nil {
				b.Fatal(err)
			}
		}
	}
}
