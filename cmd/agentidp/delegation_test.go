package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/jose/josetest"
)

// mesh is a running `agentidp dev`, as clients see it.
type mesh struct {
	t                    *testing.T
	client               *http.Client
	issuer, envoy, admin string
	demo                 map[string]string
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	dir := stateDir(t)
	p := startDev(t, dir)
	t.Cleanup(func() { interrupt(t, p) })
	var state struct{ Issuer, Envoy string }
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "endpoints.json")), &state); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(readFile(t, filepath.Join(dir, "ca.pem")))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &mesh{
		t: t, client: &http.Client{Transport: transport, Timeout: time.Minute}, issuer: state.Issuer, envoy: state.Envoy,
		admin: strings.TrimSpace(string(readFile(t, filepath.Join(dir, "admin.token")))), demo: demoFile(t, dir),
	}
}

func (m *mesh) do(r *http.Request, into any) (int, string) {
	m.t.Helper()
	response, err := m.client.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			m.t.Fatalf("%s: %v in %s", r.URL, err, body)
		}
	}
	return response.StatusCode, response.Header.Get("DPoP-Nonce")
}

func (m *mesh) request(method, url, contentType string, body []byte) *http.Request {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return r
}

// ask calls the admin API.
func (m *mesh) ask(path string, in, into any) {
	m.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		m.t.Fatal(err)
	}
	r := m.request("POST", m.issuer+path, "application/json", body)
	r.Header.Set("Authorization", "Bearer "+m.admin)
	if status, _ := m.do(r, into); status/100 != 2 {
		m.t.Fatalf("%s: %d", path, status)
	}
}

// token asks for a token, with a proof when there is a holder, again with the nonce when the issuer wants one.
func (m *mesh) token(id, secret string, h *josetest.Holder, form url.Values) string {
	m.t.Helper()
	var nonce any
	for range 2 {
		r := m.request("POST", m.issuer+"/oauth2/token", "application/x-www-form-urlencoded", []byte(form.Encode()))
		r.SetBasicAuth(id, secret)
		if h != nil {
			r.Header.Set("DPoP", h.Prove("POST", m.issuer+"/oauth2/token", "", time.Now(), "ath", nil, "nonce", nonce))
		}
		var answer map[string]any
		status, next := m.do(r, &answer)
		if status == http.StatusOK {
			return answer["access_token"].(string)
		}
		if answer["error"] != "use_dpop_nonce" {
			m.t.Fatalf("%d %v", status, answer)
		}
		nonce = next
	}
	m.t.Fatal("the nonce was not taken")
	return ""
}

// call is a request to the demo service through Envoy, again with the nonce when the sidecar wants one.
func (m *mesh) call(scheme, token string, h *josetest.Holder) (int, string) {
	m.t.Helper()
	target := m.envoy + "/orders/42"
	var nonce any
	for {
		r := m.request("GET", target, "", nil)
		r.Header.Set("Authorization", scheme+" "+token)
		if h != nil {
			r.Header.Set("DPoP", h.Prove("GET", target, token, time.Now(), "nonce", nonce))
		}
		var answer map[string]any
		status, next := m.do(r, &answer)
		if h != nil && nonce == nil && answer["code"] == "proof_nonce" {
			nonce = next
			continue
		}
		text, err := json.Marshal(answer)
		if err != nil {
			m.t.Fatal(err)
		}
		return status, string(text)
	}
}

// TestDelegatedAndBoundTokensAtTheEdge: what the issuer gives after an exchange and binds to a key, the sidecar takes for what it is, and refuses when its actor is suspended.
func TestDelegatedAndBoundTokensAtTheEdge(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	var worker struct{ ID string }
	m.ask("/agents", map[string]any{
		"organizationId": m.demo["organization_id"], "name": "worker", "scopes": []string{"orders:read"},
		"audiences": []string{m.demo["audience"]}, "serves": []string{m.demo["audience"]},
	}, &worker)
	var credential struct{ ClientSecret string }
	m.ask("/agents/"+worker.ID+"/credentials", map[string]any{}, &credential)

	subject := m.token(m.demo["client_id"], m.demo["client_secret"], nil, url.Values{"grant_type": {"client_credentials"}})
	h := josetest.NewHolder()
	delegated := m.token(worker.ID, credential.ClientSecret, h, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	})
	status, seen := m.call("DPoP", delegated, h)
	if status != http.StatusOK || !strings.Contains(seen, m.demo["agent_id"]) { // x-agent-id is the subject's, for whom the worker acts
		t.Fatalf("with its proof: %d %s", status, seen)
	}
	for name, tt := range map[string]struct {
		scheme string
		holder *josetest.Holder
	}{"as Bearer": {"Bearer", nil}, "without a proof": {"DPoP", nil}, "with another's key": {"DPoP", josetest.NewHolder()}} {
		if status, answer := m.call(tt.scheme, delegated, tt.holder); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s, want 401", name, status, answer)
		}
	}
	m.ask("/agents/"+worker.ID+"/suspend", map[string]any{}, nil)
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if status, answer := m.call("DPoP", delegated, h); status == http.StatusUnauthorized && strings.Contains(answer, "revoked") {
			break
		} else if time.Since(begun) > patience {
			t.Fatalf("a token lives on whose actor was suspended: %d %s", status, answer)
		}
	}
	if status, answer := m.call("Bearer", subject, nil); status != http.StatusOK {
		t.Errorf("the subject's own token: %d %s", status, answer)
	}
}
