package envoy.shop_test

import data.envoy.shop

call(method, claims) := {
	"attributes": {"request": {"http": {"method": method}}},
	"identity": {"claims": claims},
}

test_read if {
	shop.decision == {
		"allowed": true,
		"headers": {"x-plan": "free"},
		"request_headers_to_remove": ["x-debug"],
		"response_headers_to_add": {"x-served-under": "free"},
		"dynamic_metadata": {"plan": "free"},
	} with input as call("GET", {"plan": "free"})
}

test_free_plan_may_not_write if {
	shop.decision.http_status == 429 with input as call("POST", {"plan": "free"})
}

test_default if {
	shop.decision.http_status == 403 with input as call("GET", {})
	not shop.decision.allowed with input as call("POST", {"plan": "gold"})
}
