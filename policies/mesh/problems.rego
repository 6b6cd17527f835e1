# METADATA
# title: What is wrong with the data
# description: |
#   Says in sentences what data.schema.json says as JSON Schema, and what a schema cannot say. Asked for when data is
#   written or published. No decision depends on it, so it may take its time.
package agentidp.problems

import data.agentidp.requirement

found contains "mesh is not an object: nothing is allowed" if not is_object(data.mesh)

found contains sprintf("%s: unknown member", [name]) if {
	some name, _ in data.mesh
	not name in {"services", "principals", "hosts", "defaultService"}
}

found contains sprintf("%s: not an object", [name]) if {
	some name in ["services", "principals", "hosts"]
	not is_object(object.get(data.mesh, name, {}))
}

found contains sprintf("%s %s: there is no service %v", [table, key, service]) if {
	some table in ["principals", "hosts"]
	some key, service in data.mesh[table]
	not data.mesh.services[service]
}

found contains sprintf("hosts %s: not a name in lower case without port and trailing dot, nor [IPv6]", [host]) if {
	some host, _ in data.mesh.hosts
	not regex.match(`^([a-z0-9_~-]+(\.[a-z0-9_~-]+)*|\[[0-9a-f:.]+\])$`, host)
}

found contains sprintf("defaultService: there is no service %v", [data.mesh.defaultService]) if {
	not data.mesh.services[data.mesh.defaultService]
}

# Services

found contains sprintf("%s: not an object with routes", [service]) if {
	some service, entry in data.mesh.services
	not is_object(object.get(entry, "routes", null))
}

found contains sprintf("%s: unknown member %s", [service, name]) if {
	some service, entry in data.mesh.services
	some name, _ in entry
	not name in {"routes", "organizations"}
}

found contains sprintf("%s: organizations are not a list of names", [service]) if {
	some service, entry in data.mesh.services
	not names(object.get(entry, "organizations", []))
}

# Places: what the segments of a path lead to in the tree of routes. A member whose name has a slash is no segment.

places contains {
	"service": service,
	"steps": steps,
	"node": node,
	"where": sprintf("%s /%s", [service, concat("/", [trim_prefix(step, "/") | some step in steps])]),
} if {
	some service, entry in data.mesh.services
	walk(entry.routes, [steps, node])
	every step in steps {
		segment(step)
	}
}

segment(name) if name == "/*"

segment(name) if not contains(name, "/")

found contains sprintf("%s: not an object", [place.where]) if {
	some place in places
	not is_object(place.node)
}

found contains sprintf("%s: nothing is listed", [place.where]) if {
	some place in places
	place.node == {}
	count(place.steps) > 0
}

found contains sprintf("%s: %s is not a segment, nor one of / /* /**", [place.where, name]) if {
	some place in places
	some name, _ in place.node
	not possible(name)
}

# What the name of a member may be. Requests have neither "." nor ".." in their paths, and a wildcard is a whole segment.
possible(name) if name in {"/", "/*", "/**"}

possible(name) if {
	not contains(name, "/")
	not contains(name, "*")
	not name in {".", ".."}
}

found contains sprintf("%s: a path begins with a segment", [place.where]) if {
	some place in places
	place.steps == []
	place.node["/"]
}

found contains sprintf("%s: nothing follows a trailing slash", [place.where]) if {
	some place in places
	some position, step in place.steps
	step == ""
	position < count(place.steps) - 1
}

found contains sprintf("%s: more than %d segments", [place.where, segments_max]) if {
	some place in places
	count(place.steps) == segments_max + 1
}

# A longer path has no route: see nodes in lookup.rego.
segments_max := 12

# Rules: one for each method of a place.

tables contains {"service": place.service, "methods": place.node[key], "where": sprintf("%s %s", [place.where, key])} if {
	some place in places
	some key in ["/", "/**"]
}

found contains sprintf("%s: methods are not an object with at least one method", [table.where]) if {
	some table in tables
	not is_object(table.methods)
}

found contains sprintf("%s: methods are not an object with at least one method", [table.where]) if {
	some table in tables
	table.methods == {}
}

rules contains {
	"service": table.service,
	"method": method,
	"rule": rule,
	"where": sprintf("%s %v", [table.where, method]),
} if {
	some table in tables
	some method, rule in table.methods
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

found contains sprintf("%s: scopes are missing; [] says that none is needed", [rule.where]) if {
	some rule in rules
	not object.keys(rule.rule) & {"public", "scopes"} != set()
}

found contains sprintf("%s: organizations are missing, here and in the service", [rule.where]) if {
	some rule in rules
	rule.rule != {"public": true}
	not "organizations" in (object.keys(rule.rule) | object.keys(data.mesh.services[rule.service]))
}

found contains sprintf("%s: %s are not a list of names", [rule.where, member]) if {
	some rule in rules
	some member in requirement.members
	not names(object.get(rule.rule, member, []))
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
