package issuer_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

// initialTokenFor makes an initial access token for kinds of clients; nil are those of the default.
func (i *instance) initialTokenFor(organization string, kinds []string, change map[string]any) string {
	i.t.Helper()
	body := map[string]any{"name": "farm", "scopes": []string{"invoices:read"}, "audiences": []string{"svc://payments"}, "uses": 20}
	if kinds != nil {
		body["kinds"] = kinds
	}
	maps.Copy(body, change)
	return i.secret(i.must(i.admin("POST", "/organizations/"+organization+"/initial-access-tokens", body), 201).field("token"))
}

// partyMetadata is what a relying party says of itself; a change to nil leaves a member out.
func partyMetadata(t *testing.T, change map[string]any) string {
	t.Helper()
	body := map[string]any{"client_name": "party", "redirect_uris": []string{callback}, "grant_types": []string{"authorization_code", "refresh_token"}}
	maps.Copy(body, change)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// told is a list of a client's information, and its scope.
func (a answer) told(t *testing.T, member string) []string {
	t.Helper()
	var all map[string]any
	a.json(t, &all)
	if text, ok := all[member].(string); ok {
		return strings.Fields(text)
	}
	var list []string
	elements, _ := all[member].([]any)
	for _, e := range elements {
		text, _ := e.(string)
		list = append(list, text)
	}
	return list
}

// A relying party registers itself, agents sign in to it, it changes its registration and gives it up.
func TestRegistrationOfARelyingParty(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	initial := i.initialTokenFor(organization, []string{"relying_party"}, map[string]any{"audiences": []string{}})
	made := i.must(i.registration("POST", register, initial, partyMetadata(t, map[string]any{
		"logo_uri": "https://a.example/logo", "contacts": []string{"a"}, "software_statement": "x", "id_token_signed_response_alg": "RS256", "subject_type": "public",
	})), 201)
	id, own := made.field("client_id"), made.field("registration_access_token")
	path := register + "/" + id
	if !strings.HasPrefix(id, "cli_") || made.field("registration_client_uri") != i.url+path || made.field("logo_uri") != "" || made.field("token_endpoint_auth_method") != "client_secret_basic" ||
		made.field("id_token_signed_response_alg") != "RS256" || made.field("subject_type") != "public" || made.field("application_type") != "web" {
		t.Errorf("%s", made.body)
	}
	for member, want := range map[string][]string{
		"grant_types": {"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"}, "response_types": {"code"}, "redirect_uris": {callback},
		"scope": {"openid", "profile", "agent", "offline_access", "invoices:read"},
	} {
		if got := made.told(t, member); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", member, got, want)
		}
	}
	provider, err := oidc.NewProvider(i.withIssuer(), i.url)
	if err != nil {
		t.Fatal(err)
	}
	p := &party{i, provider, &oauth2.Config{
		ClientID: id, ClientSecret: made.field("client_secret"), Endpoint: provider.Endpoint(), RedirectURL: callback, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeOfflineAccess},
	}}
	_, _, token := i.signer(organization, "subject")
	signed := i.must(p.signedIn(token), 200)
	i.must(p.refresh(signed.field("refresh_token")), 200)
	if a := i.must(i.admin("GET", "/clients/"+id, nil), 200); !strings.Contains(string(a.body), `"pkceOptional":false`) {
		t.Errorf("%s", a.body)
	}

	read := i.must(i.registration("GET", path, own, ""), 200)
	if read.field("client_secret") != "" || read.field("registration_access_token") != own {
		t.Errorf("%s", read.body)
	}
	i.must(i.registration("PUT", path, own, string(made.body)), 200) // what it was told, sent back
	changed := i.must(i.registration("PUT", path, own, partyMetadata(t, map[string]any{
		"client_id": id, "client_name": "other", "application_type": "native", "redirect_uris": []string{"http://127.0.0.1/cb"}, "grant_types": nil, "scope": "openid",
		"token_endpoint_auth_method": "client_secret_post", "require_pushed_authorization_requests": true, "dpop_bound_access_tokens": true,
	})), 200)
	for member, want := range map[string][]string{
		"grant_types": {"authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"}, "redirect_uris": {"http://127.0.0.1/cb"}, "scope": {"openid", "profile", "agent"},
	} {
		if got := changed.told(t, member); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", member, got, want)
		}
	}
	if changed.field("client_name") != "other" || changed.field("token_endpoint_auth_method") != "client_secret_post" || !strings.Contains(string(changed.body), `"require_pushed_authorization_requests":true`) {
		t.Errorf("%s", changed.body)
	}
	for what, change := range map[string]map[string]any{
		"another id":       {"client_id": "cli_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f"},
		"a scope":          {"scope": "admin"},
		"another secret":   {"client_secret": "aidp_mine"},
		"no authenticaton": {"token_endpoint_auth_method": "none"},
		"a key instead":    {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://a.example/keys"},
		"an agent":         {"grant_types": []string{"client_credentials"}, "redirect_uris": nil},
	} {
		if a := i.registration("PUT", path, own, partyMetadata(t, mergedWith(map[string]any{"client_id": id}, change))); a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" {
			t.Errorf("%s: %s %s", what, a.Status, a.body)
		}
	}
	agent := i.must(i.registration("POST", register, i.initialTokenFor(organization, nil, nil), `{"client_name":"a","grant_types":["client_credentials"]}`), 201)
	i.must(i.registration("GET", path, agent.field("registration_access_token"), ""), 401)
	i.must(i.registration("GET", register+"/"+agent.field("client_id"), own, ""), 401)
	i.must(i.registration("DELETE", path, own, ""), 204)
	i.must(i.registration("GET", path, own, ""), 401)
	i.must(i.admin("GET", "/clients/"+id, nil), 404)
	for _, action := range []string{"client.register", "client.delete"} {
		if got := i.actions(organization, "&target="+id+"&action="+action); len(got) != 1 {
			t.Errorf("%s: %v", action, got)
		}
	}
}

func mergedWith(a, b map[string]any) map[string]any {
	merged := maps.Clone(a)
	maps.Copy(merged, b)
	return merged
}

// A token registers the kinds of clients it names, an agent when it names none, and nothing else of anybody.
func TestRegistrationOfKinds(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	i.organization("other")
	const agent = `{"client_name":"%","grant_types":["client_credentials"]}`
	refused := func(what, path, token, body, code string) {
		t.Helper()
		if a := i.registration("POST", path, token, body); a.StatusCode < 400 || a.field("error") != code {
			t.Errorf("%s: %s %s, want %s", what, a.Status, a.body, code)
		}
	}
	refused("a relying party with the token of agents", register, i.initialTokenFor(organization, nil, nil), partyMetadata(t, nil), "invalid_client_metadata")
	parties := i.initialTokenFor(organization, []string{"relying_party"}, nil)
	refused("an agent with the token of relying parties", register, parties, agent, "invalid_client_metadata")
	refused("another organization's issuer", "/o/other"+register, parties, partyMetadata(t, nil), "invalid_token")
	for what, tt := range map[string]struct {
		change map[string]any
		code   string
	}{
		"no name":             {map[string]any{"client_name": nil}, "invalid_client_metadata"},
		"both kinds":          {map[string]any{"grant_types": []string{"authorization_code", "client_credentials"}}, "invalid_client_metadata"},
		"another grant":       {map[string]any{"grant_types": []string{"authorization_code", "implicit"}}, "invalid_client_metadata"},
		"another response":    {map[string]any{"response_types": []string{"code", "id_token"}}, "invalid_client_metadata"},
		"a scope":             {map[string]any{"scope": "openid invoices:write"}, "invalid_client_metadata"},
		"ID tokens by HMAC":   {map[string]any{"id_token_signed_response_alg": "HS256"}, "invalid_client_metadata"},
		"pairwise":            {map[string]any{"subject_type": "pairwise"}, "invalid_client_metadata"},
		"a secret":            {map[string]any{"client_secret": "mine"}, "invalid_client_metadata"},
		"no such method":      {map[string]any{"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"},
		"keys it has not":     {map[string]any{"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"},
		"exchange by nobody":  {map[string]any{"token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"}}, "invalid_client_metadata"},
		"no redirect":         {map[string]any{"redirect_uris": nil}, "invalid_redirect_uri"},
		"a redirect anywhere": {map[string]any{"redirect_uris": []string{"https://a.example/*"}}, "invalid_redirect_uri"},
		"a redirect to us":    {map[string]any{"redirect_uris": []string{"https://a.example/cb?state=x"}}, "invalid_redirect_uri"},
		"a redirect to http":  {map[string]any{"redirect_uris": []string{"http://a.example/"}}, "invalid_redirect_uri"},
	} {
		refused(what, register, parties, partyMetadata(t, tt.change), tt.code)
	}
	both := i.initialTokenFor(organization, []string{"agent", "relying_party"}, map[string]any{"uses": 2})
	i.must(i.registration("POST", "/o/acme"+register, both, partyMetadata(t, map[string]any{"client_name": "a", "application_type": "native", "redirect_uris": []string{"http://localhost/cb", "http://127.0.0.1:1/cb", "com.example.app:/cb"}})), 201)
	i.must(i.registration("POST", register, both, strings.Replace(agent, "%", "a", 1)), 201) // names are of their kind
	refused("a third", register, both, partyMetadata(t, map[string]any{"client_name": "b"}), "invalid_token")
	for body, want := range map[string][2]string{
		`{"name":"a","audiences":["svc://a"],"kinds":[]}`:                {"kind_unknown", "/kinds"},
		`{"name":"a","audiences":["svc://a"],"kinds":["user"]}`:          {"kind_unknown", "/kinds/0"},
		`{"name":"a","audiences":["svc://a"],"kinds":["agent","agent"]}`: {"duplicate_entry", "/kinds/1"},
		`{"name":"a","kinds":["relying_party","agent"]}`:                 {"audiences_count", "/audiences"},
	} {
		i.refused(i.admin("POST", "/organizations/"+organization+"/initial-access-tokens", body), 400, want[0], want[1])
	}
}

// A relying party proves itself by its own key, which it replaces by itself; one without a credential has nothing to replace.
func TestRegistrationOfARelyingPartyWithKeys(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	initial := i.initialTokenFor(organization, []string{"relying_party"}, map[string]any{"secretLifetimeSeconds": 3600})
	key, next := newHolder(t, jose4.ES256), newHolder(t, jose4.ES256)
	made := i.must(i.registration("POST", register, initial, partyMetadata(t, map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(t, key)})), 201)
	id, own := made.field("client_id"), made.field("registration_access_token")
	asks := func(with holder) int {
		return i.tokenQuestion("/oauth2/introspect", "", "", url.Values{"token": {"x"}, "client_assertion_type": {jwtBearer}, "client_assertion": {with.assertion(t, id, i.url)}}).StatusCode
	}
	if asks(key) != 200 || asks(next) != 401 {
		t.Error("the registered key is not the one that counts")
	}
	i.must(i.registration("PUT", register+"/"+id, own, partyMetadata(t, map[string]any{"client_id": id, "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(t, next)})), 200)
	if asks(key) != 401 || asks(next) != 200 {
		t.Error("the key was not replaced")
	}
	if got := i.actions(organization, "&action=credential.rotate"); len(got) != 1 {
		t.Errorf("%v", got)
	}

	public := i.must(i.registration("POST", register, initial, partyMetadata(t, map[string]any{"client_name": "public", "token_endpoint_auth_method": "none"})), 201)
	if public.field("client_secret") != "" || strings.Contains(string(public.body), "expires_at") || !slices.Equal(public.told(t, "grant_types"), []string{"authorization_code", "refresh_token"}) {
		t.Errorf("%s", public.body)
	}
	i.must(i.registration("PUT", register+"/"+public.field("client_id"), public.field("registration_access_token"), string(public.body)), 200)

	kept := i.must(i.registration("POST", register, initial, partyMetadata(t, map[string]any{"client_name": "kept"})), 201)
	lost := i.must(i.registration("PUT", register+"/"+kept.field("client_id"), kept.field("registration_access_token"), partyMetadata(t, map[string]any{"client_name": "kept", "client_id": kept.field("client_id")})), 200)
	if secret := lost.field("client_secret"); secret == "" || secret == kept.field("client_secret") {
		t.Errorf("a secret that was lost is not renewed: %s", lost.body)
	}
}
