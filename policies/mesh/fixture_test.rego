package agentidp.fixture_test

# What the tests share: a mesh with one of everything, and requests to it.
mesh := {
	"principals": {"spiffe://mesh.example/ns/shop/sa/orders": "orders"},
	"hosts": {"orders.example": "orders"},
	"services": {"orders": {
		"organizations": ["org_a", "org_b"],
		"routes": {
			"": {"/": {"GET": {"public": true}}},
			"orders": {
				"/": {"GET": {"scopes": ["orders:read"]}, "POST": {"scopes": ["orders:read", "orders:write"]}},
				"": {"/": {"GET": {"scopes": ["orders:list"]}}},
				"/*": {
					"/": {"GET": {"scopes": ["orders:read"]}},
					"items": {"/": {"GET": {"scopes": ["items:read"]}}},
				},
				"new": {"/": {"GET": {"scopes": ["orders:new"]}}},
			},
			"/*": {"items": {"/": {"GET": {"scopes": ["wild:items"]}}}},
			"reports": {
				"/**": {"GET": {"scopes": ["reports:read"]}},
				"secret": {"/**": {"GET": {"scopes": ["reports:secret"]}}},
				"daily": {"/": {"POST": {"scopes": ["reports:write"]}}},
			},
			"partners": {"/": {
				"GET": {"scopes": [], "origins": ["local", "federated"], "organizations": ["*"]},
				"PUT": {"scopes": [], "origins": ["federated"], "agents": ["https://partner.example agt_1"]},
				"DELETE": {"scopes": [], "agents": ["agt_2"]},
			}},
			"deep": {"/*": {"/*": {"/*": {"/*": {"/*": {"/*": {"/*": {"/*": {"/*": {"/*": {
				"/*": {"/": {"GET": {"scopes": []}}},
				"end": {"/**": {"GET": {"scopes": []}}},
			}}}}}}}}}}},
			"no-list": {"/": {"GET": {"scopes": {}}}},
			"typo": {"/": {"GET": {"scopes": ["orders:read"], "organisations": ["org_a"]}}},
		},
	}},
}

agent := {
	"subject": "agt_1",
	"issuer": "https://issuer.example",
	"origin": "local",
	"organizationId": "org_a",
	"scopes": ["orders:read", "reports:read"],
}

request(method, path) := {
	"attributes": {
		"contextExtensions": {"service": "orders"},
		"request": {"http": {"method": method, "path": path, "host": "orders.example"}},
	},
	"parsed_host": "orders.example",
	"parsed_path": split(trim_prefix(path, "/"), "/"),
	"identity": agent,
}

anonymous(method, path) := object.remove(request(method, path), ["identity"])

with_identity(method, path, changes) := object.union(request(method, path), {"identity": changes})
