package issuer_test

import (
	"encoding/json"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

// RFC 9396: what is asked for in detail when an agent signs in is granted with the sign-in, stands in each access token of it (s9.1), is told to the client (s7) and by introspection (s9.2), and
// can be less for one token and never more (s6).
func TestSignInWithAuthorizationDetails(t *testing.T) {
	t.Parallel()
	const (
		first, second = `{"type":"payment","limit":{"currency":"EUR","amount":123.50}}`, `{"type":"invoice","actions":["read"]}`
		both          = "[" + first + "," + second + "]"
	)
	i := start(t)
	organization := i.organization("acme")
	_, _, token := i.signer(organization, "reader")
	p := i.relyingParty(organization, map[string]any{"audiences": []string{"svc://payments"}})
	asking := oauth2.SetAuthURLParam("authorization_details", both)

	details := func(a answer) any {
		t.Helper()
		var body struct {
			Details any `json:"authorization_details"`
		}
		i.must(a, 200).json(t, &body)
		return body.Details
	}
	same := func(what, want string, got any) {
		t.Helper()
		var expected any
		if want != "" {
			if err := json.Unmarshal([]byte(want), &expected); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(expected, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	granted := func(what, want string, a answer) string {
		t.Helper()
		same(what+": the answer", want, details(a))
		_, claims := i.verified(a.field("access_token"))
		same(what+": the access token", want, claims["authorization_details"])
		return a.field("refresh_token")
	}
	introspected := func(text string) answer {
		return p.introspect(p.oauth.ClientID, p.oauth.ClientSecret, text)
	}

	verifier := oauth2.GenerateVerifier()
	code := p.code(token, "s", verifier, asking, oauth2.SetAuthURLParam("resource", "svc://payments"))
	i.oauthRefused("more than was granted", p.redeem(code, verifier, "authorization_details", `[{"type":"payment","limit":{"currency":"EUR","amount":124}}]`), 400, "invalid_authorization_details")
	i.oauthRefused("malformed", p.redeem(code, verifier, "authorization_details", `[{}]`), 400, "invalid_authorization_details")
	narrow := i.must(p.redeem(code, verifier, "authorization_details", "["+second+"]"), 200)
	refresh := granted("a code, narrowed", "["+second+"]", narrow)
	same("introspection of the access token", "["+second+"]", details(introspected(narrow.field("access_token"))))
	same("introspection of the refresh token", both, details(introspected(refresh)))
	for action, want := range map[string]string{"sign_in.create": both, "token.issue": "[" + second + "]"} {
		same("the audit log: "+action, want, i.events(organization, action)[0].Details["authorizationDetails"])
	}

	refresh = granted("a refresh, which has all that was granted", both, p.refresh(refresh))
	refresh = granted("a refresh, narrowed", "["+first+"]", p.refresh(refresh, "authorization_details", "["+first+"]"))
	i.oauthRefused("a refresh with more", p.refresh(refresh, "authorization_details", `[{"type":"other"}]`), 400, "invalid_authorization_details")
	granted("a refresh after one that was refused", both, p.refresh(refresh))

	uri := i.must(p.push(verifier, "authorization_details", both), 201).field("request_uri")
	back, a := i.follow(p.pushed(uri, "authorization_details", `[{"type":"forged"}]`), token)
	if back == nil {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	granted("pushed", both, p.redeem(back.Query().Get("code"), verifier))

	granted("nothing asked for", "", p.signedIn(token))
	without := p.code(token, "s", verifier)
	i.oauthRefused("nothing granted", p.redeem(without, verifier, "authorization_details", both), 400, "invalid_authorization_details")

	form := url.Values{"grant_type": {"client_credentials"}}
	i.oauthRefused("a relying party by itself", p.tokens(form), 400, "unauthorized_client")
}
