# METADATA
# title: Who may call what in the mesh
# description: |
#   Default deny. What is allowed is data: data.mesh says which service has which routes, and who may use them. See
#   docs/policies.md for the format. Decision paths: agentidp/authz/allow (boolean), agentidp/authz/decision (object).
package agentidp.authz

import data.agentidp.lookup
import data.agentidp.requirement

default allow := false

# The next rule for the commonest case: only scopes are asked for, of an agent of ours, in an organization the service
# lists. It allows nothing that the next one would not, for two thirds of the price.
allow if {
	{"scopes": scopes} = lookup.rule
	is_array(scopes)
	input.identity.origin == "local"
	input.identity.organizationId in lookup.entry.organizations
	every scope in scopes {
		scope in input.identity.scopes
	}
}

allow if {
	requirement.scopes_held
	requirement.origin_allowed
	requirement.organization_allowed
	requirement.agent_allowed
}

# A route listed as public is allowed without an identity, once extauthz asks about it without one: for paths of its own
# `public`, where no token is looked for or verified, or with `identity: optional`, where a token that came is.
allow if requirement.public

# The same decision with its reason, in the object form of opa-envoy-plugin. A caller without an identity learns that it
# needs one, and nothing about which routes exist.
decision := {"allowed": true} if {
	allow
} else := denied(401, "unauthenticated", "an access token is required") if {
	not identified
} else := denied(403, "unknown_service", "the policy does not know the service that was called") if {
	not lookup.entry
} else := denied(403, "no_route", "the policy has no route for this path") if {
	not lookup.methods
} else := denied(403, "method_not_allowed", "the policy does not list this method for this path") if {
	not lookup.rule
} else := denied(403, "policy_data_invalid", "the policy data of this route is not valid: nothing is allowed on it") if {
	not requirement.scopes
} else := denied(403, "origin_not_allowed", "the route is not open to identities of this origin") if {
	not requirement.origin_allowed
} else := denied(403, "organization_not_allowed", "the route is not open to this organization") if {
	not requirement.organization_allowed
} else := denied(403, "agent_not_allowed", "the route is not open to this agent") if {
	not requirement.agent_allowed
} else := object.union(
	denied(403, "insufficient_scope", "the access token lacks a scope this route requires"),
	{"reason": {"required_scopes": requirement.scopes}},
)

denied(status, code, detail) := {
	"allowed": false,
	"http_status": status,
	"reason": {"code": code, "detail": detail},
}

identified if is_string(input.identity.subject)

# Everything that is wrong with data.mesh, as sentences that name the place; empty when nothing is. No decision reads it:
# ask for it before publishing data, as docs/policies.md shows.
data_problems := data.agentidp.problems.found
