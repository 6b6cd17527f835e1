package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jose4 "github.com/go-jose/go-jose/v4"

	"github.com/agentidp/agentidp/issuer"
)

// initialToken makes an initial access token for svc://payments and two scopes.
func (i *instance) initialToken(organization string, uses int) (id, token string) {
	i.t.Helper()
	var made struct {
		InitialAccessToken struct{ ID string }
		Token              string
	}
	i.must(i.admin("POST", "/organizations/"+organization+"/initial-access-tokens", map[string]any{
		"name": "farm", "scopes": []string{"invoices:read", "invoices:write"}, "audiences": []string{"svc://payments"}, "uses": uses,
	}), 201).json(i.t, &made)
	return made.InitialAccessToken.ID, i.secret(made.Token)
}

// registration calls an endpoint of RFC 7591 or RFC 7592; token "" sends none.
func (i *instance) registration(method, path, token, body string) answer {
	i.t.Helper()
	contentType := "application/json"
	if body == "" {
		contentType = ""
	}
	r := i.request(method, path, contentType, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a := i.do(r)
	i.secret(a.field("client_secret"))
	i.secret(a.field("registration_access_token"))
	return a
}

const register = "/oauth2/register"

// An agent registers itself, gets a token, changes and gives up its registration.
func TestRegistration(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, initial := i.initialToken(organization, 10)
	made := i.must(i.registration("POST", register, initial, `{"client_name":"reader","grant_types":["client_credentials"],"scope":"invoices:read","software_id":"x"}`), 201)
	id, secret, own := made.field("client_id"), made.field("client_secret"), made.field("registration_access_token")
	path := register + "/" + id
	if made.field("registration_client_uri") != i.url+path || made.Header.Get("Cache-Control") != "no-store" || !strings.Contains(string(made.body), `"client_secret_expires_at":0`) {
		t.Errorf("%s %v", made.body, made.Header)
	}
	_, claims := i.verified(i.token(id, secret))
	if claims["scope"] != "invoices:read" || claims["aud"] != "svc://payments" || claims["org_id"] != organization {
		t.Errorf("%v", claims)
	}
	read := i.must(i.registration("GET", path, own, ""), 200)
	if read.field("client_name") != "reader" || read.field("client_secret") != "" || read.field("registration_access_token") != own || read.field("token_endpoint_auth_method") != "client_secret_basic" {
		t.Errorf("%s", read.body)
	}
	changed := i.must(i.registration("PUT", path, own, `{"client_id":"`+id+`","client_name":"writer","grant_types":["client_credentials"],"dpop_bound_access_tokens":true}`), 200)
	if changed.field("client_name") != "writer" || changed.field("scope") != "invoices:read invoices:write" || !strings.Contains(string(changed.body), `"dpop_bound_access_tokens":true`) {
		t.Errorf("%s", changed.body)
	}
	for _, body := range []string{
		`{"client_name":"x","grant_types":["client_credentials"]}`,
		`{"client_id":"` + id + `x","client_name":"x","grant_types":["client_credentials"]}`,
		`{"client_id":"` + id + `","client_name":"x","grant_types":["client_credentials"],"scope":"admin"}`,
		`{"client_id":"` + id + `","client_name":"x","grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://a.example/k"}`,
		`{"client_id":"` + id + `","client_name":"x","grant_types":["client_credentials"],"client_secret":"aidp_mine"}`,
	} {
		if a := i.registration("PUT", path, own, body); a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" {
			t.Errorf("%s: %s %s", body, a.Status, a.body)
		}
	}
	other := i.must(i.registration("POST", register, initial, `{"client_name":"other","grant_types":["client_credentials"]}`), 201)
	for what, token := range map[string]string{"nobody": "", "another client": other.field("registration_access_token"), "the initial token": initial, "an administrator": adminToken, "nonsense": "x", "the secret": secret} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			a := i.registration(method, path, token, "")
			if a.StatusCode != 401 || a.field("error") != "invalid_token" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s by %s: %s %s", method, what, a.Status, a.body)
			}
		}
	}
	i.must(i.registration("DELETE", path, own, ""), 204)
	i.awaitRevoked(claims)
	i.must(i.registration("GET", path, own, ""), 401)
	i.must(i.registration("DELETE", path, own, ""), 401)
	i.must(i.tokenRequest(id, secret, url.Values{"grant_type": {"client_credentials"}}), 401)
	if got := i.actions(organization, "&target="+id+"&action=agent.register"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// What is wrong is said in the words of the RFCs, which are the client's.
func TestRegistrationErrorsNameMembers(t *testing.T) {
	t.Parallel()
	root := certify(t, nil, authority("root"))
	i := start(t, func(c *issuer.Config) { c.TLS.ClientCA = root.file(t) })
	_, initial := i.initialToken(i.organization("acme"), 10)
	for body, want := range map[string]string{
		`"token_endpoint_auth_method":"private_key_jwt"`:                                       "give exactly one of jwks, jwks_uri.",
		`"token_endpoint_auth_method":"self_signed_tls_client_auth"`:                           "give exactly one of jwks, jwks_uri.",
		`"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://a.example/k"`:       "jwks_uri: must be an https URL",
		`"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"RSA"}]}`:       "jwks",
		`"token_endpoint_auth_method":"tls_client_auth"`:                                       "give exactly one of tls_client_auth_subject_dn, tls_client_auth_san_dns, tls_client_auth_san_uri, tls_client_auth_san_ip, tls_client_auth_san_email.",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_ip":"1"`:          "tls_client_auth_san_ip: ",
		`"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_subject_dn":"x"`:      "tls_client_auth_subject_dn: ",
		`"token_endpoint_auth_method":"private_key_jwt","tls_client_auth_san_dns":"a.example"`: "tls_client_auth_san_dns: ",
		`"client_name":"` + strings.Repeat("x", 101) + `"`:                                     "client_name: ",
	} {
		sent := `{"grant_types":["client_credentials"],` + body
		if !strings.Contains(body, "client_name") {
			sent += `,"client_name":"x"`
		}
		a := i.registration("POST", register, initial, sent+"}")
		if a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" || !strings.Contains(a.field("error_description"), want) {
			t.Errorf("%s: %s %s, want %s", body, a.Status, a.body, want)
		}
	}
}

// Keys at an address that the issuer never asks are refused where they are registered, and not for ever after; an operator may have it ask anywhere.
func TestKeysAtPrivateAddresses(t *testing.T) {
	t.Parallel()
	for _, anywhere := range []bool{false, true} {
		i := start(t, func(c *issuer.Config) { c.ClientKeys.AllowPrivate = anywhere })
		organization := i.organization("acme")
		agent := i.agent(organization, "a")
		_, initial := i.initialToken(organization, 10)
		for n, where := range []string{"https://10.0.0.1/k", "https://[::1]/k", "https://[::ffff:127.0.0.1]/k", "https://8.8.8.8:22/k", "https://8.8.8.8/k", "https://localhost/k"} {
			want := anywhere || n >= 4 // where a name leads is not known yet
			a := i.registration("POST", register, initial, fmt.Sprintf(`{"client_name":"k%d","grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"%s"}`, n, where))
			if want != (a.StatusCode == 201) || !want && (a.field("error") != "invalid_client_metadata" || !strings.HasPrefix(a.field("error_description"), "jwks_uri: ")) {
				t.Errorf("%s, anywhere %v: %s %s", where, anywhere, a.Status, a.body)
			}
			if !want {
				i.refused(i.admin("POST", "/agents/"+agent+"/credentials", fmt.Sprintf(`{"kind":"private_key_jwt","registration":{"jwksUri":"%s"}}`, where)), 400, "jwks_uri_unreachable", "/registration/jwksUri")
			}
		}
	}
}

// The door is open as often and as long as its token says, for its organization, and no wider.
func TestInitialAccessTokens(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	i.organization("other")
	const body = `{"client_name":"%","grant_types":["client_credentials"]}`
	named := func(name string) string { return strings.Replace(body, "%", name, 1) }
	id, initial := i.initialToken(organization, 2)
	refused := func(what, path, token, body, code string) {
		t.Helper()
		a := i.registration("POST", path, token, body)
		status := 400
		if code == "invalid_token" {
			status = 401
		}
		if a.StatusCode != status || a.field("error") != code {
			t.Errorf("%s: %s %s, want %s", what, a.Status, a.body, code)
		}
	}
	for _, token := range []string{"", "x", adminToken, initial[:len(initial)-1], initial + "A", strings.Replace(initial, "register", "registration", 1), initial[:len(initial)-4] + "AAAA"} {
		refused("token", register, token, named("a"), "invalid_token")
	}
	for what, bad := range map[string]string{
		"a scope of somebody else":  `{"client_name":"a","grant_types":["client_credentials"],"scope":"admin"}`,
		"a grant for sign-ins":      `{"client_name":"a","grant_types":["authorization_code"],"redirect_uris":["https://a.example/"]}`,
		"not the grant of an agent": `{"client_name":"a","grant_types":["urn:ietf:params:oauth:grant-type:token-exchange"]}`,
		"a grant that is not one":   `{"client_name":"a","grant_types":["client_credentials","password"]}`,
		"two grants":                `{"client_name":"a","grant_types":["client_credentials","refresh_token"]}`,
		"no name":                   `{"grant_types":["client_credentials"]}`,
		"a name that cannot be":     `{"client_name":" a","grant_types":["client_credentials"]}`,
		"a method that is not one":  `{"client_name":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"none"}`,
		"a method that is not ours": `{"client_name":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_jwt"}`,
		"keys it does not have":     `{"client_name":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt"}`,
		"an id of its own":          `{"client_id":"agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f","client_name":"a","grant_types":["client_credentials"]}`,
		"a secret of its own":       `{"client_secret":"s","client_name":"a","grant_types":["client_credentials"]}`,
		"no JSON":                   `client_name=a`,
		"a member twice":            `{"client_name":"a","client_name":"b","grant_types":["client_credentials"]}`,
		"keys without TLS":          `{"client_name":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://127.0.0.1/"}`,
	} {
		refused(what, register, initial, bad, "invalid_client_metadata")
	}
	refused("the default grant", register, initial, `{"client_name":"a"}`, "invalid_redirect_uri")
	refused("a redirect", register, initial, `{"client_name":"a","grant_types":["client_credentials"],"redirect_uris":["https://a.example/"]}`, "invalid_redirect_uri")
	refused("another organization's issuer", "/o/other"+register, initial, named("a"), "invalid_token")

	i.must(i.registration("POST", register, initial, named("first")), 201)
	refused("a name that is taken", register, initial, named("first"), "invalid_client_metadata")
	at := i.must(i.registration("POST", "/o/acme"+register, initial, named("second")), 201)
	if at.field("registration_client_uri") != i.url+"/o/acme"+register+"/"+at.field("client_id") {
		t.Errorf("%s", at.body)
	}
	i.must(i.registration("GET", "/o/acme"+register+"/"+at.field("client_id"), at.field("registration_access_token"), ""), 200)
	refused("a third", register, initial, named("third"), "invalid_token")
	listed := i.must(i.admin("GET", "/organizations/"+organization+"/initial-access-tokens", nil), 200)
	if strings.Contains(string(listed.body), "aidp_") || !strings.Contains(string(listed.body), `"uses":2,"usesMax":2`) {
		t.Errorf("%s", listed.body)
	}
	path := "/organizations/" + organization + "/initial-access-tokens"
	i.must(i.admin("DELETE", path+"/"+id, nil), 204)
	i.refused(i.admin("DELETE", path+"/"+id, nil), 404, "initial_access_token_not_found", "")
	for body, want := range map[string][2]string{
		`{"name":"a"}`:                                                           {"audiences_count", "/audiences"},
		`{"audiences":["svc://a"]}`:                                              {"name_length", "/name"},
		`{"name":"a","audiences":["svc://a"],"uses":0}`:                          {"out_of_range", "/uses"},
		`{"name":"a","audiences":["svc://a"],"uses":9223372036854775807}`:        {"out_of_range", "/uses"},
		`{"name":"a","audiences":["svc://a"],"lifetimeSeconds":59}`:              {"out_of_range", "/lifetimeSeconds"},
		`{"name":"a","audiences":["svc://a"],"lifetimeSeconds":7776001}`:         {"out_of_range", "/lifetimeSeconds"},
		`{"name":"a","audiences":["svc://a"],"secretLifetimeSeconds":59}`:        {"out_of_range", "/secretLifetimeSeconds"},
		`{"name":"a","audiences":["svc://a"],"secretLifetimeSeconds":315360001}`: {"out_of_range", "/secretLifetimeSeconds"},
		`{"name":"a","audiences":["svc://a"],"scopes":["a b"]}`:                  {"scope_format", "/scopes/0"},
	} {
		i.refused(i.admin("POST", path, body), 400, want[0], want[1])
	}
}

// The method that a client registered is the one it reads again, and it may take the other one of its secret.
func TestRegistrationKeepsTheMethod(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, initial := i.initialToken(organization, 1)
	made := i.must(i.registration("POST", register, initial, `{"client_name":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_post"}`), 201)
	id, own := made.field("client_id"), made.field("registration_access_token")
	is := func(a answer, want string) {
		t.Helper()
		if got := i.must(a, 200).field("token_endpoint_auth_method"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	is(i.registration("GET", register+"/"+id, own, ""), "client_secret_post")
	update := func(method string) answer {
		return i.registration("PUT", register+"/"+id, own, `{"client_id":"`+id+`","client_name":"a","grant_types":["client_credentials"]`+method+`}`)
	}
	is(update(`,"token_endpoint_auth_method":"client_secret_post"`), "client_secret_post")
	is(update(``), "client_secret_basic") // RFC 7592 s2.2: what is not said has its default
	is(i.registration("GET", register+"/"+id, own, ""), "client_secret_basic")
	is(update(`,"token_endpoint_auth_method":"client_secret_post"`), "client_secret_post")
	// An administrator replaces the secret: the method is still the client's.
	var credentials struct{ Credentials []struct{ ID string } }
	i.must(i.admin("GET", "/agents/"+id+"/credentials", nil), 200).json(t, &credentials)
	i.must(i.admin("POST", "/agents/"+id+"/credentials/"+credentials.Credentials[0].ID+"/rotate", map[string]any{"overlapSeconds": 60}), 201)
	i.must(i.admin("DELETE", "/agents/"+id+"/credentials/"+credentials.Credentials[0].ID, nil), 204)
	is(i.registration("GET", register+"/"+id, own, ""), "client_secret_post")
	i.must(i.admin("GET", "/agents/"+id+"/credentials", nil), 200).json(t, &credentials)
	i.must(i.admin("DELETE", "/agents/"+id+"/credentials/"+credentials.Credentials[0].ID, nil), 204)
	is(i.registration("GET", register+"/"+id, own, ""), "")
	if got := i.actions(organization, "&target="+id+"&action=agent.update"); len(got) < 5 {
		t.Errorf("%v", got)
	}
}

// An agent may name the grants it means to use; those in force are all that agents use, whatever it names.
func TestRegistrationOfGrants(t *testing.T) {
	t.Parallel()
	i := start(t)
	_, initial := i.initialToken(i.organization("acme"), 10)
	const exchange, bearer = "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for n, asked := range [][]string{{"client_credentials"}, {exchange, "client_credentials"}, {"client_credentials", exchange, bearer}} {
		text, err := json.Marshal(asked)
		if err != nil {
			t.Fatal(err)
		}
		body := `"client_name":"a` + strconv.Itoa(n) + `","grant_types":` + string(text) + `}`
		made := i.must(i.registration("POST", register, initial, "{"+body), 201)
		id, own := made.field("client_id"), made.field("registration_access_token")
		for _, a := range []answer{
			made, i.must(i.registration("GET", register+"/"+id, own, ""), 200), i.must(i.registration("PUT", register+"/"+id, own, `{"client_id":"`+id+`",`+body), 200),
		} {
			var got struct {
				GrantTypes []string `json:"grant_types"`
			}
			a.json(t, &got)
			if !slices.Equal(got.GrantTypes, []string{"client_credentials", bearer, exchange}) {
				t.Errorf("%v: %v", asked, got.GrantTypes)
			}
		}
		// In force: the request is wrong, the grant is not refused.
		for _, grant := range []string{exchange, bearer} {
			if a := i.tokenRequest(id, made.field("client_secret"), url.Values{"grant_type": {grant}}); a.field("error") != "invalid_request" {
				t.Errorf("%s: %s", grant, a.body)
			}
		}
	}
}

// A client may send its secret back with the rest of what it was told, and any other is refused (RFC 7592 s2.2).
func TestRegistrationSentBack(t *testing.T) {
	t.Parallel()
	i := start(t)
	_, initial := i.initialToken(i.organization("acme"), 10)
	made := i.must(i.registration("POST", register, initial, `{"client_name":"a","grant_types":["client_credentials"]}`), 201)
	other := i.must(i.registration("POST", register, initial, `{"client_name":"b","grant_types":["client_credentials"]}`), 201)
	path, own := register+"/"+made.field("client_id"), made.field("registration_access_token")
	i.must(i.registration("PUT", path, own, string(made.body)), 200)
	for _, secret := range []any{other.field("client_secret"), made.field("client_secret") + "A", "", 1, strings.Repeat("a", 1<<12)} {
		var told map[string]any
		made.json(t, &told)
		told["client_secret"] = secret
		body, err := json.Marshal(told)
		if err != nil {
			t.Fatal(err)
		}
		if a := i.registration("PUT", path, own, string(body)); a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" {
			t.Errorf("%v: %s %s", secret, a.Status, a.body)
		}
	}
}

// Secrets of a registration end when the initial access token says so, and the client gets the next one by itself.
func TestRegistrationRenewsSecrets(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the clock, from the wall's
	i := startAt(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	organization := i.organization("acme")
	initial := i.secret(i.must(i.admin("POST", "/organizations/"+organization+"/initial-access-tokens", map[string]any{
		"name": "farm", "audiences": []string{"svc://payments"}, "secretLifetimeSeconds": 86400,
	}), 201).field("token"))
	began := time.Now()
	made := i.must(i.registration("POST", register, initial, `{"client_name":"a","grant_types":["client_credentials"]}`), 201)
	id, own, first := made.field("client_id"), made.field("registration_access_token"), made.field("client_secret")
	expires := func(a answer) time.Duration {
		var told struct {
			ExpiresAt int64 `json:"client_secret_expires_at"`
		}
		a.json(t, &told)
		return time.Unix(told.ExpiresAt, 0).Sub(began).Round(time.Hour)
	}
	update := func(secret string) answer {
		t.Helper()
		if secret != "" {
			secret = `,"client_secret":"` + secret + `"`
		}
		return i.must(i.registration("PUT", register+"/"+id, own, `{"client_id":"`+id+`","client_name":"a","grant_types":["client_credentials"]`+secret+`}`), 200)
	}
	works := func(secret string, status int) {
		t.Helper()
		var a answer
		await(t, "keys sign at the new time", func() bool {
			a = i.tokenRequest(id, secret, url.Values{"grant_type": {"client_credentials"}})
			return a.StatusCode != 503
		})
		i.must(a, status)
	}
	if got := expires(made); got != 24*time.Hour {
		t.Errorf("it ends after %v", got)
	}
	if a := update(first); a.field("client_secret") != "" || expires(a) != 24*time.Hour {
		t.Errorf("a secret that is there was replaced: %s", a.body)
	}
	// The client lost the answer: the secret nobody has used ends.
	second := update("").field("client_secret")
	works(first, 401)
	works(second, 200)
	if a := update(""); a.field("client_secret") != "" {
		t.Errorf("a secret in use was replaced in the first half of its life: %s", a.body)
	}
	ahead.Store(int64(13 * time.Hour))
	renewed := update(second)
	third := renewed.field("client_secret")
	if third == "" || expires(renewed) != 37*time.Hour || expires(i.must(i.registration("GET", register+"/"+id, own, ""), 200)) != 37*time.Hour {
		t.Errorf("%s", renewed.body)
	}
	works(second, 200)
	works(third, 200)
	ahead.Store(int64(14*time.Hour + time.Minute))
	works(second, 401)
	ahead.Store(int64(40 * time.Hour))
	works(third, 401)
	works(update("").field("client_secret"), 200)
	if got := i.actions(organization, "&action=credential.rotate"); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := i.actions(organization, "&action=credential.create"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// An agent that registers with its key proves itself with it, and replaces it by itself.
func TestRegistrationWithKeys(t *testing.T) {
	t.Parallel()
	i := start(t)
	organization := i.organization("acme")
	_, initial := i.initialToken(organization, 1)
	key, next := newHolder(t, jose4.ES256), newHolder(t, jose4.EdDSA)
	metadata := map[string]any{"client_name": "keyed", "grant_types": []string{"client_credentials"}, "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks(t, key)}
	send := func(method, path, token string, change map[string]any) answer {
		t.Helper()
		body := maps.Clone(metadata)
		maps.Copy(body, change)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return i.registration(method, path, token, string(text))
	}
	made := i.must(send("POST", register, initial, nil), 201)
	if made.field("client_secret") != "" || strings.Contains(string(made.body), "expires_at") || !strings.Contains(string(made.body), key.kid) {
		t.Errorf("%s", made.body)
	}
	id, own := made.field("client_id"), made.field("registration_access_token")
	path := register + "/" + id
	metadata["client_id"] = id
	proven := func(with holder, status int) answer {
		t.Helper()
		return i.must(i.tokenRequest("", "", url.Values{
			"grant_type": {"client_credentials"}, "client_assertion_type": {jwtBearer}, "client_assertion": {with.assertion(t, id, i.url)},
		}), status)
	}
	first := proven(key, 200)
	if a := i.must(send("PUT", path, own, map[string]any{"client_name": "renamed"}), 200); a.field("client_name") != "renamed" {
		t.Errorf("%s", a.body)
	}
	rotations := func() int { return len(i.actions(organization, "&action=credential.rotate")) }
	if rotations() != 0 {
		t.Error("the same key is no new one")
	}
	for what, change := range map[string]map[string]any{
		"no keys":           {"jwks": nil},
		"both":              {"jwks_uri": "https://a.example/keys"},
		"a URL without TLS": {"jwks": nil, "jwks_uri": "http://a.example/keys"},
		"a secret instead":  {"jwks": nil, "token_endpoint_auth_method": "client_secret_basic"},
		"no key in it":      {"jwks": map[string]any{"keys": []any{}}},
		"an RS256 key":      {"jwks": jwks(t, newHolder(t, jose4.RS256))},
	} {
		change["client_name"] = "changed"
		if a := send("PUT", path, own, change); a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" {
			t.Errorf("%s: %s %s", what, a.Status, a.body)
		}
	}
	if a := i.must(i.registration("GET", path, own, ""), 200); a.field("client_name") != "renamed" || !strings.Contains(string(a.body), key.kid) {
		t.Errorf("what was refused is in force: %s", a.body)
	}
	i.must(send("PUT", path, own, map[string]any{"jwks": jwks(t, key, next)}), 200) // an overlap, if the client wants one
	proven(key, 200)
	proven(next, 200)
	for range 2 { // the answer may have been lost
		if a := i.must(send("PUT", path, own, map[string]any{"jwks": jwks(t, next)}), 200); strings.Contains(string(a.body), key.kid) {
			t.Errorf("%s", a.body)
		}
	}
	proven(key, 401)
	proven(next, 200)
	if rotations() != 2 {
		t.Errorf("%d rotations", rotations())
	}
	if a := i.tokenQuestion("/oauth2/introspect", "", "", url.Values{
		"token": {first.field("access_token")}, "client_assertion_type": {jwtBearer}, "client_assertion": {next.assertion(t, id, i.url)},
	}); !strings.Contains(string(a.body), `"active":true`) {
		t.Errorf("a token died with the key it was asked for with: %s", a.body)
	}
	if a := i.must(send("PUT", path, own, map[string]any{"jwks": nil, "jwks_uri": "https://keys.example/jwks"}), 200); a.field("jwks_uri") != "https://keys.example/jwks" {
		t.Errorf("%s", a.body)
	}
}

// An agent that registers a name of its certificate proves itself with the certificate, whichever of RFC 8705 s2.1.2 it is.
func TestRegistrationWithCertificates(t *testing.T) {
	t.Parallel()
	root := certify(t, nil, authority("root"))
	i := start(t, func(c *issuer.Config) { c.TLS.ClientCA = root.file(t) })
	_, initial := i.initialToken(i.organization("acme"), 10)
	for member, tt := range map[string]struct {
		name, refused string
		certificate   func(*x509.Certificate)
	}{
		"subject_dn": {"CN=a", "a", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "a"} }},
		"san_dns":    {"a.example", "*.example", func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} }},
		"san_uri":    {"https://a.example/x", "a", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "https", Host: "a.example", Path: "/x"}} }},
		"san_ip":     {"2001:db8::1", "2001:DB8:0:0::1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("2001:db8::1")} }},
		"san_email":  {"a@a.example", strings.Repeat("a", 600), func(c *x509.Certificate) { c.EmailAddresses = []string{"a@a.example"} }},
	} {
		body := func(name string) string {
			return `"client_name":"` + member + `","grant_types":["client_credentials"],"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_` + member + `":"` + name + `"}`
		}
		if a := i.registration("POST", register, initial, "{"+body(tt.refused)); a.StatusCode != 400 || a.field("error") != "invalid_client_metadata" {
			t.Errorf("%s: %s %s", member, a.Status, a.body)
		}
		made := i.must(i.registration("POST", register, initial, "{"+body(tt.name)), 201)
		id, own := made.field("client_id"), made.field("registration_access_token")
		read := i.must(i.registration("GET", register+"/"+id, own, ""), 200)
		if read.field("tls_client_auth_"+member) != tt.name || read.field("token_endpoint_auth_method") != "tls_client_auth" {
			t.Errorf("%s: %s", member, read.body)
		}
		i.must(i.registration("PUT", register+"/"+id, own, `{"client_id":"`+id+`",`+body(tt.name)), 200)
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}}
		i.must(i.by(certify(t, root, tt.certificate), form), 200)
		i.must(i.by(certify(t, root, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "b"} }), form), 401)
	}
}
