package discovery

import "github.com/agentidp/agentidp/issuer/internal/issuers"

// SignIn is what there is to say about agents that sign in to relying parties.
type SignIn struct {
	Scopes   []string
	Claims   []string
	Contexts []string // acr
	Prompts  []string
	// Authentication is how clients authenticate at the token endpoint besides what agents do.
	Authentication []string
	// Documents says that clients may be known by the document behind their client_id.
	Documents bool
}

// Paths of the endpoints below the issuer, as those above.
const (
	authorizePath = "/oauth2/authorize"
	pushPath      = "/oauth2/par"
	agentInfoPath = "/agent-info"
)

// signInServer is for every OAuth client. There is no end_session_endpoint: nothing lingers that a logout could end.
type signInServer struct {
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	PushEndpoint          string   `json:"pushed_authorization_request_endpoint"` // RFC 9126 s5
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	NamesIssuer           bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 s3
	Scopes                []string `json:"scopes_supported"`
	Documents             bool     `json:"client_id_metadata_document_supported,omitempty"` // draft-ietf-oauth-client-id-metadata-document s5
}

// signInProvider is for OpenID Connect clients. What is not supported is said where the default is that it is.
type signInProvider struct {
	UserInfoEndpoint string   `json:"userinfo_endpoint"`
	Claims           []string `json:"claims_supported"`
	Contexts         []string `json:"acr_values_supported"`
	Prompts          []string `json:"prompt_values_supported"`
	ClaimsParameter  bool     `json:"claims_parameter_supported"`
	Request          bool     `json:"request_parameter_supported"`
	RequestURI       bool     `json:"request_uri_parameter_supported"`
}

func (s SignIn) server(i issuers.Issuer) signInServer {
	return signInServer{
		AuthorizationEndpoint: i.URL(authorizePath), PushEndpoint: i.URL(pushPath), ResponseTypes: []string{"code"}, ResponseModes: []string{"query"},
		ChallengeMethods: []string{"S256"}, NamesIssuer: true, Scopes: s.Scopes, Documents: s.Documents,
	}
}

func (s SignIn) provider(i issuers.Issuer) signInProvider {
	return signInProvider{UserInfoEndpoint: i.URL(agentInfoPath), Claims: s.Claims, Contexts: s.Contexts, Prompts: s.Prompts}
}
