package extauthz_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit/rawhttp"
)

var resourceMetadata = regexp.MustCompile(`resource_metadata="([^"]+)"`)

// A client that knows nothing but the resource's address finds out where to get tokens, as RFC 9728 s5 has it.
func TestEdgeResourceMetadata(t *testing.T) {
	t.Parallel()
	const identifier = "http://localhost:8080/orders"
	e := startEdge(t, "resource: {identifier: \""+identifier+"\", scopesSupported: [\"orders:read\"]}\n")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, e.address)
	}}}
	ask := func(method, url string, headers ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	before := e.service.Count()
	refused, _ := ask("GET", identifier)
	named := resourceMetadata.FindStringSubmatch(refused.Header.Get("WWW-Authenticate"))
	if refused.StatusCode != http.StatusUnauthorized || named == nil || named[1] != "http://localhost:8080/.well-known/oauth-protected-resource/orders" {
		t.Fatalf("status %d, %v", refused.StatusCode, refused.Header)
	}
	resp, body := ask("GET", named[1], "mcp-protocol-version", "2025-06-18")
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %q, %v", resp.StatusCode, body, err)
	}
	if doc.Resource != identifier || !slices.Equal(doc.Servers, []string{edgeIssuer}) || !slices.Equal(doc.Scopes, []string{"orders:read"}) { // s3.3
		t.Errorf("document %s", body)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"} {
		if got := resp.Header.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if head, none := ask("HEAD", named[1]); head.StatusCode != http.StatusOK || none != "" || head.ContentLength != int64(len(body)) {
		t.Errorf("HEAD: status %d, %d bytes of %d, length %d", head.StatusCode, len(none), len(body), head.ContentLength)
	}
	if root, same := ask("GET", "http://localhost:8080/.well-known/oauth-protected-resource"); root.StatusCode != http.StatusOK || same != body {
		t.Errorf("at the root: status %d, %q", root.StatusCode, same)
	}
	preflight, none := ask("OPTIONS", named[1], "Origin", "https://app.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "mcp-protocol-version")
	if preflight.StatusCode != http.StatusNoContent || none != "" || preflight.Header.Get("Access-Control-Allow-Headers") != "*" || preflight.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: status %d, %v", preflight.StatusCode, preflight.Header)
	}
	if post, _ := ask("POST", named[1]); post.StatusCode != http.StatusMethodNotAllowed || post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: status %d, %v", post.StatusCode, post.Header)
	}
	for _, target := range []string{"/.well-known/oauth-protected-resource/x", "/.well-known/oauth-protected-resource/orders/1", "/.well-known/../orders/1", "/.well-known/oauth-protected-resource/../../orders/1"} {
		if a := e.get(t, target); a.Status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", target, a.Status)
		}
	}
	smuggled := rawhttp.Send(t, e.address, "GET /.well-known/oauth-protected-resource/orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 30\r\n\r\nGET /orders/1 HTTP/1.1\r\nHost: a")
	if smuggled.Status != http.StatusOK || !strings.HasPrefix(smuggled.Body, "{") {
		t.Errorf("with a body: status %d, %q", smuggled.Status, smuggled.Body)
	}
	if e.service.Count() != before {
		t.Errorf("the service was reached: %q", e.service.Got())
	}
}
