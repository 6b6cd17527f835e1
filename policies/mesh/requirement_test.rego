package agentidp.requirement_test

import data.agentidp.requirement

# Whether a rule is sound, in a service that lists organizations.
sound := [
	[{"scopes": []}, true],
	[{"scopes": ["a"]}, true],
	[{"scopes": ["a"], "organizations": [], "origins": [], "agents": []}, true],
	[{}, false],
	[{"scopes": "a"}, false],
	[{"scopes": {}}, false],
	[{"scopes": null}, false],
	[{"scope": ["a"]}, false],
	[{"scopes": [], "scope": ["a"]}, false],
	[{"scopes": [], "organizations": "org_a"}, false],
	[{"scopes": [], "organizations": false}, false],
	[{"scopes": [], "origins": "local"}, false],
	[{"scopes": [], "agents": {}}, false],
	[{"scopes": [], "agents": false}, false],
	[{"scopes": [], "agents": null}, false],
	[{"scopes": [], "public": false}, false],
	[{"scopes": [], "public": true}, false],
	["GET", false],
]

test_sound[i] if {
	some i, [rule, want] in sound
	got := is_sound with data.agentidp.lookup.rule as rule
	got == want
}

is_sound if {
	requirement.scopes
} else := false

test_public_is_true_and_nothing_else if {
	requirement.public with data.agentidp.lookup.rule as {"public": true}
	not requirement.public with data.agentidp.lookup.rule as {"public": "true"}
	not requirement.public with data.agentidp.lookup.rule as {"public": true, "scopes": []}
	not requirement.public with data.agentidp.lookup.rule as {}
}

test_all_scopes_are_needed if {
	requirement.scopes_held with data.agentidp.lookup.rule as {"scopes": ["a", "b"]}
		with input.identity.scopes as ["b", "c", "a"]
	not requirement.scopes_held with data.agentidp.lookup.rule as {"scopes": ["a", "b"]}
		with input.identity.scopes as ["a"]
	not requirement.scopes_held with data.agentidp.lookup.rule as {"scopes": ["a"]}
		with input.identity.scopes as "a"
	not requirement.scopes_held with data.agentidp.lookup.rule as {"scopes": ["a"]} with input as {}
}

test_route_replaces_organizations_of_service if {
	entry := {"organizations": ["org_a"]}
	requirement.organizations == ["org_a"] with data.agentidp.lookup.rule as {"scopes": []}
		with data.agentidp.lookup.entry as entry
	requirement.organizations == ["org_b"] with data.agentidp.lookup.rule as {"organizations": ["org_b"]}
		with data.agentidp.lookup.entry as entry
	requirement.organizations == [] with data.agentidp.lookup.rule as {"organizations": []}
		with data.agentidp.lookup.entry as entry
}

test_organizations_compare_as_strings if {
	not requirement.organization_allowed with data.agentidp.lookup.rule as {"organizations": [5]}
		with input.identity.organizationId as "5"
	not requirement.organization_allowed with data.agentidp.lookup.rule as {"organizations": ["org_a", "ORG_B"]}
		with input.identity.organizationId as "org_b"
	not requirement.organization_allowed with data.agentidp.lookup.rule as {"organizations": ["org_a"]} with input as {}
	not requirement.organization_allowed with data.agentidp.lookup.rule as {} with data.agentidp.lookup.entry as {}
		with input.identity.organizationId as "org_a"
}
