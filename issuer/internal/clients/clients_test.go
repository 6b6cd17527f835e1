package clients

import (
	"testing"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// What a redirect URI may be, by type of client.
func TestRedirectURIs(t *testing.T) {
	t.Parallel()
	const web, native, both, none = "web", "native", "both", ""
	for uri, allowed := range map[string]string{
		"https://a.example/cb":          both,
		"https://a.example:8443/cb?x=1": both,
		"http://127.0.0.1/cb":           native,
		"http://127.0.0.1:4711/cb":      native,
		"http://[::1]/cb":               native,
		"http://localhost:1/":           native,
		"com.example.app:/cb":           native,
		"http://a.example/cb":           none,
		"http://127.0.0.2/cb":           none,
		"http://localhost.evil.example": none,
		"https:///cb":                   none,
		"https://a.example/cb#x":        none,
		"https://user@a.example/cb":     none,
		"https://*.example/cb":          none,
		"https://a.example/ cb":         none,
		`https://a.example\cb`:          none,
		"/cb":                           none,
		"javascript:alert(1)":           none,
		"https://a.example:1/cb":        both,
		"https://a.example:65535/cb":    both,
		"https://a.example:0/cb":        none,
		"https://a.example:65536/cb":    none,
		"https://a.example:99999/cb":    none,
		"https://a.example:/cb":         none,
		"http://127.0.0.1:0/cb":         none,
		"https://x..example/cb":         none,
		"https://.example/cb":           none,
		"https://a.example/a/../b":      none,
		"https://a.example/a/%2e%2E/b":  none,
		"https://a.example/a/./b":       none,
		"https://a.example/a..b/.c":     both,
		"HTTPS://a.example/cb":          none,
		"https://a.example/cb?code=1":   none,
		"https://a.example/cb?x&iss":    none,
		"https://a.example/cb?x;state=": none,
		"https://a.example/cb?%65rror":  none,
		"https://a.example/cb?%zz":      none,
		"https://a.example/cb?codes=1":  both,
		"com.example.app:/cb?code":      none,
		"data:text/html,x":              none,
		"":                              none,
	} {
		for _, kind := range []Type{Web, Native} {
			want := allowed == both || allowed == string(kind)
			if got := redirectProblem(uri, kind) == ""; got != want {
				t.Errorf("%s for %s: %v (%s)", uri, kind, got, redirectProblem(uri, kind))
			}
		}
	}
}

// RFC 8252 s7.3: the port of a loopback address is the client's choice, for native clients and nothing else.
func TestRedirects(t *testing.T) {
	t.Parallel()
	c := Client{Type: Native, RedirectURIs: []string{"http://127.0.0.1/cb", "http://[::1]:80/cb", "http://localhost:9/x", "https://a.example/cb"}}
	for uri, want := range map[string]bool{
		"http://127.0.0.1/cb": true, "http://127.0.0.1:50123/cb": true, "http://[::1]:50123/cb": true, "http://localhost:1/x": true, "https://a.example/cb": true,
		"http://127.0.0.1:50123/cb2": false, "http://127.0.0.1:50123/cb?x": false, "http://localhost:50123/cb": false, "https://a.example:50123/cb": false,
		"https://127.0.0.1:1/cb": false, "http://127.0.0.1:1@evil.example/cb": false, "http://127.0.0.1.evil.example:1/cb": false, "http://evil.example/cb": false,
	} {
		if got := c.Redirects(uri); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
	c.Type = Web
	if c.Redirects("http://127.0.0.1:50123/cb") {
		t.Error("another port for a web client")
	}
}

// Each mistake has its code and its field.
func TestCheck(t *testing.T) {
	t.Parallel()
	good := Client{
		OrganizationID: agentid.New[agentid.Organization](), Name: "a", Type: Web, Authentication: credentials.ClientSecretBasic, RedirectURIs: []string{"https://a.example/cb"},
	}
	if err := check(&good); err != nil {
		t.Fatal(err)
	}
	for code, spoil := range map[string]func(*Client){
		"organization_missing":   func(c *Client) { c.OrganizationID = agentid.Organization{} },
		"name_length":            func(c *Client) { c.Name = "" },
		"name_characters":        func(c *Client) { c.Name = " a" },
		"type_unknown":           func(c *Client) { c.Type = "spa" },
		"authentication_unknown": func(c *Client) { c.Authentication = "password" },
		"pkce_required":          func(c *Client) { c.Authentication, c.PKCEOptional = credentials.None, true },
		"redirect_uris_count":    func(c *Client) { c.RedirectURIs = nil },
		"redirect_uri_format":    func(c *Client) { c.RedirectURIs = []string{"http://a.example/"} },
		"duplicate_entry":        func(c *Client) { c.RedirectURIs = append(c.RedirectURIs, c.RedirectURIs[0]) },
		"scope_format":           func(c *Client) { c.Scopes = []string{"a b"} },
		"audience_format":        func(c *Client) { c.Audiences = []string{"x"} },
	} {
		c := good
		c.RedirectURIs = append([]string{}, good.RedirectURIs...)
		spoil(&c)
		p, ok := check(&c).(*problem.Error) //nolint:errorlint // it is not wrapped
		if !ok || p.Code != code || p.Field == "" {
			t.Errorf("%s: %v", code, p)
		}
	}
}
