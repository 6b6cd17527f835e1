package main

import (
	"fmt"
	"strings"
)

// variant is one way to decide, behind a listener of its own of the same Envoy.
type variant struct {
	name    string
	filters string  // in front of the router
	server  *server // that Envoy asks; nil for none
	decides bool    // by the token: one without the scope is denied
}

// The caches of jwt_authn: as it comes when it is switched on, and with room for every token of the run.
const (
	jwtCacheShipped = 100
	jwtCacheAmple   = 2000
)

// envoyConfig is a bootstrap in which the listeners differ in the filters alone. The answer comes from Envoy itself, behind
// the filters, so that no service is measured.
func envoyConfig(variants []variant) string {
	var listeners, clusters strings.Builder
	for _, v := range variants {
		fmt.Fprintf(&listeners, envoyListener, v.name, v.name, indent(v.filters, 18))
		if v.server != nil {
			fmt.Fprintf(&clusters, envoyCluster, v.name, v.name, v.server.socket)
		}
	}
	return fmt.Sprintf(envoyBootstrap, listeners.String(), clusters.String())
}

const envoyBootstrap = `admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }
static_resources:
  listeners:
%s
  clusters:
%s
`

const envoyListener = `    - name: %s
      address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: %s
                normalize_path: true
                merge_slashes: true
                path_with_escaped_slashes_action: REJECT_REQUEST
                use_remote_address: true
                http_filters:
%s
                  - name: envoy.filters.http.router
                    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{ match: { prefix: / }, direct_response: { status: 200, body: { inline_string: ok } } }]
`

const envoyCluster = `    - name: %s
      type: STATIC
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
      load_assignment: { cluster_name: %s, endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: %s } } } }] }] }
`

// extAuthz asks the cluster, with the options of manifests/envoy/sidecar.yaml but for a time-out that a busy machine does
// not reach. opa-envoy-plugin does not read raw headers.
func extAuthz(cluster string, rawHeaders bool) string {
	return fmt.Sprintf(`- name: envoy.filters.http.ext_authz
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    transport_api_version: V3
    grpc_service: { envoy_grpc: { cluster_name: %s }, timeout: 5s }
    failure_mode_allow: false
    status_on_error: { code: ServiceUnavailable }
    encode_raw_headers: %t
    validate_mutations: true
    decoder_header_mutation_rules: { disallow_system: true, disallow_is_error: true }
    enforce_response_header_limits: true
    max_denied_response_body_bytes: 4096
    include_peer_certificate: true
    charge_cluster_response_stats: false
`, cluster, rawHeaders)
}

// jwtAuthn verifies the token in Envoy, and lets RBAC decide by the rules that the policies have.
func jwtAuthn(keys []byte, cacheSize int) string {
	var rules strings.Builder
	for i, r := range [][3]string{
		{"GET", "/reports/", "reports:read"},
		{"PUT", "/prices/", "prices:set"},
		{"GET", "/orders/export", "orders:export"},
		{"DELETE", "/orders/", "orders:write"},
		{"GET", "/orders/", "orders:read"},
		{"POST", "/orders", "orders:write"},
		{"GET", "/items/", "items:read"},
		{"GET", "/orders", "orders:read"},
	} {
		fmt.Fprintf(&rules, `        route%d:
          permissions: [{ and_rules: { rules: [{ header: { name: ":method", string_match: { exact: %s } } }, { url_path: { path: { prefix: %s } } }] } }]
          principals: [{ metadata: { filter: envoy.filters.http.jwt_authn, path: [{ key: jwt }, { key: scope }], value: { list_match: { one_of: { string_match: { exact: %q } } } } } }]
`, i, r[0], r[1], r[2])
	}
	return fmt.Sprintf(`- name: envoy.filters.http.jwt_authn
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers:
      issuer:
        issuer: %s
        audiences: [%q]
        local_jwks: { inline_string: '%s' }
        forward: true
        payload_in_metadata: jwt
        normalize_payload_in_metadata: { space_delimited_claims: [scope] }
        jwt_cache_config: { jwt_cache_size: %d }
    rules: [{ match: { prefix: / }, requires: { provider_name: issuer } }]
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:
%s`, issuerName, audience, keys, cacheSize, rules.String())
}

func indent(text string, spaces int) string {
	if text == "" {
		return ""
	}
	margin := strings.Repeat(" ", spaces)
	return margin + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+margin)
}
