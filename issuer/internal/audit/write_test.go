package audit

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/internal/agentid"
)

// standard is version 1 as encoding/json writes it.
func standard(r Record) ([]byte, error) {
	details, err := withoutSecrets(r.Details)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err = e.Encode(encoded{
		Version: EncodingVersion, ID: r.ID.String(), OrganizationID: r.OrganizationID.String(), Time: r.Time.UTC().Format(timeLayout),
		Actor: encodedActor(r.Actor), Action: r.Action, Target: r.Target, Details: details,
	})
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// custom has a form of its own.
type custom struct {
	A string `json:"a"`
}

func drawText(t *rapid.T) string {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", `"<&>`, "\u2028\x00", "\xff", "a\xffb", "aidp_secret", "eyJhbGciOiJub25lIn0.e30.c2ln"})).Draw(t, "text")
}

func drawValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 11).Draw(t, "kind")
	if depth == 0 {
		kind %= 8
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int().Draw(t, "int")
	case 3:
		return rapid.Int64().Draw(t, "int64")
	case 4:
		return rapid.Float64Range(-1e30, 1e30).Draw(t, "float")
	case 5:
		return []string(nil)
	case 6:
		return custom{drawText(t)}
	case 7:
		return map[string]string{drawText(t): drawText(t)}
	case 8:
		list := make([]string, rapid.IntRange(0, 3).Draw(t, "n"))
		for i := range list {
			list[i] = drawText(t)
		}
		return list
	case 9:
		return []any{drawValue(t, depth-1), drawValue(t, depth-1)}
	case 10:
		return drawDetails(t, depth-1)
	}
	return drawText(t)
}

func drawDetails(t *rapid.T, depth int) map[string]any {
	var m map[string]any
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		if m == nil {
			m = map[string]any{}
		}
		m[drawText(t)] = drawValue(t, depth)
	}
	return m
}

// Whatever the details are, the bytes are those of encoding/json: it has been their definition since the first record.
func TestEncodeWritesAsEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			ID: agentid.New[agentid.Event](), OrganizationID: agentid.New[agentid.Organization](), Time: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "time")),
			Actor:  Actor{Kind: drawText(t), ID: drawText(t), RequestID: drawText(t), Source: drawText(t)},
			Action: Action(drawText(t)), Target: drawText(t), Details: drawDetails(t, 3),
		}
		if rapid.Bool().Draw(t, "instance") {
			r.OrganizationID = agentid.Organization{}
		}
		want, wantErr := standard(r)
		got, err := Encode(r)
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%v, %v\n got %s\nwant %s", err, wantErr, got, want)
		}
	})
}

// What is encoded stays as it was: masking makes a copy.
func TestEncodeChangesNothing(t *testing.T) {
	t.Parallel()
	list := []string{"aidp_secret"}
	details := map[string]any{"a": "aidp_secret", "list": list, "in": map[string]any{"b": "aidp_secret"}}
	if _, err := Encode(Record{Details: details}); err != nil {
		t.Fatal(err)
	}
	if details["a"] != "aidp_secret" || list[0] != "aidp_secret" || details["in"].(map[string]any)["b"] != "aidp_secret" {
		t.Errorf("%v", details)
	}
}

func BenchmarkEncode(b *testing.B) {
	r := Record{
		ID: agentid.New[agentid.Event](), OrganizationID: agentid.New[agentid.Organization](), Time: time.Now(), Action: TokenIssue,
		Actor: Actor{Kind: KindAgent, ID: "agt_0199f6c3d5e67f108a2b3c4d5e6f7081", RequestID: "VX4EOPEDCPOTTMJFAFAGGY2IHY", Source: "127.0.0.1"},
		Details: map[string]any{
			"tokenId": "VX4EOPEDCPOTTMJFAFAGGY2IHY", "keyId": "Rv0aX7DmZfJk2gq1cUQ8", "issuer": "https://id.example", "grantType": "client_credentials",
			"clientAuthentication": "client_secret_basic", "credentialId": "crd_0199f6c4aabb7ccd9eef001122334455", "audience": "svc://payments", "scope": "a b",
			"issuedAt": "2026-11-23T09:00:00Z", "expiresAt": "2026-11-23T09:05:00Z",
		},
	}
	for name, f := range map[string]func(Record) ([]byte, error){"ours": Encode, "encoding/json": standard} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
