package envoy.authz_test

import data.envoy.authz

call(workload, method, path, scope) := {
	"attributes": {
		"source": {"principal": concat("", ["spiffe://mesh.example/ns/shop/sa/", workload])},
		"request": {"http": {"method": method}},
	},
	"parsed_path": path,
	"identity": {"scopes": [scope]},
}

test_health if {
	authz.allow with input as call("", "GET", ["health"], "")
	not authz.allow with input as call("", "POST", ["health"], "")
}

test_web if {
	authz.allow with input as call("web", "GET", ["catalog", "shoes", "42"], "catalog:read")
	authz.allow with input as call("web", "POST", ["carts", "7", "items"], "carts:write")
	not authz.allow with input as call("web", "POST", ["carts", "7", "items"], "catalog:read")
	not authz.allow with input as call("web", "DELETE", ["carts", "7"], "carts:admin")
}

test_admin if {
	authz.allow with input as call("admin", "DELETE", ["carts", "7"], "carts:admin")
	not authz.allow with input as call("admin", "DELETE", ["carts", "7", "items"], "carts:admin")
}
