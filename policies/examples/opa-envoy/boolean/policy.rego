# METADATA
# title: A boolean policy as written for opa-envoy-plugin
# description: |
#   Runs as it is. The workload is told by the certificate of its connection, the caller's rights by its token: extauthz
#   verified it, so that input.identity stands where such a policy would have called io.jwt.decode_verify.
package envoy.authz

import input.attributes.request.http as http_request
import rego.v1

default allow := false

allow if {
	http_request.method == "GET"
	input.parsed_path == ["health"]
}

allow if {
	some permission in permissions[input.attributes.source.principal]
	permission.method == http_request.method
	glob.match(permission.path, ["/"], concat("/", input.parsed_path))
	permission.scope in input.identity.scopes
}

permissions := {
	"spiffe://mesh.example/ns/shop/sa/web": [
		{"method": "GET", "path": "catalog/**", "scope": "catalog:read"},
		{"method": "POST", "path": "carts/*/items", "scope": "carts:write"},
	],
	"spiffe://mesh.example/ns/shop/sa/admin": [{"method": "DELETE", "path": "carts/*", "scope": "carts:admin"}],
}
