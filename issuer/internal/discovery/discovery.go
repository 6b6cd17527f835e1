// Package discovery publishes what others need to know to use this issuer: OIDC and OAuth metadata, the key set, the contract.
// Metadata says only what is true of this build; docs/api.md explains what is therefore missing.
package discovery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// KeySetter gives the JWKS document as it is now. keys.Ring implements it.
type KeySetter interface{ KeySet() keys.Published }

// Config of the documents.
type Config struct {
	Issuer               string
	GrantTypes           []string
	ClientAuthentication []string
	AssertionAlgorithms  []string
	IDTokenAlgorithms    []string
	DPoPAlgorithms       []string
	KeySet               KeySetter
	MaxAge               time.Duration // how long clients may reuse a document without asking
	Contract             []byte
}

// serverMetadata is RFC 8414 s2. response_types_supported is required there; it is empty because there is no authorization endpoint: agents do not
// come through a browser. s3.2 would leave an empty list out, but a parser that requires the member is more likely than one that refuses it empty.
type serverMetadata struct {
	Issuer               string   `json:"issuer"`
	TokenEndpoint        string   `json:"token_endpoint"`
	JWKSURI              string   `json:"jwks_uri"`
	ResponseTypes        []string `json:"response_types_supported"`
	GrantTypes           []string `json:"grant_types_supported"`
	ClientAuthentication []string `json:"token_endpoint_auth_methods_supported"`
	AssertionAlgorithms  []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgorithms       []string `json:"dpop_signing_alg_values_supported"` // RFC 9449 s5.1
}

// providerMetadata is OpenID Connect Discovery 1.0 s3. authorization_endpoint is missing for the same reason.
type providerMetadata struct {
	serverMetadata
	SubjectTypes      []string `json:"subject_types_supported"`
	IDTokenAlgorithms []string `json:"id_token_signing_alg_values_supported"`
}

// Documents serves them.
type Documents struct {
	server, provider, contract web.Document
	keySet                     KeySetter
	cacheControl               string
}

// Paths of the documents below the issuer. They are fixed by the contract; a test compares.
const (
	tokenPath  = "/oauth2/token"
	keySetPath = "/.well-known/jwks.json"
)

// New renders the documents that do not change.
func New(c Config) (*Documents, error) {
	server := serverMetadata{
		Issuer: c.Issuer, TokenEndpoint: c.Issuer + tokenPath, JWKSURI: c.Issuer + keySetPath,
		ResponseTypes: []string{}, GrantTypes: c.GrantTypes, ClientAuthentication: c.ClientAuthentication, AssertionAlgorithms: c.AssertionAlgorithms,
		DPoPAlgorithms: c.DPoPAlgorithms,
	}
	// sub is the same for every audience: "public" (OpenID Connect Core s8).
	provider := providerMetadata{server, []string{"public"}, c.IDTokenAlgorithms}
	serverDoc, err := json.Marshal(server)
	if err != nil {
		return nil, err
	}
	providerDoc, err := json.Marshal(provider)
	if err != nil {
		return nil, err
	}
	d := &Documents{keySet: c.KeySet, cacheControl: fmt.Sprintf("public, max-age=%d", int64(c.MaxAge/time.Second))}
	d.server = d.document("application/json", serverDoc)
	d.provider = d.document("application/json", providerDoc)
	d.contract = d.document("application/yaml", c.Contract) // RFC 9512
	return d, nil
}

func (d *Documents) document(contentType string, body []byte) web.Document {
	return web.Document{ContentType: contentType, CacheControl: d.cacheControl, ETag: web.ContentTag(body), Body: body}
}

// GetAuthorizationServerMetadata serves RFC 8414 metadata.
func (d *Documents) GetAuthorizationServerMetadata(w http.ResponseWriter, r *http.Request) {
	d.server.Serve(w, r)
}

// GetOpenIDConfiguration serves OpenID Connect discovery.
func (d *Documents) GetOpenIDConfiguration(w http.ResponseWriter, r *http.Request) {
	d.provider.Serve(w, r)
}

// GetKeySet serves the keys. The media type is application/json and not application/jwk-set+json (RFC 7517 s8.5.2), because some verifiers, service
// meshes among them, refuse what they do not know, and none refuses this.
func (d *Documents) GetKeySet(w http.ResponseWriter, r *http.Request) {
	d.document("application/json", d.keySet.KeySet().Document).Serve(w, r)
}

// GetContract serves the OpenAPI document.
func (d *Documents) GetContract(w http.ResponseWriter, r *http.Request) { d.contract.Serve(w, r) }
