# METADATA
# title: From a request to the rule that governs it
# description: |
#   Nothing here iterates over services or routes. Each step is a look-up by a name made from the request, so that a
#   decision costs the same with ten routes as with ten thousand.
package agentidp.lookup

# The service that was called. What the operator wrote into Envoy's configuration comes first; the certificate Envoy
# presents for the service comes second; the host a client asked for is believed only where the operator listed hosts.
# There is no falling back from one to the next: a name that is present and not listed is nobody's.
service := name if {
	name := input.attributes.contextExtensions.service
} else := name if {
	data.mesh.principals
	input.attributes.destination.principal != ""
	name := object.get(data.mesh.principals, input.attributes.destination.principal, "")
} else := name if {
	data.mesh.hosts
	name := object.get(data.mesh.hosts, input.parsed_host, "")
} else := data.mesh.defaultService

entry := data.mesh.services[service]

# The rule for the request's method, among the methods of its path.
rule := methods[input.attributes.request.http.method]

# The methods listed for the request's path. A pattern as long as the path goes before one that ends in "/**", a longer
# "/**" before a shorter one, and, from the left, a segment written out before "/*". The first pattern owns the path: a
# method it does not list is not looked for elsewhere, so that a more exact pattern can narrow what a wider one allows.
#
# The first two branches are the third one for the two commonest patterns, at a fraction of its price. An empty segment,
# which is what a trailing slash leaves, is not one that "/*" stands for.
methods := found if {
	found := object.get(entry.routes, array.concat(input.parsed_path, ["/"]), false)
	found
} else := found if {
	last := depth - 1
	input.parsed_path[last] != ""
	found := object.get(entry.routes, array.concat(array.slice(input.parsed_path, 0, last), ["/*", "/"]), false)
	found
} else := found[0] if {
	found := [listed |
		some node in nodes(depth)
		listed := node["/"]
	]
} else := found[0] if {
	found := [listed |
		some length in numbers.range(min([depth - 1, 12]), 0)
		input.parsed_path[length] != ""
		some node in nodes(length)
		listed := node["/**"]
	]
}

depth := count(input.parsed_path)

# children of some nodes that the segment at a position leads to, the one it names first.
children(parents, position) := [child |
	segment := input.parsed_path[position]
	some parent in parents
	some name in object.get({"": [""]}, segment, [segment, "/*"])
	child := parent[name]
]

# nodes(n) are the nodes of the tree that the first n segments lead to, in order of preference. Rego has no recursion,
# hence a line for each segment a pattern may have. A longer path has no route of its own, only those that end in "/**":
# they are looked for from the twelfth segment down, so that a stranger's path of thousands costs no more than one of twelve.
nodes(0) := [entry.routes]

nodes(1) := nodes_1

nodes(2) := nodes_2

nodes(3) := nodes_3

nodes(4) := nodes_4

nodes(5) := nodes_5

nodes(6) := nodes_6

nodes(7) := nodes_7

nodes(8) := nodes_8

nodes(9) := nodes_9

nodes(10) := nodes_10

nodes(11) := nodes_11

nodes(12) := nodes_12

nodes_1 := children([entry.routes], 0)

nodes_2 := children(nodes_1, 1)

nodes_3 := children(nodes_2, 2)

nodes_4 := children(nodes_3, 3)

nodes_5 := children(nodes_4, 4)

nodes_6 := children(nodes_5, 5)

nodes_7 := children(nodes_6, 6)

nodes_8 := children(nodes_7, 7)

nodes_9 := children(nodes_8, 8)

nodes_10 := children(nodes_9, 9)

nodes_11 := children(nodes_10, 10)

nodes_12 := children(nodes_11, 11)
