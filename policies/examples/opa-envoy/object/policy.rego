# METADATA
# title: An object decision as written for opa-envoy-plugin
# description: |
#   Sets headers for the service, takes one away, and answers denials with a status, a header and a body of its own.
#   Decision path: envoy/shop/decision.
package envoy.shop

default decision := {
	"allowed": false,
	"http_status": 403,
	"headers": {"content-type": "text/plain"},
	"body": "not for you",
}

decision := {
	"allowed": true,
	"headers": {"x-plan": plan},
	"request_headers_to_remove": ["x-debug"],
	"response_headers_to_add": {"x-served-under": plan},
	"dynamic_metadata": {"plan": plan},
} if {
	plan
	input.attributes.request.http.method == "GET"
}

decision := {
	"allowed": false,
	"http_status": 429,
	"headers": {"retry-after": "60", "content-type": "text/plain"},
	"body": "the free plan may only read",
} if {
	plan == "free"
	input.attributes.request.http.method != "GET"
}

plan := input.identity.claims.plan
