package agentidp.authz_test

import data.agentidp.authz
import data.agentidp.fixture_test as fixture

# What each request is answered: true, or the reason code.
answers := {
	"scope held": [fixture.request("GET", "/orders"), "allowed"],
	"scope missing": [fixture.request("POST", "/orders"), "insufficient_scope"],
	"public": [fixture.anonymous("GET", "/"), "allowed"],
	"public with an identity": [fixture.request("GET", "/"), "allowed"],
	"public, other method": [fixture.request("POST", "/"), "method_not_allowed"],
	"no identity": [fixture.anonymous("GET", "/orders"), "unauthenticated"],
	"no identity, no route": [fixture.anonymous("GET", "/nothing"), "unauthenticated"],
	"no identity, no service": [object.remove(fixture.anonymous("GET", "/"), ["attributes", "parsed_host"]), "unauthenticated"],
	"null identity": [object.union(fixture.anonymous("GET", "/orders"), {"identity": null}), "unauthenticated"],
	"unknown service": [object.remove(fixture.request("GET", "/orders"), ["attributes", "parsed_host"]), "unknown_service"],
	"no route": [fixture.request("GET", "/nothing"), "no_route"],
	"method": [fixture.request("DELETE", "/orders"), "method_not_allowed"],
	"method in small letters": [fixture.request("get", "/orders"), "method_not_allowed"],
	"unknown member": [fixture.request("GET", "/typo"), "policy_data_invalid"],
	"scopes are no list": [fixture.request("GET", "/no-list"), "policy_data_invalid"],
	"federated": [fixture.with_identity("GET", "/orders", {"origin": "federated"}), "origin_not_allowed"],
	"federated where listed": [fixture.with_identity("GET", "/partners", {"origin": "federated", "organizationId": "org_z"}), "allowed"],
	"no origin": [fixture.with_identity("GET", "/partners", {"origin": ""}), "origin_not_allowed"],
	"organization": [fixture.with_identity("GET", "/orders", {"organizationId": "org_z"}), "organization_not_allowed"],
	"other organization": [fixture.with_identity("GET", "/orders", {"organizationId": "org_b"}), "allowed"],
	"agent": [fixture.request("DELETE", "/partners"), "agent_not_allowed"],
	"agent where listed": [fixture.with_identity("DELETE", "/partners", {"subject": "agt_2"}), "allowed"],
	"federated agent": [fixture.with_identity("PUT", "/partners", {"origin": "federated"}), "agent_not_allowed"],
	"federated agent where listed": [
		fixture.with_identity("PUT", "/partners", {"origin": "federated", "issuer": "https://partner.example"}),
		"allowed",
	],
	"no scopes in the identity": [object.remove(fixture.request("GET", "/orders"), ["identity"]), "unauthenticated"],
}

code := "allowed" if {
	authz.decision == {"allowed": true}
} else := authz.decision.reason.code

test_answers[name] if {
	some name, [request, want] in answers
	got := code with input as request with data.mesh as fixture.mesh
	got == want
}

# The boolean says the same as the object.
test_allow_agrees[name] if {
	some name, [request, want] in answers
	allowed := authz.allow with input as request with data.mesh as fixture.mesh
	allowed == object.get({"allowed": true}, want, false)
}

test_denial_of_a_missing_scope_names_the_scopes if {
	decision := authz.decision with input as fixture.request("POST", "/orders") with data.mesh as fixture.mesh
	decision == {
		"allowed": false,
		"http_status": 403,
		"reason": {
			"code": "insufficient_scope",
			"detail": "the access token lacks a scope this route requires",
			"required_scopes": ["orders:read", "orders:write"],
		},
	}
}

test_without_identity_401 if {
	authz.decision.http_status == 401 with input as fixture.anonymous("GET", "/orders") with data.mesh as fixture.mesh
}

test_nothing_is_allowed_without_data if {
	not authz.allow with input as fixture.request("GET", "/orders") with data.mesh as {}
	not authz.allow with input as {} with data.mesh as fixture.mesh
}

test_data_problems_are_reported if {
	authz.data_problems == {
		"orders /no-list / GET: scopes are not a list of names",
		"orders /typo / GET: unknown member organisations",
	} with data.mesh as fixture.mesh
}
