package acme.authz_test

import data.acme.authz

mesh := {"services": {"orders": {"organizations": ["*"], "routes": {"orders": {"/": {
	"GET": {"scopes": []},
	"POST": {"scopes": []},
}}}}}}

call(method, confirmation) := {
	"attributes": {
		"contextExtensions": {"service": "orders"},
		"request": {"http": {"method": method}},
	},
	"parsed_path": ["orders"],
	"identity": {"subject": "agt_1", "origin": "local", "organizationId": "org_a", "scopes": [], "confirmation": confirmation},
}

test_reading_is_left_to_the_mesh_policy if {
	authz.decision.allowed with input as call("GET", "none") with data.mesh as mesh
	authz.decision.reason.code == "method_not_allowed" with input as call("PUT", "dpop") with data.mesh as mesh
}

test_changes_need_a_bound_token if {
	authz.decision.reason.code == "sender_binding_required" with input as call("POST", "none") with data.mesh as mesh
	authz.decision.allowed with input as call("POST", "dpop") with data.mesh as mesh
}

test_freeze if {
	authz.decision.reason.code == "change_freeze" with input as call("POST", "mtls") with data.mesh as mesh
		with data.acme.freeze as true
	authz.decision.allowed with input as call("GET", "none") with data.mesh as mesh with data.acme.freeze as true
}
