# METADATA
# title: What the rule of a route demands
# description: |
#   A rule is believed only when it is sound: with a member nobody knows, or one of the wrong type, it allows nothing.
package agentidp.requirement

import data.agentidp.lookup

# The members of a rule that asks for an identity. A public rule has none of them.
members := ["scopes", "organizations", "agents", "origins"]

public if lookup.rule == {"public": true}

# The scopes that a sound rule demands. It must name them, if only to say that none is needed, and it or its service must
# name the organizations: silence about either would open a route by mistake. The first branch is the second one for the
# commonest rule, at a fraction of its price.
scopes := required if {
	{"scopes": required} = lookup.rule
	is_array(required)
} else := required if {
	object.remove(lookup.rule, members) == {}
	required := lookup.rule.scopes
	is_array(required)
	is_array(object.get(lookup.rule, "organizations", []))
	is_array(object.get(lookup.rule, "origins", []))
	is_array(object.get(lookup.rule, "agents", []))
}

scopes_held if {
	every scope in scopes {
		scope in input.identity.scopes
	}
}

origin_allowed if input.identity.origin in object.get(lookup.rule, "origins", ["local"])

organizations := listed if {
	listed := lookup.rule.organizations
} else := lookup.entry.organizations

organization_allowed if input.identity.organizationId in organizations

organization_allowed if "*" in organizations

# Without a list of agents, every agent is on it.
agent_allowed if not lookup.rule.agents

agent_allowed if agent in lookup.rule.agents

# Subjects are unique per issuer only: what another domain calls agt_1 is not our agt_1.
agent := input.identity.subject if input.identity.origin == "local"

agent := concat(" ", [input.identity.issuer, input.identity.subject]) if input.identity.origin == "federated"
