package decisionlog

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
)

// credentialHeaders are headers in which proxies, clouds, gateways and clients send credentials.
var credentialHeaders = strings.Fields(`authorization proxy-authorization cookie set-cookie dpop x-api-key api-key apikey x-auth-token x-amz-security-token
	x-forwarded-client-cert x-goog-iap-jwt-assertion x-access-token x-auth-request-access-token x-id-token x-vault-token x-client-secret x-original-authorization
	x-serverless-authorization x-amzn-oidc-data x-amzn-oidc-accesstoken sec-websocket-protocol x-forwarded-access-token cf-access-jwt-assertion x-csrf-token
	private-token x-goog-api-key ocp-apim-subscription-key x-functions-key x-hub-signature-256 signature x-session-id x_api_key x-ssl-client-cert`)

// credentialParameters are query parameters of the same kind.
var credentialParameters = strings.Fields(`jwt sig key auth session access_token accessToken id_token refresh_token token api_key apikey apiKey client_secret password
	client_assertion code code_verifier SAMLResponse X-Amz-Signature X-Amz-Credential X-Goog-Signature sid ticket jsessionid %6bey`)

// harmlessNames are what an operator looks for in a log.
var harmlessNames = strings.Fields(`x-request-id traceparent tracestate x-b3-traceid accept accept-encoding content-type content-length user-agent :authority :method
	x-forwarded-for x-forwarded-proto x-envoy-attempt-count idempotency-key if-none-match x-keyboard origin x-author page q sort state keyword signal`)

func TestNamesOfCredentials(t *testing.T) {
	t.Parallel()
	for _, name := range credentialHeaders {
		if !isSecretName(name) || !isSecretName(strings.ToUpper(name)) || !isSecretParameter(name) {
			t.Errorf("%s is shown", name)
		}
	}
	for _, name := range credentialParameters {
		if !isSecretParameter(name) {
			t.Errorf("%s is shown", name)
		}
	}
	for _, name := range harmlessNames {
		if isSecretName(name) || isSecretParameter(name) {
			t.Errorf("%s is hidden", name)
		}
	}
}

// forged makes a token of a header; nobody needs to be able to verify it.
func forged(header string, parts ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + strings.Join(parts, ".")
}

func TestTokensAreHiddenByTheirForm(t *testing.T) {
	t.Parallel()
	jws := forged(`{"alg":"ES256","kid":"k"}`, "eyJzdWIiOiJhIn0", canary)
	for name, c := range map[string]struct{ text, want string }{
		"a JWS":                  {jws, "[masked]"},
		"in a sentence":          {"token (" + jws + ") refused", "token ([masked]) refused"},
		"two":                    {jws + "," + jws, "[masked],[masked]"},
		"behind other letters":   {"v1_" + jws, "v1_[masked]"},
		"without signature":      {forged(`{"alg":"none"}`, canary, ""), "[masked]"},
		"with detached payload":  {forged(`{"alg":"ES256"}`, "", canary), "[masked]"},
		"a JWE":                  {forged(`{"alg":"dir","enc":"A128GCM"}`, "", canary, canary, canary), "[masked]"},
		"padded, as AWS does":    {"x " + strings.ReplaceAll(jws, ".", "==.") + "==", "x [masked]"},
		"spaces in its header":   {forged("{ \n\"alg\" : \"ES256\"}", canary, canary), "[masked]"},
		"SD-JWT":                 {jws + "~" + canary + "~" + jws, "[masked]"},
		"in a path":              {"/reset/" + jws + "/now", "/reset/[masked]/now"},
		"in any query parameter": {"/a?x=" + jws + "&y=1", "/a?x=[masked]&y=1"},
		"escaped in a query":     {"/a?x=" + strings.ReplaceAll(jws, ".", "%2E") + "&y=1", "/a?x=[masked]&y=1"},
		"as the name":            {"/a?" + jws + "=1", "/a?[masked]"},
		"without =":              {"/a?" + jws, "/a?[masked]"},
		"a host":                 {"eyes.example.com.eyJ", "eyes.example.com.eyJ"},
		"one dot":                {forged(`{"alg":"none"}`, "a"), forged(`{"alg":"none"}`, "a")},
		"a version":              {"keyboard-1.2.3", "keyboard-1.2.3"},
		"a question":             {"why?", "why?"},
	} {
		if got := maskText(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A text made to be looked at again and again is looked at once.
func TestHidingTakesLinearTime(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("ey", 1<<14), strings.Repeat("eyJ.", 1<<13), strings.Repeat("ey", 1<<14) + ".." + strings.Repeat("?&=", 1<<13), strings.Repeat("eyJ=", 1<<13)} {
		began := time.Now()
		maskText(text)
		if took := time.Since(began); took > 10*time.Second { // of patience with the machine; squares of this take much longer
			t.Errorf("%.10s…: %v", text, took)
		}
	}
}

// Each name and each place, in the log, beside a disagreement, and in what is kept to be explained.
func TestNoCanaryIsShown(t *testing.T) {
	t.Parallel()
	jws := forged(`{"alg":"ES256"}`, "e30", canary)
	var headers checkreq.Headers
	result := map[string]any{}
	for _, name := range credentialHeaders {
		headers = append(headers, checkreq.Header{Name: name, Value: "v " + canary})
		result[name] = canary
	}
	query := "a=1"
	for _, name := range credentialParameters {
		query += "&" + name + "=" + canary
	}
	headers = append(headers, checkreq.Header{Name: ":path", Value: "/a?" + query}, checkreq.Header{Name: "x-envoy-original-path", Value: "/b?" + query},
		checkreq.Header{Name: "x-note", Value: jws}, checkreq.Header{Name: "x-request-id", Value: "shown-1"})
	slices.SortFunc(headers, func(a, b checkreq.Header) int { return strings.Compare(a.Name, b.Name) })
	segments := []string{"a", jws}
	record := Record{
		DecisionID: "d", Result: ResultDenied, Err: "cannot read " + jws, Identity: &identity.Identity{Subject: "agt_1", Scopes: []string{"orders", jws}},
		Request:  &checkreq.Request{Method: "GET", Target: "/" + jws + "?" + query, Segments: segments, Headers: headers, Extensions: map[string]string{"note": jws, "route": "shown-2"}},
		Decision: map[string]any{"headers": result, "body": "see " + jws, "list": []any{jws, "shown-3"}, "location": "/c?" + query},
		Shadow:   &Shadow{Decision: map[string]any{"headers": result, "body": jws}, Err: jws}, Organization: &Organization{Decision: []any{result, jws}},
	}
	out := &lines{}
	l := New(ToWriter(out), Config{SampleAllowed: 1})
	l.Add(record)
	closed(t, l)
	if text := string(out.written[0]); strings.Contains(text, canary) {
		t.Errorf("in the log: %s", text)
	}
	for _, shown := range []string{"shown-1", "shown-2", "shown-3", "?a=1", "/input/parsed_path/1", "/input/identity/scopes/1", "/input/attributes/request/http/headers/x-note", "/input/attributes/contextExtensions/note"} {
		if !bytes.Contains(out.written[0], []byte(shown)) {
			t.Errorf("%s is not in %s", shown, out.written[0])
		}
	}
	if segments[1] != jws || record.Identity.Scopes[1] != jws {
		t.Error("the record was changed")
	}

	document := map[string]any{
		"parsed_path": []any{"a", jws}, "parsed_query": map[string]any{"x": []any{jws}}, "identity": map[string]any{"claims": map[string]any{"id": jws, "deep": []any{map[string]any{"a": jws}}}},
		"attributes": map[string]any{
			"request":         map[string]any{"http": map[string]any{"path": "/" + jws + "?" + query, "headers": map[string]any{}}},
			"metadataContext": map[string]any{"filterMetadata": map[string]any{"jwt": jws}},
		},
	}
	for _, name := range credentialParameters {
		document["parsed_query"].(map[string]any)[name] = []any{canary}
	}
	for _, h := range headers {
		document["attributes"].(map[string]any)["request"].(map[string]any)["http"].(map[string]any)["headers"].(map[string]any)[h.Name] = h.Value
	}
	m := NewMasker(nil)
	masked, _ := m.Input(document)
	kept, err := json.Marshal([]any{document, m.Result(record.Decision), m.Text(record.Err)})
	if err != nil || bytes.Contains(kept, []byte(canary)) || !bytes.Contains(kept, []byte("shown-1")) {
		t.Errorf("kept (%v): %s", err, kept)
	}
	if text := strings.Join(masked, " "); !strings.Contains(text, "/input/identity/claims/deep/0/a") || !strings.Contains(text, "/input/parsed_query/jwt") {
		t.Errorf("said to be masked: %s", text)
	}
}
