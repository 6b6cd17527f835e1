// Package issuerclient is what the command line needs of the issuer's API (issuer/api/openapi.yaml), no more.
package issuerclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	answerBytesMax = 1 << 20
	requestTimeout = 10 * time.Second
)

// Client speaks to one issuer, whose certificate must come from one authority.
type Client struct {
	base       string
	adminToken string
	http       *http.Client
}

// New makes a client for the issuer at base. The authority's certificate is read from caFile; adminToken may be empty when only tokens are fetched.
func New(base, caFile, adminToken string) (*Client, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	transport := &http.Transport{
		Proxy:               nil, // it is on this machine
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:   true, // an issuer that stops need not wait for us
		TLSHandshakeTimeout: requestTimeout,
	}
	return &Client{base: strings.TrimSuffix(base, "/"), adminToken: adminToken, http: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// Organization is a tenant.
type Organization struct {
	ID          string `json:"id,omitempty"`
	Slug        string `json:"slug"`
	DisplayName string `json:"displayName"`
}

// Agent is a software agent; its ID is also its client_id.
type Agent struct {
	ID             string   `json:"id,omitempty"`
	OrganizationID string   `json:"organizationId"`
	Name           string   `json:"name"`
	Type           string   `json:"type,omitempty"`
	Description    string   `json:"description,omitempty"`
	Capabilities   []string `json:"capabilities,omitempty"`
	Scopes         []string `json:"scopes,omitempty"`
	Audiences      []string `json:"audiences"`
	Status         string   `json:"status,omitempty"`
}

// Secret is a client secret, told once.
type Secret struct {
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
	Credential   struct {
		ID string `json:"id"`
	} `json:"credential"`
}

// Token is an answer of the token endpoint.
type Token struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
}

// Error is a refusal by the issuer.
type Error struct {
	Status int
	Code   string // of the problem document, or the OAuth error
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("the issuer answered %d %s: %s", e.Status, e.Code, e.Detail)
}

// CreateOrganization creates a tenant.
func (c *Client) CreateOrganization(ctx context.Context, o Organization) (Organization, error) {
	var created Organization
	err := c.admin(ctx, http.MethodPost, "/organizations", o, &created)
	return created, err
}

// CreateAgent registers an agent.
func (c *Client) CreateAgent(ctx context.Context, a Agent) (Agent, error) {
	var created Agent
	err := c.admin(ctx, http.MethodPost, "/agents", a, &created)
	return created, err
}

// Agent reads an agent.
func (c *Client) Agent(ctx context.Context, id string) (Agent, error) {
	var a Agent
	err := c.admin(ctx, http.MethodGet, "/agents/"+url.PathEscape(id), nil, &a)
	return a, err
}

// CreateSecret gives an agent a client secret.
func (c *Client) CreateSecret(ctx context.Context, agentID string) (Secret, error) {
	var s Secret
	err := c.admin(ctx, http.MethodPost, "/agents/"+url.PathEscape(agentID)+"/credentials", struct{}{}, &s)
	return s, err
}

// DeleteCredential ends a credential; the tokens got with it are dead.
func (c *Client) DeleteCredential(ctx context.Context, agentID, id string) error {
	return c.admin(ctx, http.MethodDelete, "/agents/"+url.PathEscape(agentID)+"/credentials/"+url.PathEscape(id), nil, nil)
}

// Suspend takes an agent out of service; its tokens are dead.
func (c *Client) Suspend(ctx context.Context, agentID string) error {
	return c.admin(ctx, http.MethodPost, "/agents/"+url.PathEscape(agentID)+"/suspend", nil, nil)
}

// Reactivate brings a suspended agent back.
func (c *Client) Reactivate(ctx context.Context, agentID string) error {
	return c.admin(ctx, http.MethodPost, "/agents/"+url.PathEscape(agentID)+"/reactivate", nil, nil)
}

// Token fetches an access token with client_secret_basic. Empty scope and resource leave the choice to the issuer.
func (c *Client) Token(ctx context.Context, s Secret, scope, resource string) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	if resource != "" {
		form.Set("resource", resource) // RFC 8707
	}
	var t Token
	err := c.form(ctx, s, "/oauth2/token", form, &t)
	return t, err
}

// Revoke gives a token back (RFC 7009).
func (c *Client) Revoke(ctx context.Context, s Secret, token string) error {
	return c.form(ctx, s, "/oauth2/revoke", url.Values{"token": {token}}, nil)
}

// Active asks whether a token is worth anything (RFC 7662).
func (c *Client) Active(ctx context.Context, s Secret, token string) (bool, error) {
	var answer struct {
		Active bool `json:"active"`
	}
	err := c.form(ctx, s, "/oauth2/introspect", url.Values{"token": {token}}, &answer)
	return answer.Active, err
}

// form posts to an OAuth endpoint with client_secret_basic.
func (c *Client) form(ctx context.Context, s Secret, path string, form url.Values, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(s.ClientID), url.QueryEscape(s.ClientSecret)) // RFC 6749 section 2.3.1
	return c.do(req, out)
}

func (c *Client) admin(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.adminToken)
	return c.do(req, out)
}

func (c *Client) do(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refusal(resp.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return nil
}

// refusal reads a problem document (RFC 9457) or an OAuth error (RFC 6749 section 5.2).
func refusal(status int, text []byte) error {
	var doc struct {
		Code        string `json:"code"`
		Title       string `json:"title"`
		Detail      string `json:"detail"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(text, &doc) != nil {
		return &Error{Status: status, Code: "unreadable", Detail: strings.TrimSpace(string(text))}
	}
	pick := func(texts ...string) string {
		for _, s := range texts {
			if s != "" {
				return s
			}
		}
		return ""
	}
	return &Error{Status: status, Code: pick(doc.Code, doc.Error, "unnamed"), Detail: pick(doc.Detail, doc.Description, doc.Title)}
}

// IsConflict reports whether err is a refusal because the name is taken.
func IsConflict(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusConflict
}
