package audit

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/agentid"
)

func TestActorValidate(t *testing.T) {
	t.Parallel()
	agent := agentid.New[agentid.Agent]().String()
	for name, c := range map[string]struct {
		actor Actor
		ok    bool
	}{
		"zero":                 {Actor{}, false},
		"bootstrap":            {Actor{Kind: KindBootstrap, RequestID: "r", Source: "2001:db8::1"}, true},
		"bootstrap with id":    {Actor{Kind: KindBootstrap, ID: "root"}, false},
		"agent":                {Actor{Kind: KindAgent, ID: agent}, true},
		"agent without id":     {Actor{Kind: KindAgent}, false},
		"agent with a name":    {Actor{Kind: KindAgent, ID: "payer"}, false},
		"system":               {Actor{Kind: KindSystem, ID: "issuer/keys"}, true},
		"system without name":  {Actor{Kind: KindSystem}, false},
		"client":               {Actor{Kind: KindClient, ID: agentid.New[agentid.Client]().String()}, true},
		"client by document":   {Actor{Kind: KindClient, ID: "https://" + strings.Repeat("a", 504)}, true},
		"long document":        {Actor{Kind: KindClient, ID: "https://" + strings.Repeat("a", 505)}, false},
		"no https document":    {Actor{Kind: KindClient, ID: "http://a.example/b"}, false},
		"agent by document":    {Actor{Kind: KindAgent, ID: "https://a.example/b"}, false},
		"forged document":      {Actor{Kind: KindClient, ID: "https://a.example/\n"}, false},
		"unknown kind":         {Actor{Kind: "root"}, false},
		"long request id":      {Actor{Kind: KindBootstrap, RequestID: strings.Repeat("r", 129)}, false},
		"line break in source": {Actor{Kind: KindBootstrap, Source: "192.0.2.1\nforged"}, false},
		"not UTF-8":            {Actor{Kind: KindBootstrap, RequestID: "\xff"}, false},
	} {
		if err := c.actor.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: Validate = %v, want ok %v", name, err, c.ok)
		}
	}
}

func record(t *testing.T) Record {
	t.Helper()
	id, err := agentid.Parse[agentid.Event]("evt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f")
	if err != nil {
		t.Fatal(err)
	}
	org, err := agentid.Parse[agentid.Organization]("org_0199f6c2a1b47d3e8c5f0a1b2c3d4e60")
	if err != nil {
		t.Fatal(err)
	}
	return Record{
		ID: id, OrganizationID: org, Time: time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC),
		Actor: Actor{Kind: KindBootstrap, RequestID: "r1", Source: "192.0.2.7"}, Action: AgentUpdate, Target: "agt_x",
		Details: map[string]any{"name": map[string]any{"from": "a", "to": "<b>"}, "count": 3, "big": int64(1) << 60},
	}
}

// The bytes are what is hashed into the tree later: a change of a single one needs another EncodingVersion.
func TestEncodeIsExact(t *testing.T) {
	t.Parallel()
	const want = `{"v":1,"id":"evt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f","organizationId":"org_0199f6c2a1b47d3e8c5f0a1b2c3d4e60","time":"2026-03-01T12:00:00.000001Z",` +
		`"actor":{"kind":"bootstrap","id":"","requestId":"r1","source":"192.0.2.7"},"action":"agent.update","target":"agt_x",` +
		`"details":{"big":1152921504606846976,"count":3,"name":{"from":"a","to":"<b>"}}}`
	for range 20 { // map order must not show
		got, err := Encode(record(t))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	t.Parallel()
	instance := record(t)
	instance.OrganizationID, instance.Details = agentid.Organization{}, nil
	withDetails := record(t)
	withDetails.Details = map[string]any{"name": map[string]any{"from": "a", "to": "b"}}
	for name, r := range map[string]Record{"organization": withDetails, "instance": instance} {
		body, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(EncodingVersion, body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmp.Comparer(func(a, b agentid.Event) bool { return a == b }), cmp.Comparer(func(a, b agentid.Organization) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	good, err := Encode(record(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		version int
		body    string
	}{
		"another version":  {EncodingVersion + 1, string(good)},
		"not JSON":         {EncodingVersion, "{"},
		"bad event id":     {EncodingVersion, strings.Replace(string(good), "evt_", "agt_", 1)},
		"bad organization": {EncodingVersion, strings.Replace(string(good), "org_", "agt_", 1)},
		"bad time":         {EncodingVersion, strings.Replace(string(good), "2026-03-01T", "2026-13-01T", 1)},
	} {
		if _, err := Decode(c.version, []byte(c.body)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDetailsNeverHoldSecrets(t *testing.T) {
	t.Parallel()
	const secret = "aidp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"
	type custom struct {
		S []string `json:"s"`
	}
	r := record(t)
	r.Details = map[string]any{
		"flat": secret, "inside": "the secret is " + secret + "!", "list": []string{"a", token}, "nested": map[string]any{"deep": custom{[]string{token}}}, "kept": "hello",
	}
	body, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, token, "AAAAAAAA", "c2ln"} {
		if strings.Contains(string(body), s) {
			t.Errorf("the record holds %q: %s", s, body)
		}
	}
	if !strings.Contains(string(body), `"kept":"hello"`) {
		t.Errorf("an innocent detail is gone: %s", body)
	}
	if _, ok := r.Details["flat"].(string); !ok || r.Details["flat"] != secret {
		t.Error("the caller's details were changed")
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, details := range map[string]map[string]any{
		"too large":     {"x": strings.Repeat("x", bodyBytesMax)},
		"not JSON-able": {"x": func() {}},
	} {
		r := record(t)
		r.Details = details
		if _, err := Encode(r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
