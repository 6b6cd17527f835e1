package checkresp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

// drawChanges also returns the metadata as a message.
func drawChanges(t *rapid.T) (c Changes, policy *structpb.Struct) {
	name := rapid.SampledFrom([]string{"x-tenant", "set-cookie", "content-type", "location", "authorization", "X-A", "grpc-status"})
	value := rapid.SampledFrom([]string{"", "v", "Zoë", "a=1"})
	for range rapid.IntRange(0, 3).Draw(t, "changes") {
		for _, err := range []error{
			c.SetHeader(name.Draw(t, "set"), rapid.SliceOfN(value, 0, 3).Draw(t, "values")...),
			c.AddResponseHeader(name.Draw(t, "add"), rapid.SliceOfN(value, 0, 3).Draw(t, "added")...),
			c.RemoveHeader(name.Draw(t, "remove")),
			c.SetQueryParameter("q", rapid.SampledFrom([]string{"", "1"}).Draw(t, "query")),
			c.RemoveQueryParameter("debug"),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if rapid.Bool().Draw(t, "metadata") {
		tree := map[string]any{"agent_id": "forged", "organization_limit": "forged", "decision_id": 1.0, "": nil, "o": map[string]any{"n": 2.5, "e": map[string]any{}}, "l": []any{nil, true, "s", []any{}}, "z": 0.0, "f": false}
		policy, _ = structpb.NewStruct(tree)
		if err := c.SetMetadata(jsonTree(t, tree)); err != nil {
			t.Fatal(err)
		}
	}
	return c, policy
}

func jsonTree(t *rapid.T, tree map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range tree {
		out[k] = jsonValue(v)
	}
	return out
}

func jsonValue(v any) any {
	switch v := v.(type) {
	case float64:
		b, _ := json.Marshal(v)
		return json.Number(b)
	case map[string]any:
		return jsonTree(nil, v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = jsonValue(v[i])
		}
		return list
	default:
		return v
	}
}

// The bytes of an answer decode to the message that Envoy's types would have been filled with.
func TestAnswersAreWhatTheOracleBuilds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", strings.Repeat("<", 256), "agt_1", "https://i.example", `<a> & "b" \ ü`, "line\nbreak\u2028"}))
		changes, policy := drawChanges(t)
		g := Grant{Nonce: rapid.SampledFrom([]string{"", "n-1"}).Draw(t, "next nonce"), DecisionID: text.Draw(t, "id"), Changes: changes, Strip: rapid.SliceOfN(rapid.SampledFrom([]string{"x-agent-id", "x-agent-role", "x_agent_id"}), 0, 3).Draw(t, "strip")}
		var agent *Agent
		if rapid.Bool().Draw(t, "agent") {
			agent = &Agent{text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "c"), text.Draw(t, "d"), text.Draw(t, "e"), text.Draw(t, "f"), rapid.SliceOf(text).Draw(t, "g")}
			g.Caller = new(Describe(*agent))
		}
		var quotas map[string]any
		if rapid.Bool().Draw(t, "quotas") {
			g.Quotas = DescribeQuotas(Quota{0, "SECOND"}, Quota{20, "MINUTE"})
			quotas = map[string]any{"organization_limit": map[string]any{"requests_per_unit": 20.0, "unit": "MINUTE"}}
		}
		clone := func() *structpb.Struct {
			if policy == nil {
				return nil
			}
			return proto.Clone(policy).(*structpb.Struct)
		}
		if d := cmp.Diff(withQuotas(t, oracleAllow(g, agent, clone()), quotas), Allow(g).message(t), protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
		denial := Denial{
			DecisionID: text.Draw(t, "id"), Status: rapid.SampledFrom([]int{0, 200, 302, 400, 401, 403, 404, 429, 500, 502, 503, 600}).Draw(t, "status"), Code: rapid.OneOf(text, rapid.SampledFrom([]string{"token_expired", "policy_denied"})).Draw(t, "code"), Documented: rapid.Bool().Draw(t, "documented"),
			Detail: text.Draw(t, "detail"), GRPC: rapid.Bool().Draw(t, "grpc"), Changes: changes,
		}
		if rapid.Bool().Draw(t, "limited") {
			denial.Limited = &Limited{RetryAfter: rapid.IntRange(1, 9).Draw(t, "after"), Policy: rapid.SampledFrom([]string{"", "agent"}).Draw(t, "limit"), Quota: 5, Window: 7}
		}
		if rapid.Bool().Draw(t, "challenge") {
			denial.Challenge = &Challenge{
				Scheme: rapid.SampledFrom([]Scheme{SchemeBearer, SchemeDPoP, SchemeEither}).Draw(t, "scheme"), Error: text.Draw(t, "error"),
				Scopes: rapid.SliceOf(rapid.OneOf(text, rapid.SampledFrom([]string{"orders.read", strings.Repeat("s", 120)}))).Draw(t, "scopes"),
				Nonce:  rapid.SampledFrom([]string{"", "nonce"}).Draw(t, "nonce"),

				ResourceMetadata: rapid.SampledFrom([]string{"", "https://a.example/.well-known/oauth-protected-resource"}).Draw(t, "resource"),
			}
		}
		if rapid.Bool().Draw(t, "own body") {
			body := rapid.SampledFrom([]string{"", "text"}).Draw(t, "body")
			denial.Body = &body
		}
		if d := cmp.Diff(oracleDeny(denial, clone()), Deny(denial).message(t), protocmp.Transform()); d != "" {
			t.Fatal(d)
		}
	})
}

func withQuotas(t *rapid.T, m *authv3.CheckResponse, quotas map[string]any) *authv3.CheckResponse {
	if quotas == nil {
		return m
	}
	more, err := structpb.NewStruct(quotas)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range more.Fields {
		m.DynamicMetadata.Fields[name] = v
	}
	return m
}

// Of any bytes Explicit says what Envoy would make of them, or nothing.
func TestExplicitOfDamagedAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		changes, _ := drawChanges(t)
		wire := Allow(Grant{DecisionID: "d", Caller: new(Describe(Agent{ID: "a"})), Changes: changes}).Wire()
		if rapid.Bool().Draw(t, "denial") {
			wire = Deny(Denial{Status: 403, Changes: changes}).Wire()
		}
		wire = slices.Clone(wire)
		for range rapid.IntRange(1, 3).Draw(t, "damages") {
			at := rapid.IntRange(0, len(wire)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "damage") {
			case 0:
				wire[at] = rapid.Byte().Draw(t, "byte")
			case 1:
				wire = wire[:at+1]
			default:
				wire = append(wire[at:], wire[:at]...)
			}
		}
		allows, is := Explicit(wire)
		if !is {
			if allows {
				t.Fatal("not explicit, and an OK")
			}
			return
		}
		m := &authv3.CheckResponse{}
		if err := proto.Unmarshal(wire, m); err != nil {
			t.Fatalf("explicit, and nobody can decode it: %v", err)
		}
		if !explicit(m) || isOK(m) != allows || allows != (m.GetStatus().GetCode() == 0) {
			t.Fatalf("allows %v: %v", allows, m)
		}
	})
}

func TestExplicitRefusesRepetitions(t *testing.T) {
	t.Parallel()
	ok, denied := Allow(Grant{}).Wire(), Deny(Denial{Status: 403}).Wire()
	status := protowire.AppendBytes(protowire.AppendTag(nil, fieldStatus, protowire.BytesType), nil)
	for name, wire := range map[string][]byte{
		"empty":              {},
		"two OKs":            slices.Concat(ok, ok),
		"a denial and an OK": slices.Concat(denied, ok),
		"an OK and a denial": slices.Concat(ok, denied),
		"a second status":    slices.Concat(denied, status),
		"an unknown field":   append(slices.Clone(ok), 0x7a, 0),
		"an error response":  append(slices.Clone(denied), 0x2a, 0),
		"a fixed32":          append(slices.Clone(ok), 0x0d, 0, 0, 0, 0),
		"half an answer":     ok[:len(ok)-1],
	} {
		if allows, is := Explicit(wire); is || allows {
			t.Errorf("%s is explicit", name)
		}
	}
}

// What is sent costs Envoy per byte.
func TestAnswersAreSmall(t *testing.T) {
	t.Parallel()
	allowed := Allow(Grant{
		DecisionID: "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e5f",
		Caller:     new(Describe(Agent{ID: "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", Organization: "org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", Issuer: "https://issuer.example", ClientID: "agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f", Name: "Reader", Origin: "local", Scopes: []string{"orders.read"}})),
	}).Wire()
	if len(allowed) > 550 {
		t.Errorf("an OK of %d bytes", len(allowed))
	}
	denied := Deny(Denial{DecisionID: "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e5f", Status: 401, Code: "token_expired", Documented: true, Detail: "token has expired", Challenge: &Challenge{Error: "invalid_token"}}).Wire()
	if len(denied) > 530 {
		t.Errorf("a denial of %d bytes", len(denied))
	}
	t.Logf("OK %d bytes, denial %d bytes", len(allowed), len(denied))
}

func BenchmarkExplicit(b *testing.B) {
	wire := Allow(Grant{DecisionID: "0199f6c2-a1b4-7d3e-8c5f-0a1b2c3d4e5f", Caller: new(Describe(Agent{ID: "agt_1", Organization: "org_a", Issuer: "https://i.example", Origin: "local"}))}).Wire()
	b.ReportAllocs()
	for b.Loop() {
		if allows, explicit := Explicit(wire); !allows || !explicit {
			b.Fatal("not an OK")
		}
	}
}
