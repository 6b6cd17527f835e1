package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// tokenPolicy verifies tokens as policies for the plugin do: keys inline, issuer, audience and time as constraints.
const tokenPolicy = `package envoy.authz

import input.attributes.request.http as http_request

default allow := false

keys := %q

allow if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[valid, header, payload] := io.jwt.decode_verify(encoded, {"cert": keys, "alg": "ES256", "iss": %q, "aud": %q, "time": %d})
	valid
	header.alg == "ES256"
	"orders.read" in split(payload.scope, " ")
}
`

// tokens is a drop-in whose policy verifies tokens, and a signer the policy knows.
func tokens(t *testing.T, change func(*Options)) (*edge, func(claims map[string]any) string) {
	t.Helper()
	k, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	keys := string(jose.MarshalKeySet([]json.RawMessage{k.PublicJWK()}))
	source := fmt.Sprintf(tokenPolicy, keys, josetest.Issuer, josetest.Audience, josetest.Now().UnixNano())
	return drop(t, "envoy/authz/allow", source, change), func(changes map[string]any) string {
		now := josetest.Now().Unix()
		claims := map[string]any{"iss": josetest.Issuer, "aud": josetest.Audience, "exp": now + 300, "nbf": now - 1, "sub": "agt_1", "scope": "orders.read"}
		for name, v := range changes {
			claims[name] = v
		}
		doc, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		token, err := k.Sign("JWT", doc)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
}

// withOtherByte changes one character of a token to another that can stand there.
func withOtherByte(token string, at int) string {
	other := byte('x')
	if token[at] == other {
		other = 'y'
	}
	return token[:at] + string(other) + token[at+1:]
}

func TestCompatTokensInThePolicy(t *testing.T) {
	t.Parallel()
	e, sign := tokens(t, nil)
	_, foreign := tokens(t, nil)
	now := josetest.Now().Unix()
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"good":             {sign(nil), 200},
		"several aud":      {sign(map[string]any{"aud": []string{"other", josetest.Audience}}), 200},
		"another key":      {foreign(nil), 403},
		"another issuer":   {sign(map[string]any{"iss": "https://evil.example"}), 403},
		"another audience": {sign(map[string]any{"aud": "other"}), 403},
		"expired":          {sign(map[string]any{"exp": now - 1}), 403},
		"not yet":          {sign(map[string]any{"nbf": now + 100}), 403},
		"no scope":         {sign(map[string]any{"scope": "other"}), 403},
		"forged":           {withOtherByte(sign(nil), 50), 403},
		"no token":         {"a.b.c", 403},
	} {
		if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+c.token)); got.status != c.status {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A correctly signed token whose iss is a number, or a list, is a denial, and the next request is decided.
func TestTokenWithNumericIssuerIsDenied(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e, sign := tokens(t, func(o *Options) { o.Registerer = registry })
	for _, iss := range []any{5, 1.5, []string{josetest.Issuer}, map[string]any{"a": 1}, nil, true} {
		if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+sign(map[string]any{"iss": iss}))); got.status != 403 {
			t.Errorf("iss %v: %+v", iss, got)
		}
	}
	if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+sign(nil))); got.status != 200 {
		t.Errorf("afterwards: %+v", got)
	}
	want := "# HELP agentidp_extauthz_panics_total Panics that became denials.\n# TYPE agentidp_extauthz_panics_total counter\nagentidp_extauthz_panics_total 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "agentidp_extauthz_panics_total"); err != nil {
		t.Error(err)
	}
}

// What the policy sees is not what the log shows, also where the policy puts the token into its decision.
func TestCompatTokenStaysOutOfTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := decisionlog.New(decisionlog.ToWriter(&out), decisionlog.Config{SampleAllowed: 1})
	e, sign := tokens(t, func(o *Options) { o.DecisionLog = log })
	token := sign(nil)
	e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token))
	e.ask(t, request("GET", "/orders?access_token="+token, "cookie", "session="+token))
	e.setPolicy(compileAt(t, "envoy/authz/allow", `package envoy.authz
allow := {"allowed": true, "headers": {"authorization": input.attributes.request.http.headers.authorization}}
`, false))
	if got := e.ask(t, request("GET", "/orders", "authorization", "Bearer "+token)); got.headers["authorization"] != "Bearer "+token {
		t.Errorf("the policy did not see the token: %+v", got)
	}
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 3 || strings.Contains(out.String(), strings.Split(token, ".")[2]) {
		t.Errorf("%d lines: %s", lines, out.String())
	}
}
