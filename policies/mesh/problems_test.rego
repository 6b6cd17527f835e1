package agentidp.problems_test

import data.agentidp.problems

valid := {
	"defaultService": "a",
	"principals": {"spiffe://a": "a"},
	"hosts": {"a.example": "a"},
	"services": {"a": {"organizations": ["org_a"], "routes": {
		"": {"/": {"GET": {"public": true}}},
		"x": {
			"/*": {"/**": {"GET": {"scopes": [], "origins": ["local", "federated"], "agents": ["agt_1"]}}},
			"": {"/": {"GET": {"scopes": ["s"], "organizations": ["*"]}}},
		},
	}}},
}

routes(tree) := {"services": {"a": {"organizations": ["*"], "routes": tree}}}

rule(value) := routes({"x": {"/": {"GET": value}}})

long := {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {"9": {"10": {"11": {"12": {"13": {"/": {"GET": {"scopes": []}}}}}}}}}}}}}}}}

cases := [
	[valid, []],
	[{"services": {}}, []],
	[null, ["mesh is not an object: nothing is allowed"]],
	[{"service": {}}, ["service: unknown member"]],
	[{"services": []}, ["services: not an object"]],
	[{"hosts": {"h": "a"}}, ["hosts h: there is no service a"]],
	[
		object.union(valid, {"hosts": {
			"A.example": "a", "a.example:80": "a", "a.example.": "a", "a..example": "a",
			"[::1]": "a", "a-b_c.example": "a", "10.0.0.1": "a",
		}}),
		[sprintf("hosts %s: not a name in lower case without port and trailing dot, nor [IPv6]", [host]) |
			some host in ["A.example", "a.example:80", "a.example.", "a..example"]
		],
	],
	[{"principals": {"p": 1}}, ["principals p: there is no service 1"]],
	[{"defaultService": "a"}, ["defaultService: there is no service a"]],
	[{"services": {"a": {}}}, ["a: not an object with routes"]],
	[{"services": {"a": {"routes": {}, "org": 1}}}, ["a: unknown member org"]],
	[{"services": {"a": {"routes": {}, "organizations": ["a", 1]}}}, ["a: organizations are not a list of names"]],
	[{"services": {"a": {"routes": {}, "organizations": [""]}}}, ["a: organizations are not a list of names"]],
	[{"services": {"a": {"routes": {}, "organizations": "a"}}}, ["a: organizations are not a list of names"]],
	[routes({"x": 1}), ["a /x: not an object"]],
	[routes({"x": {}}), ["a /x: nothing is listed"]],
	[routes({"/x": {}}), ["a /: /x is not a segment, nor one of / /* /**"]],
	[routes({"x/y": {}}), ["a /: x/y is not a segment, nor one of / /* /**"]],
	[
		routes({"x*": {"/": {"GET": {"scopes": []}}}}),
		["a /: x* is not a segment, nor one of / /* /**"],
	],
	[
		routes({"..": {"/": {"GET": {"scopes": []}}}}),
		["a /: .. is not a segment, nor one of / /* /**"],
	],
	[routes({"/": {"GET": {"scopes": []}}}), ["a /: a path begins with a segment"]],
	[routes({"": {"x": {"/": {"GET": {"scopes": []}}}}}), ["a //x: nothing follows a trailing slash"]],
	[routes(long), ["a /1/2/3/4/5/6/7/8/9/10/11/12/13: more than 12 segments"]],
	[routes({"x": {"/": {}}}), ["a /x /: methods are not an object with at least one method"]],
	[routes({"x": {"/": ["GET"]}}), [
		"a /x / 0: not an object",
		"a /x /: methods are not an object with at least one method",
	]],
	[routes({"x": {"/": {"get": {"scopes": []}}}}), ["a /x / get: methods are written in capital letters"]],
	[rule(1), ["a /x / GET: not an object"]],
	[rule({"scopes": [], "scope": []}), ["a /x / GET: unknown member scope"]],
	[rule({"public": true, "scopes": []}), ["a /x / GET: public is true, and then the only member"]],
	[rule({"public": 1}), ["a /x / GET: public is true, and then the only member"]],
	[rule({}), ["a /x / GET: scopes are missing; [] says that none is needed"]],
	[rule({"scopes": "s"}), ["a /x / GET: scopes are not a list of names"]],
	[rule({"scopes": [], "agents": [1]}), ["a /x / GET: agents are not a list of names"]],
	[rule({"scopes": [], "origins": ["lokal"]}), ["a /x / GET: there is no origin lokal"]],
	[
		{"services": {"a": {"routes": {"x": {"/": {"GET": {"scopes": []}}}}}}},
		["a /x / GET: organizations are missing, here and in the service"],
	],
]

test_problems[i] if {
	some i, [mesh, want] in cases
	problems.found == {problem | some problem in want} with data.mesh as mesh
}
