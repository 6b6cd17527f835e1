package examples.demo_test

import data.agentidp.authz

mesh := data.examples.demo.mesh

call(method, path, scopes) := {
	"attributes": {"request": {"http": {"method": method, "path": path}}},
	"parsed_path": split(trim_prefix(path, "/"), "/"),
	"identity": {"subject": "agt_1", "origin": "local", "organizationId": "org_any", "scopes": scopes},
}

test_data_is_valid if {
	authz.data_problems == set() with data.mesh as mesh
}

test_health_is_public if {
	authz.allow with input as object.remove(call("GET", "/healthz", []), ["identity"]) with data.mesh as mesh
}

test_any_agent_may_say_hello if {
	authz.allow with input as call("GET", "/hello", []) with data.mesh as mesh
	not authz.allow with input as object.remove(call("GET", "/hello", []), ["identity"]) with data.mesh as mesh
}

test_orders_need_scopes if {
	authz.allow with input as call("GET", "/orders/42", ["orders:read"]) with data.mesh as mesh
	not authz.allow with input as call("DELETE", "/orders/42", ["orders:write"]) with data.mesh as mesh
	not authz.allow with input as call("GET", "/orders/42", []) with data.mesh as mesh
}

test_reports_are_open_to_partners if {
	partner := {"identity": {"origin": "federated"}}
	authz.allow with input as object.union(call("GET", "/reports/2026", ["reports:read"]), partner) with data.mesh as mesh
	not authz.allow with input as object.union(call("GET", "/orders", ["orders:read"]), partner) with data.mesh as mesh
}
