package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostile is Rego that somebody may write to hold a sidecar up (notes/security.md 3.1 was measured with most of them).
// Each must be refused when it is compiled, or be answered at the deadline.
var hostile = []struct {
	name    string
	body    string
	refused bool
}{
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

func TestHostileRego(t *testing.T) {
	t.Parallel()
	const timeout = 50 * time.Millisecond
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			module := "package t\ndefault allow := false\nallow if { " + tt.body + " }"
			p, err := Compile(context.Background(), []Source{{"t.rego", []byte(module)}}, Config{Path: "t/allow", EvalTimeout: timeout})
			if tt.refused {
				var problems *CompileError
				if !errors.As(err, &problems) || !strings.Contains(err.Error(), "undefined function") {
					t.Errorf("compile = %v, want it refused as an undefined function", err)
				}
				return
			}
			if err != nil {
				t.Fatalf("compile: %v", err)
			}
			defer p.Close()
			start := time.Now()
			got, err := p.Eval(context.Background(), Object())
			if d := time.Since(start); d > timeout+500*time.Millisecond { // what a busy machine may add
				t.Errorf("answered after %v", d)
			}
			if got == true || err != nil && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrEvaluation) {
				t.Errorf("Eval = %v, %v", got, err)
			}
		})
	}
	if got, err := mustCompile(t, "t/allow", Config{}, "package t\nallow := true").Eval(context.Background(), Object()); got != true {
		t.Errorf("afterwards a good policy gives %v, %v", got, err)
	}
}

// TestUncancellableBuiltin is the deadline against a real one: bits.lsh as OPA has it, which a test profile allows.
func TestUncancellableBuiltin(t *testing.T) {
	t.Parallel()
	prof := profile{builtins: edgeBuiltins + " bits.lsh"}
	p := mustCompileSources(t, Config{Path: "t/allow", EvalTimeout: evalTimeoutDefault, Workers: 1}, prof,
		Source{"t.rego", []byte("package t\ndefault allow := false\nallow if bits.lsh(1, input.by) == 0")})
	start := time.Now()
	_, err := p.Eval(context.Background(), Object(Member{"by", Int(6_000_000)}))
	if d := time.Since(start); !errors.Is(err, ErrTimeout) || d > time.Second {
		t.Errorf("Eval = %v after %v, want ErrTimeout after 25ms", err, d)
	}
	for p.Stats().Stuck > 0 || len(p.engine.workers.slots) > 0 { // until it is back, or the goroutine would count as leaked
		runtime.Gosched()
	}
	wantEval(t, p, Object(Member{"by", Int(1)}), false, nil)
}
