package agentidp.lookup_test

import data.agentidp.fixture_test as fixture
import data.agentidp.lookup

# The scopes of the rule that governs a GET of each path: they tell which pattern was chosen. [] for none.
chosen := {
	"/orders": ["orders:read"],
	"/orders/": ["orders:list"],
	"/orders/42": ["orders:read"],
	"/orders/new": ["orders:new"],
	"/orders/42/": [],
	"/orders/42/items": ["items:read"],
	"/orders/42/items/7": [],
	"/orders//items": [],
	"/orders/new/items": ["items:read"],
	"/Orders": [],
	"/ORDERS/42": [],
	"/other/items": ["wild:items"],
	"/other": [],
	"//items": [],
	"/reports": [],
	"/reports/": [],
	"/reports/2026": ["reports:read"],
	"/reports/2026/": ["reports:read"],
	"/reports/2026/11/23": ["reports:read"],
	"/reports/secret": ["reports:read"],
	"/reports/secret/": ["reports:read"],
	"/reports/secret/a/b": ["reports:secret"],
	"/reports/daily": [],
	"/*": [],
	"/**": [],
	"/orders/*": ["orders:read"],
	"/orders/**": ["orders:read"],
	"/reports/**/x": ["reports:read"],
	"/typo/GET": [],
	"/orders/items/GET/scopes/0": [],
}

test_most_exact_pattern_is_chosen[path] if {
	some path, want in chosen
	request := fixture.request("GET", path)
	got := object.get(rule_or_nothing, "scopes", []) with input as request with data.mesh as fixture.mesh
	got == want
}

default rule_or_nothing := {}

rule_or_nothing := lookup.rule

test_root if {
	lookup.rule == {"public": true} with input as fixture.request("GET", "/") with data.mesh as fixture.mesh
}

test_longest_path if {
	rule := {"scopes": []}
	lookup.rule == rule with input as fixture.request("GET", "/deep/1/2/3/4/5/6/7/8/9/10/11") with data.mesh as fixture.mesh
	lookup.rule == rule with input as fixture.request("GET", "/deep/1/2/3/4/5/6/7/8/9/10/end/x") with data.mesh as fixture.mesh
	not lookup.rule with input as fixture.request("GET", "/deep/1/2/3/4/5/6/7/8/9/10/11/12") with data.mesh as fixture.mesh
	not lookup.rule with input as fixture.request("GET", "/deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14") with data.mesh as fixture.mesh
}

# As many segments as a target of 8 KiB has room for. What cost comes of them is tested in Go (TestLongPathsCostNoMore).
long(path) := concat("", array.concat([path], ["/a" | some _ in numbers.range(1, 4000)]))

test_path_of_four_thousand_segments if {
	got := lookup.rule with input as fixture.request("GET", long("/reports/2026")) with data.mesh as fixture.mesh
	got.scopes == ["reports:read"]
	rule := {"scopes": []}
	lookup.rule == rule with input as fixture.request("GET", long("/deep/1/2/3/4/5/6/7/8/9/10/end")) with data.mesh as fixture.mesh
	not lookup.rule with input as fixture.request("GET", long("/deep/1/2/3/4/5/6/7/8/9/10/11")) with data.mesh as fixture.mesh
	not lookup.rule with input as fixture.request("GET", long("/orders/42")) with data.mesh as fixture.mesh
}

test_no_path if {
	not lookup.rule with input as object.union(fixture.request("GET", "/"), {"parsed_path": []}) with data.mesh as fixture.mesh
	not lookup.rule with input as object.remove(fixture.request("GET", "/"), ["parsed_path"]) with data.mesh as fixture.mesh
}

attributes(extensions, principal, host) := {
	"attributes": {"contextExtensions": extensions, "destination": {"principal": principal}},
	"parsed_host": host,
}

principal := "spiffe://mesh.example/ns/shop/sa/orders"

test_service_by_context_extension if {
	lookup.service == "billing" with input as attributes({"service": "billing"}, principal, "orders.example")
		with data.mesh as fixture.mesh
}

test_service_by_principal if {
	lookup.service == "orders" with input as attributes({}, principal, "billing.example") with data.mesh as fixture.mesh
}

test_unknown_principal_is_nobodys if {
	lookup.service == "" with input as attributes({}, "spiffe://other", "orders.example") with data.mesh as fixture.mesh
}

test_principal_counts_only_where_listed if {
	mesh := object.remove(fixture.mesh, ["principals"])
	lookup.service == "orders" with input as attributes({}, "spiffe://other", "orders.example") with data.mesh as mesh
}

test_service_by_host if {
	lookup.service == "orders" with input as attributes({}, "", "orders.example") with data.mesh as fixture.mesh
	lookup.service == "" with input as attributes({}, "", "other.example") with data.mesh as fixture.mesh
}

test_default_service if {
	mesh := {"defaultService": "orders"}
	lookup.service == "orders" with input as attributes({}, "", "anything") with data.mesh as mesh
	lookup.service == "orders" with input as {} with data.mesh as mesh
	lookup.service == "" with input as attributes({}, "", "anything") with data.mesh as object.union(mesh, {"hosts": {}})
	not lookup.service with input as attributes({}, "", "anything") with data.mesh as {}
}
