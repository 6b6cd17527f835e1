// Package discovery publishes what others need to know to use this issuer: OIDC and OAuth metadata, the key set, the contract.
// Metadata says only what is true of this build; docs/api.md explains what is therefore missing.
package discovery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// Config of the documents. They say the same of every issuer, each below its own URL.
type Config struct {
	GrantTypes           []string
	ClientAuthentication []string
	AssertionAlgorithms  []string
	IDTokenAlgorithms    []string
	DPoPAlgorithms       []string
	SignIn               SignIn
	MaxAge               time.Duration // how long clients may reuse a document without asking
	Contract             []byte
}

// serverMetadata is RFC 8414 s2.
type serverMetadata struct {
	Issuer               string   `json:"issuer"`
	TokenEndpoint        string   `json:"token_endpoint"`
	JWKSURI              string   `json:"jwks_uri"`
	GrantTypes           []string `json:"grant_types_supported"`
	ClientAuthentication []string `json:"token_endpoint_auth_methods_supported"`
	AssertionAlgorithms  []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported"`                 // RFC 9449 s5.1
	CertificateBound     bool     `json:"tls_client_certificate_bound_access_tokens"`        // RFC 8705 s3.3
	AssertionTypes       []string `json:"identity_chaining_requested_token_types_supported"` // draft-ietf-oauth-identity-assertion-authz-grant s7
	managementMetadata
	signInServer
}

// providerMetadata is OpenID Connect Discovery 1.0 s3.
type providerMetadata struct {
	serverMetadata
	SubjectTypes      []string `json:"subject_types_supported"`
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`
	signInProvider
}

// Documents serves them.
type Documents struct {
	cfg          Config
	contract     web.Document
	cacheControl string
}

// Paths of the documents below the issuer. They are fixed by the contract; a test compares.
const (
	tokenPath  = "/oauth2/token"
	keySetPath = "/.well-known/jwks.json"
)

// typeURNIDJAG is what a token exchange gives for another authorization server.
const typeURNIDJAG = "urn:ietf:params:oauth:token-type:id-jag"

// New returns the documents.
func New(c Config) *Documents {
	d := &Documents{cfg: c, cacheControl: fmt.Sprintf("public, max-age=%d", int64(c.MaxAge/time.Second))}
	d.contract = d.document("application/yaml", c.Contract) // RFC 9512
	return d
}

func (d *Documents) server(i issuers.Issuer) serverMetadata {
	return serverMetadata{
		Issuer: i.ID, TokenEndpoint: i.URL(tokenPath), JWKSURI: i.URL(keySetPath),
		signInServer: d.cfg.SignIn.server(i), GrantTypes: d.cfg.GrantTypes, ClientAuthentication: slices.Concat(d.cfg.SignIn.Authentication, d.cfg.ClientAuthentication), AssertionAlgorithms: d.cfg.AssertionAlgorithms,
		DPoPAlgorithms: d.cfg.DPoPAlgorithms, CertificateBound: true, AssertionTypes: []string{typeURNIDJAG}, managementMetadata: d.management(i),
	}
}

// provider says that sub is the same for every audience: "public" (OpenID Connect Core s8).
func (d *Documents) provider(i issuers.Issuer) providerMetadata {
	return providerMetadata{d.server(i), []string{"public"}, d.cfg.IDTokenAlgorithms, d.cfg.SignIn.provider(i)}
}

func (d *Documents) serve(w http.ResponseWriter, r *http.Request, metadata any) {
	body, err := json.Marshal(metadata)
	if err != nil {
		web.Fail(w, r, err)
		return
	}
	d.document("application/json", body).Serve(w, r)
}

func (d *Documents) document(contentType string, body []byte) web.Document {
	return web.Document{ContentType: contentType, CacheControl: d.cacheControl, ETag: web.ContentTag(body), Body: body}
}

// GetAuthorizationServerMetadata serves RFC 8414 metadata.
func (d *Documents) GetAuthorizationServerMetadata(w http.ResponseWriter, r *http.Request) {
	d.serve(w, r, d.server(issuers.From(r.Context())))
}

// GetOpenIDConfiguration serves OpenID Connect discovery.
func (d *Documents) GetOpenIDConfiguration(w http.ResponseWriter, r *http.Request) {
	d.serve(w, r, d.provider(issuers.From(r.Context())))
}

// GetKeySet serves the keys. The media type is application/json and not application/jwk-set+json (RFC 7517 s8.5.2), because some verifiers, service
// meshes among them, refuse what they do not know, and none refuses this.
func (d *Documents) GetKeySet(w http.ResponseWriter, r *http.Request) {
	published := issuers.From(r.Context()).Keys.KeySet()
	document := d.document("application/json", published.Document)
	if !published.Current {
		document.CacheControl = "no-cache"
	}
	document.Serve(w, r)
}

// GetOrganizationAuthorizationServerMetadata serves the same of an organization's issuer: RFC 8414 s3.1 puts the well-known part before the issuer's path.
func (d *Documents) GetOrganizationAuthorizationServerMetadata(w http.ResponseWriter, r *http.Request) {
	d.GetAuthorizationServerMetadata(w, r)
}

// GetOrganizationOpenIDConfiguration serves the same of an organization's issuer: OpenID Connect Discovery 1.0 s4 puts the well-known part behind the issuer's path.
func (d *Documents) GetOrganizationOpenIDConfiguration(w http.ResponseWriter, r *http.Request) {
	d.GetOpenIDConfiguration(w, r)
}

// GetOrganizationKeySet serves the keys of an organization's issuer.
func (d *Documents) GetOrganizationKeySet(w http.ResponseWriter, r *http.Request) {
	d.GetKeySet(w, r)
}

// GetContract serves the OpenAPI document.
func (d *Documents) GetContract(w http.ResponseWriter, r *http.Request) { d.contract.Serve(w, r) }
