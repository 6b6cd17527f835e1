package discovery

import (
	"slices"

	"github.com/agentidp/agentidp/issuer/internal/issuers"
)

// Paths of the endpoints about tokens and clients.
const (
	introspectPath = "/oauth2/introspect"
	revokePath     = "/oauth2/revoke"
	registerPath   = "/oauth2/register"
)

// managementMetadata is RFC 8414 s2 about the endpoints of RFC 7662, RFC 7009 and RFC 7591. Clients authenticate there as at the token endpoint; one that
// has nothing to prove itself with may give tokens back (RFC 7009 s2.1) and not ask about them (RFC 7662 s2.1).
type managementMetadata struct {
	IntrospectionEndpoint       string   `json:"introspection_endpoint"`
	IntrospectionAuthentication []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgorithms     []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	RevocationAuthentication    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgorithms        []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	RegistrationEndpoint        string   `json:"registration_endpoint"` // RFC 7591
}

func (d *Documents) management(i issuers.Issuer) managementMetadata {
	methods, algorithms := d.cfg.ClientAuthentication, d.cfg.AssertionAlgorithms
	return managementMetadata{
		IntrospectionEndpoint: i.URL(introspectPath), IntrospectionAuthentication: methods, IntrospectionAlgorithms: algorithms,
		RevocationEndpoint: i.URL(revokePath), RevocationAuthentication: slices.Concat(d.cfg.SignIn.Authentication, methods), RevocationAlgorithms: algorithms,
		RegistrationEndpoint: i.URL(registerPath),
	}
}
