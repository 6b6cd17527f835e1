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
	Refused bool   // when it is compiled, as a function there is none of; else it must be answered at the deadline
	Before  string // rules beside it
	Value   string // of the rule when the body holds; empty is true
}

// Module is a module whose rule data.t.allow has this body.
func (h Hostile) Module() string {
	value := h.Value
	if value == "" {
		value = "true"
	}
	return "package t\n" + h.Before + "default allow := false\nallow := " + value + " if { " + h.Body + " }"
}

// HostilePack returns them all.
func HostilePack() []Hostile {
	return append(SharedPack(), []Hostile{
		{Name: "cross join", Body: `n := numbers.range(1, 3000); count([1 | some a in n; some b in n; some c in n; a + b == c]) == -1`},
		{Name: "set product", Body: `n := numbers.range(1, 100000); count({[a, b] | some a in n; some b in n}) == -1`},
		{Name: "long range", Body: `count(numbers.range(1, 100000000)) == -1`},
		{Name: "sum of a long range", Body: `some i in numbers.range(1, 50000000); i == -1`},
		{Name: "hash chain", Body: `some i in numbers.range(1, 10000000); crypto.sha256(format_int(i, 10)) == ""`},
		{Name: "regular expressions", Body: `some i in numbers.range(1, 1000000); regex.match(sprintf("(a+)+%d$", [i]), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")`},
		{Name: "globs", Body: `some i in numbers.range(1, 1000000); glob.match(sprintf("{a,b,*}*%d", [i]), [], "aaaaaaaaaaaaaaaaaaaa")`},
		{Name: "walk", Body: `n := numbers.range(1, 300); x := [[[a, b] | some a in n] | some b in n]; count([p | walk(x, [p, _]); walk(x, [p, _])]) == -1`},
		{Name: "huge products", Body: huge(15)},
		{Name: "doubled text", Body: doubled(`concat("", [x%d, x%d])`, `"0123456789"`, 23)}, // 84 MB if nobody stops it
		{Name: "doubled list", Body: doubled(`array.concat(x%d, x%d)`, `[1, 2, 3, 4]`, 22)},
		{Name: "doubled escapes", Body: doubled(`sprintf("%%v%%v", [x%d, x%d])`, `"01234567"`, 23)},
		{Name: "wide number", Body: `count(sprintf("%999999999d", [1])) == -1`},
		{Name: "bits.lsh", Body: `bits.lsh(1, 2000000000) == 0`, Refused: true},
		{Name: "graph.reachable", Body: `graph.reachable({}, []) == set()`, Refused: true},
		{Name: "graph.reachable_paths", Body: `graph.reachable_paths({}, []) == set()`, Refused: true},
		{Name: "net.cidr_expand", Body: `net.cidr_expand("10.0.0.0/8") == set()`, Refused: true},
		{Name: "http.send", Body: `http.send({"method": "GET", "url": "http://127.0.0.1:1"}).status_code == 200`, Refused: true},
		{Name: "net.lookup_ip_addr", Body: `net.lookup_ip_addr("localhost") == set()`, Refused: true},
		{Name: "opa.runtime", Body: `opa.runtime().env == {}`, Refused: true},
		{Name: "rego.parse_module", Body: `rego.parse_module("x", "package x") == {}`, Refused: true},
		{Name: "trace", Body: `trace("x")`, Refused: true},
		{Name: "rand.intn", Body: `rand.intn("x", 2) == 1`, Refused: true},
		{Name: "uuid.rfc4122", Body: `uuid.rfc4122("x") == ""`, Refused: true},
		{Name: "json.verify_schema", Body: `json.verify_schema({"$ref": "http://127.0.0.1:1"}) == []`, Refused: true},
		{Name: "json.match_schema", Body: `json.match_schema({}, {"$ref": "http://127.0.0.1:1"}) == []`, Refused: true},
		{Name: "strings.render_template", Body: `strings.render_template("{{.x}}", {"x": 1}) == ""`, Refused: true},
		{Name: "io.jwt.decode", Body: `io.jwt.decode("a.b.c") == []`, Refused: true},
		{Name: "io.jwt.encode_sign", Body: `io.jwt.encode_sign({}, {}, {}) == ""`, Refused: true},
		{Name: "yaml.unmarshal", Body: `yaml.unmarshal("a: 1") == {}`, Refused: true},
		{Name: "providers.aws.sign_req", Body: `providers.aws.sign_req({}, {}, 1) == {}`, Refused: true},
		{Name: "crypto.x509", Body: `crypto.x509.parse_certificates("") == []`, Refused: true},
		{Name: "regex.globs_match", Body: `regex.globs_match("a*", "b*")`, Refused: true},
		{Name: "huge repetition", Body: `regex.match("((a{1000}){1000})", "a")`},
	}...)
}

// sharedDepth is how often a value is doubled: written out, it is larger than any machine.
const sharedDepth = 40

// SharedPack returns those that make a small value in which one thing stands again and again, and then have somebody write it out
// or compare it. Each must end with an error, and with the memory that a good policy takes.
func SharedPack() []Hostile {
	const list, object = "[%s, %s]", `{"l": %s, "r": %s}`
	y := func(pattern string) string { return shared("y", pattern, `[input.x, 1]`) }
	both := func(pattern string) string { return y(pattern) + "; " + shared("z", pattern, `[input.x, 1]`) }
	functions, rules, sets, mocked := "f0(x) := [x, x]\n", "", "", ""
	for i := range sharedDepth {
		functions += fmt.Sprintf("f%d(x) := f%d([x, x])\n", i+1, i)
		for _, name := range []string{"r", "q"} {
			if i == 0 {
				rules += name + "0 := [input.x, 1]\n"
			}
			rules += fmt.Sprintf("%s%d := array.concat([%s%d], [%s%d])\n", name, i+1, name, i, name, i)
		}
		if i == 0 {
			sets += "s0 := {1}\n"
			mocked += "m0 := input\n"
		}
		sets += fmt.Sprintf("s%d contains [n, s%d] if some n in [1, 2]\n", i+1, i)
		mocked += fmt.Sprintf("m%d := x if x := m%d with input as [input, input]\n", i+1, i)
	}
	last := fmt.Sprint(sharedDepth)
	return []Hostile{
		{Name: "shared result", Body: y(list), Value: `{"allowed": true, "x": y` + last + `}`},
		{Name: "shared result of objects", Body: y(object), Value: `{"allowed": true, "x": y` + last + `}`},
		{Name: "shared result of sets", Body: y(`{[1, %s], [2, %s]}`), Value: `y` + last},
		{Name: "shared result of patterns", Body: patterns(), Value: `{"allowed": true, "x": y` + last + `}`},
		{Name: "shared result of comprehensions", Body: shared("y", `[w | some i in [1, 2]; w := [i, %s]; %s != i]`, `[input.x, 1]`), Value: "y" + last},
		{Name: "shared result of a with", Before: mocked, Body: "true", Value: "m" + last},
		{Name: "shared key", Body: y(list), Value: `{"allowed": true, y` + last + `: 1}`},
		{Name: "shared marshal", Body: y(list) + "; json.marshal(y" + last + `) == ""`},
		{Name: "shared marshal with options", Body: y(list) + "; json.marshal_with_options(y" + last + `, {"pretty": true}) == ""`},
		{Name: "shared sprintf", Body: y(list) + `; sprintf("%v", [y` + last + `]) == ""`},
		{Name: "shared template", Body: y(list) + `; $"{y` + last + `}" == ""`},
		{Name: "shared equality of rules", Before: rules, Body: "r" + last + " == q" + last},
		{Name: "shared inequality", Before: rules, Body: "r" + last + " != q" + last},
		{Name: "shared membership", Before: rules, Body: "r" + last + " in [q" + last + "]"},
		{Name: "shared sets", Before: sets, Body: "count(s" + last + ") == -1"},
		{Name: "shared arguments", Before: functions, Body: "is_number(f" + last + "(input))"},
		{Name: "shared union", Body: both(object) + "; count(object.union(y" + last + ", z" + last + ")) == -1"},
		{Name: "shared subset", Body: both(object) + "; object.subset(y" + last + ", z" + last + ")"},
		{Name: "shared walk", Body: y(list) + "; count([p | walk(y" + last + ", [p, _])]) == -1"},
		{Name: "shared patch", Body: `json.patch([1], [{"op": "copy", "from": "", "path": "/-"} | some _ in numbers.range(1, ` + last + `)]) == input.x`},
		{Name: "shared text", Body: `x := sprintf("%1000d", [1]); y := replace(x, " ", x); z := replace(y, " ", y); count(replace(z, " ", z)) == -1`},
		{Name: "shared format", Body: `count(sprintf(concat("", [x | some i in numbers.range(1, 300); x := "%999999d"]), numbers.range(1, 300))) == -1`},
		{Name: "chosen argument", Body: `x := sprintf("%1000000d", [1]); count(sprintf(concat("", [f | some i in numbers.range(1, 3000); f := "%[1]v"]), [x])) == -1`},
		{Name: "shared separator", Body: `x := sprintf("%1000000d", [1]); count(concat(x, [f | some i in numbers.range(1, 3000); f := "a"])) == -1`},
		{Name: "shared escapes", Body: doubled(`hex.encode(concat("", [x%d, x%d]))`, `"01234567"`, sharedDepth)},
		{Name: "shared indent", Body: `x := sprintf("%1000000d", [1]); count(json.marshal_with_options(numbers.range(1, 3000), {"indent": x})) == -1`},
	}
}

// shared doubles a value again and again.
func shared(name, pattern, first string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s0 := %s", name, first)
	for i := range sharedDepth {
		before := fmt.Sprint(name, i)
		fmt.Fprintf(&b, "; %s%d := "+strings.ReplaceAll(pattern, "%s", "%[3]s"), name, i+1, before)
	}
	return b.String()
}

// patterns doubles a value by taking it out of what it is put into, with something still unknown on both sides.
func patterns() string {
	b := &strings.Builder{}
	b.WriteString("y0 := [input.x, 1]")
	for i := range sharedDepth {
		fmt.Fprintf(b, "; [y%d, y%d] = [[y%d, y%d], w%d]", i+1, i, i, i, i)
	}
	return b.String()
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
