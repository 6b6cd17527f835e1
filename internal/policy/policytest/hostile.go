// Package policytest holds policies that tests of several packages try.
package policytest

import (
	"fmt"
	"strings"
)

// Hostile is the body of a rule that somebody may write to hold a sidecar up.
type Hostile struct {
	Name    string
	Body    string
	Refused bool // when it is compiled, as a function there is none of; else it must be answered at the deadline
}

// Module is a module whose rule data.t.allow has this body.
func (h Hostile) Module() string {
	return "package t\ndefault allow := false\nallow if { " + h.Body + " }"
}

// HostilePack returns them all.
func HostilePack() []Hostile {
	return []Hostile{
		{"cross join", `n := numbers.range(1, 3000); count([1 | some a in n; some b in n; some c in n; a + b == c]) == -1`, false},
		{"set product", `n := numbers.range(1, 100000); count({[a, b] | some a in n; some b in n}) == -1`, false},
		{"long range", `count(numbers.range(1, 100000000)) == -1`, false},
		{"sum of a long range", `some i in numbers.range(1, 50000000); i == -1`, false},
		{"hash chain", `some i in numbers.range(1, 10000000); crypto.sha256(format_int(i, 10)) == ""`, false},
		{"regular expressions", `some i in numbers.range(1, 1000000); regex.match(sprintf("(a+)+%d$", [i]), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")`, false},
		{"globs", `some i in numbers.range(1, 1000000); glob.match(sprintf("{a,b,*}*%d", [i]), [], "aaaaaaaaaaaaaaaaaaaa")`, false},
		{"walk", `n := numbers.range(1, 300); x := [[[a, b] | some a in n] | some b in n]; count([p | walk(x, [p, _]); walk(x, [p, _])]) == -1`, false},
		{"huge products", huge(15), false},
		{"doubled text", doubled(`concat("", [x%d, x%d])`, `"0123456789"`, 23), false}, // 84 MB if nobody stops it
		{"doubled list", doubled(`array.concat(x%d, x%d)`, `[1, 2, 3, 4]`, 22), false},
		{"doubled escapes", doubled(`sprintf("%%v%%v", [x%d, x%d])`, `"01234567"`, 23), false},
		{"wide number", `count(sprintf("%999999999d", [1])) == -1`, false},
		{"bits.lsh", `bits.lsh(1, 2000000000) == 0`, true},
		{"graph.reachable", `graph.reachable({}, []) == set()`, true},
		{"graph.reachable_paths", `graph.reachable_paths({}, []) == set()`, true},
		{"net.cidr_expand", `net.cidr_expand("10.0.0.0/8") == set()`, true},
		{"http.send", `http.send({"method": "GET", "url": "http://127.0.0.1:1"}).status_code == 200`, true},
		{"net.lookup_ip_addr", `net.lookup_ip_addr("localhost") == set()`, true},
		{"opa.runtime", `opa.runtime().env == {}`, true},
		{"rego.parse_module", `rego.parse_module("x", "package x") == {}`, true},
		{"trace", `trace("x")`, true},
		{"rand.intn", `rand.intn("x", 2) == 1`, true},
		{"uuid.rfc4122", `uuid.rfc4122("x") == ""`, true},
		{"json.verify_schema", `json.verify_schema({"$ref": "http://127.0.0.1:1"}) == []`, true},
		{"json.match_schema", `json.match_schema({}, {"$ref": "http://127.0.0.1:1"}) == []`, true},
		{"strings.render_template", `strings.render_template("{{.x}}", {"x": 1}) == ""`, true},
		{"io.jwt.decode", `io.jwt.decode("a.b.c") == []`, true},
		{"io.jwt.encode_sign", `io.jwt.encode_sign({}, {}, {}) == ""`, true},
		{"yaml.unmarshal", `yaml.unmarshal("a: 1") == {}`, true},
		{"providers.aws.sign_req", `providers.aws.sign_req({}, {}, 1) == {}`, true},
		{"crypto.x509", `crypto.x509.parse_certificates("") == []`, true},
		{"regex.globs_match", `regex.globs_match("a*", "b*")`, true},
		{"huge repetition", `regex.match("((a{1000}){1000})", "a")`, false},
	}
}

// huge squares a number again and again: each product is one call that nothing interrupts.
func huge(times int) string {
	var b strings.Builder
	b.WriteString("x0 := 10000000000000000000000000000000000000001")
	for i := range times {
		fmt.Fprintf(&b, "; x%d := x%d * x%d", i+1, i, i)
	}
	fmt.Fprintf(&b, "; x%d == 0", times)
	return b.String()
}

// doubled makes a value twice as large again and again.
func doubled(step, first string, times int) string {
	var b strings.Builder
	b.WriteString("x0 := " + first)
	for i := range times {
		fmt.Fprintf(&b, "; x%d := "+step, i+1, i, i)
	}
	fmt.Fprintf(&b, "; count(x%d) == -1", times)
	return b.String()
}
