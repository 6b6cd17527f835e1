package clientmetadata

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
)

func TestParse(t *testing.T) {
	t.Parallel()
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	jwk := string(key.PublicJWK())
	for name, tt := range map[string]struct {
		doc  string
		want Metadata
	}{
		"the least": {
			`{"redirect_uris":["https://a.example/cb"]}`,
			Metadata{ApplicationType: Web, RedirectURIs: []string{"https://a.example/cb"}, GrantTypes: []string{AuthorizationCode}, ResponseTypes: []string{ResponseCode}},
		},
		"for itself": {
			`{"grant_types":["client_credentials"],"scope":"b a b","client_name":"A","jwks":{"keys":[` + jwk + `]},"token_endpoint_auth_method":"private_key_jwt"}`,
			Metadata{ApplicationType: Web, Name: "A", GrantTypes: []string{ClientCredentials}, Scopes: []string{"b", "a"}, Authentication: "private_key_jwt"},
		},
		"everything": {
			`{"client_id":"c","application_type":"native","redirect_uris":["http://127.0.0.1/cb","http://localhost/cb","http://[::1]:80/","com.example.app:/cb"],
				"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"jwks_uri":"https://a.example/keys","client_secret":"s",
				"require_pushed_authorization_requests":true,"dpop_bound_access_tokens":true,"tls_client_certificate_bound_access_tokens":true,
				"tls_client_auth_subject_dn":"CN=a","tls_client_auth_san_dns":"a.example","tls_client_auth_san_uri":"spiffe://a/b","tls_client_auth_san_ip":"192.0.2.1","tls_client_auth_san_email":"a@a.example"}`,
			Metadata{
				ClientID: "c", ApplicationType: Native, RedirectURIs: []string{"http://127.0.0.1/cb", "http://localhost/cb", "http://[::1]:80/", "com.example.app:/cb"},
				GrantTypes: []string{AuthorizationCode, RefreshToken}, ResponseTypes: []string{ResponseCode}, KeysURI: "https://a.example/keys", HasSecret: true, Secret: new("s"),
				RequirePushed: true, RequireDPoP: true, BoundByTLS: true, SubjectDN: "CN=a", SubjectDNS: "a.example", SubjectURI: "spiffe://a/b",
				SubjectIP: "192.0.2.1", SubjectEmail: "a@a.example",
			},
		},
		"unknown members are left out, null is absent": {
			`{"redirect_uris":["https://a.example/cb"],"client_name#de":"x","x":{"y":[1]},"scope":null,"jwks":null,"logo_uri":"javascript:1"}`,
			Metadata{ApplicationType: Web, RedirectURIs: []string{"https://a.example/cb"}, GrantTypes: []string{AuthorizationCode}, ResponseTypes: []string{ResponseCode}},
		},
	} {
		got, err := Parse([]byte(tt.doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(&tt.want, got, cmpopts.IgnoreFields(Metadata{}, "Keys", "KeysDocument")); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if strings.Contains(tt.doc, `"keys"`) {
			if _, ok := got.Keys.Lookup(key.ID()); !ok {
				t.Errorf("%s: the key is gone", name)
			}
		}
	}
}

// Each refusal has the code of RFC 7591 s3.2.2 and says nothing of what was sent.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const redirect = `"redirect_uris":["https://a.example/cb"]`
	for doc, code := range map[string]oauth.Code{
		`{`:                 oauth.InvalidClientMetadata,
		`[]`:                oauth.InvalidClientMetadata,
		`{"a":1,"a":2}`:     oauth.InvalidClientMetadata,
		`{} {}`:             oauth.InvalidClientMetadata,
		`{"client_name":1}`: oauth.InvalidClientMetadata,
		`{` + redirect + `,"client_name":"canary\u0000"}`:                        oauth.InvalidClientMetadata,
		`{` + redirect + `,"application_type":"canary"}`:                         oauth.InvalidClientMetadata,
		`{` + redirect + `,"scope":"a  canary"}`:                                 oauth.InvalidClientMetadata,
		`{` + redirect + `,"response_types":["canary"]}`:                         oauth.InvalidClientMetadata,
		`{` + redirect + `,"response_types":[]}`:                                 oauth.InvalidClientMetadata,
		`{` + redirect + `,"response_types":["token"]}`:                          oauth.InvalidClientMetadata,
		`{"grant_types":["client_credentials"],"response_types":["code"]}`:       oauth.InvalidClientMetadata,
		`{"grant_types":"canary"}`:                                               oauth.InvalidClientMetadata,
		`{"grant_types":[1]}`:                                                    oauth.InvalidClientMetadata,
		`{` + redirect + `,"dpop_bound_access_tokens":"true"}`:                   oauth.InvalidClientMetadata,
		`{` + redirect + `,"jwks":{"keys":[]}}`:                                  oauth.InvalidClientMetadata,
		`{` + redirect + `,"jwks":"canary"}`:                                     oauth.InvalidClientMetadata,
		`{` + redirect + `,"jwks":{"keys":[{"kty":"oct","k":"canary"}]}}`:        oauth.InvalidClientMetadata,
		`{` + redirect + `,"jwks_uri":"https://a.example/k","jwks":{"keys":[]}}`: oauth.InvalidClientMetadata,
		`{"redirect_uris":"https://a.example/cb"}`:                               oauth.InvalidClientMetadata,
		`{}`:                   oauth.InvalidRedirectURI,
		`{"redirect_uris":[]}`: oauth.InvalidRedirectURI,
		`{"grant_types":["client_credentials"],` + redirect + `}`:                                       oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/cb","http://canary.example/cb"]}`:                         oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/cb#f"]}`:                                                  oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/cb#"]}`:                                                   oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://u@a.example/cb"]}`:                                                  oauth.InvalidRedirectURI,
		`{"redirect_uris":["https:///cb"]}`:                                                             oauth.InvalidRedirectURI,
		`{"redirect_uris":["https:a.example/cb"]}`:                                                      oauth.InvalidRedirectURI,
		`{"redirect_uris":["/cb"]}`:                                                                     oauth.InvalidRedirectURI,
		`{"redirect_uris":["javascript:alert(1)"]}`:                                                     oauth.InvalidRedirectURI,
		`{"application_type":"native","redirect_uris":["javascript:alert(1)"]}`:                         oauth.InvalidRedirectURI,
		`{"application_type":"native","redirect_uris":["http://127.0.0.1.canary.example/"]}`:            oauth.InvalidRedirectURI,
		`{"redirect_uris":["http://localhost/cb"]}`:                                                     oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example:99999/cb"]}`:                                              oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/cb?iss=canary"]}`:                                         oauth.InvalidRedirectURI,
		`{"application_type":"native","redirect_uris":["http://192.0.2.1/"]}`:                           oauth.InvalidRedirectURI,
		`{"redirect_uris":["http://127.0.0.1/cb"]}`:                                                     oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/\u00e9"]}`:                                                oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example/\n"]}`:                                                    oauth.InvalidRedirectURI,
		`{"redirect_uris":["https://a.example\\@canary.example/"]}`:                                     oauth.InvalidRedirectURI,
		`{"redirect_uris":[` + strings.Repeat(`"https://a.example/cb",`, RedirectURIsMax) + `"https"]}`: oauth.InvalidClientMetadata,
		`{"client_name":"` + strings.Repeat("x", BytesMax) + `"}`:                                       oauth.InvalidClientMetadata,
	} {
		m, err := Parse([]byte(doc))
		failure, ok := errors.AsType[*oauth.Error](err)
		if !ok || failure.Code != code || m != nil {
			t.Errorf("%.200s: %+v, %v, want %s", doc, m, err, code)
		}
		if ok && (strings.Contains(failure.Description, "canary") || failure.Description == "") {
			t.Errorf("%s: %s", doc, failure.Description)
		}
	}
}

// Whatever is sent, the answer is metadata or an error of ours, and what is accepted is accepted again.
func FuzzParse(f *testing.F) {
	f.Add(`{"redirect_uris":["https://a.example/cb"],"scope":"a b"}`)
	f.Add(`{"application_type":"native","redirect_uris":["com.example:/cb"],"jwks":{"keys":[{"kty":"EC"}]}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		m, err := Parse([]byte(doc))
		if err != nil {
			if _, ok := errors.AsType[*oauth.Error](err); !ok {
				t.Errorf("%T", err)
			}
			return
		}
		for _, uri := range m.RedirectURIs {
			if RedirectProblem(uri, m.ApplicationType == Native) != "" {
				t.Errorf("accepted %q", uri)
			}
		}
	})
}
