# METADATA
# title: What is wrong with the data
# description: |
#   Says in sentences what data.schema.json says in JSON Schema, and what a schema cannot say. Only asked for when data
#   is written or published: no decision depends on it, so it may take its time.
package agentidp.problems

import data.agentidp.requirement

found contains "data.mesh is missing: nothing is allowed" if not data.mesh

found contains sprintf("%s: unknown member", [name]) if {
	some name, _ in data.mesh
	not name in {"services", "principals", "hosts", "defaultService"}
}

found contains sprintf("%s: not an object", [name]) if {
	some name in ["services", "principals", "hosts"]
	not is_object(object.get(data.mesh, name, {}))
}

found contains sprintf("%s.%s: %v is not one of the services", [table, key, service]) if {
	some table in ["principals", "hosts"]
	some key, service in data.mesh[table]
	not data.mesh.services[service]
}

found contains sprintf("defaultService: %v is not one of the services", [data.mesh.defaultService]) if {
	not data.mesh.services[data.mesh.defaultService]
}

# Services

found contains sprintf("services.%s: not an object with routes", [service]) if {
	some service, value in data.mesh.services
	not is_object(object.get(value, "routes", null))
}

found contains sprintf("services.%s.%s: unknown member", [service, name]) if {
	some service, value in data.mesh.services
	some name, _ in value
	not name in {"routes", "organizations"}
}

found contains sprintf("services.%s.organizations: not a list of names", [service]) if {
	some service, value in data.mesh.services
	value.organizations
	not names(value.organizations)
}

# Nodes: the places in a tree of routes that the segments of a path lead to.

places contains {
	"service": service,
	"steps": steps,
	"node": node,
	"where": sprintf("services.%s.routes %s", [service, concat("", steps)]),
} if {
	some service, value in data.mesh.services
	walk(value.routes, [steps, node])
	every step in steps {
		startswith(step, "/")
	}
}

found contains sprintf("%s: not an object", [place.where]) if {
	some place in places
	not is_object(place.node)
}

found contains sprintf("%s: neither methods nor further segments", [place.where]) if {
	some place in places
	count(place.steps) > 0
	place.node == {}
}

found contains sprintf("%s: unknown member %s", [place.where, name]) if {
	some place in places
	some name, _ in place.node
	not startswith(name, "/")
	name != "methods"
}

found contains sprintf("%s: methods belong under a segment", [place.where]) if {
	some place in places
	place.steps == []
	place.node.methods
}

found contains sprintf("%s: longer than %d segments", [place.where, segments_max]) if {
	some place in places
	count(place.steps) == segments_max + 1
}

found contains sprintf("%s: no request has the segment %s", [place.where, segment]) if {
	some place in places
	segment := place.steps[count(place.steps) - 1]
	not possible(trim_prefix(segment, "/"))
}

found contains sprintf("%s: nothing can follow %s", [place.where, place.steps[last - 1]]) if {
	some place in places
	last := count(place.steps) - 1
	place.steps[last - 1] in {"/", "/**"}
}

# A path with more segments has no route: see nodes in lookup.rego.
segments_max := 12

possible(segment) if segment in {"*", "**"}

# One segment, without the wildcards that stand only for whole segments, and not "." or "..", which never get here.
possible(segment) if {
	not contains(segment, "/")
	not contains(segment, "*")
	not segment in {".", ".."}
}

# Rules: one for each method of a place.

found contains sprintf("%s: methods are not an object with at least one method", [place.where]) if {
	some place in places
	methods := place.node.methods
	not is_table(methods)
}

is_table(methods) if {
	is_object(methods)
	methods != {}
}

rules contains {
	"service": place.service,
	"method": method,
	"rule": rule,
	"where": sprintf("%s %s", [place.where, method]),
} if {
	some place in places
	some method, rule in place.node.methods
}

found contains sprintf("%s: methods are written in capital letters", [rule.where]) if {
	some rule in rules
	upper(rule.method) != rule.method
}

found contains sprintf("%s: not an object", [rule.where]) if {
	some rule in rules
	not is_object(rule.rule)
}

found contains sprintf("%s: unknown member %s", [rule.where, name]) if {
	some rule in rules
	some name, _ in rule.rule
	not name in {"public", "scopes", "organizations", "agents", "origins"}
}

found contains sprintf("%s: public is true, and then the only member", [rule.where]) if {
	some rule in rules
	"public" in object.keys(rule.rule)
	rule.rule != {"public": true}
}

found contains sprintf("%s: scopes are missing; [] says that none are needed", [rule.where]) if {
	some rule in rules
	count({"public", "scopes"} & object.keys(rule.rule)) == 0
}

found contains sprintf("%s: organizations are missing, here and in the service", [rule.where]) if {
	some rule in rules
	rule.rule != {"public": true}
	count({"organizations"} & (object.keys(rule.rule) | object.keys(data.mesh.services[rule.service]))) == 0
}

found contains sprintf("%s: %s is not a list of names", [rule.where, member]) if {
	some rule in rules
	some member in requirement.members
	value := rule.rule[member]
	not names(value)
}

found contains sprintf("%s: there is no origin %v", [rule.where, origin]) if {
	some rule in rules
	some origin in rule.rule.origins
	not origin in {"local", "federated"}
}

names(list) if {
	is_array(list)
	every name in list {
		is_string(name)
		name != ""
	}
}
