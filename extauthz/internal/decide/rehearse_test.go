package decide

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/policy/policytest"
)

func rehearse(source string, timeout time.Duration) error {
	p, err := Compile(context.Background(), []policy.Source{{Name: "p/authz.rego", Data: []byte("package t\n" + source)}},
		policy.Config{Path: "t/allow", EvalTimeout: timeout, Workers: 1})
	if err == nil {
		p.Close()
	}
	return err
}

// A policy that no request could be decided by is refused, by file and line. One that fails for what the requests do not have, or
// is slow for some of them, is not.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	eightfold := ""
	for i := range 6 {
		eightfold += fmt.Sprintf("; x%d := [x%[2]d, x%[2]d, x%[2]d, x%[2]d, x%[2]d, x%[2]d, x%[2]d, x%[2]d]", i+1, i)
	}
	const slow = "n := numbers.range(1, 3000); count([1 | some a in n; some b in n; some c in n; a + b == c]) == -1"
	for name, tt := range map[string]struct{ source, says string }{
		"denies":                  {"allow := false", ""},
		"is undefined":            {"allow if input.nothing", ""},
		"fails":                   {"allow := 1 if input\nallow := 2 if input", ""},
		"slow for nobody":         {"allow if { not input.identity; " + slow + " }", ""},
		"slow for bodies":         {"allow if { input.parsed_body.amount; " + slow + " }", ""},
		"slow":                    {"\nallow if { " + slow + " }", "p/authz.rego:3: t/allow: every request it was tried with took it beyond its limits: policy did not answer in time"},
		"slow unless it is big":   {"allow if { not input.attributes.request.http.headers[\"x-rehearsal-1\"]; " + slow + " }", ""},
		"makes a value too large": {"allow if { x0 := [input.version, 1]" + eightfold + "; count(x6) == 1 }", "p/authz.rego:2: t/allow: every request it was tried with took it beyond its limits: policy evaluation failed within bounds: a value is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			timeout := 200 * time.Millisecond
			if strings.Contains(tt.says, "too large") {
				timeout = time.Minute // the size is what ends it, on any machine
			}
			err := rehearse(tt.source, timeout)
			var broken *policy.CompileError
			switch {
			case tt.says == "" && err != nil:
				t.Error(err)
			case tt.says != "" && (!errors.As(err, &broken) || !strings.HasPrefix(err.Error(), tt.says)):
				t.Errorf("%v, want %s", err, tt.says)
			}
		})
	}
}

// A decision that several rules make is refused by all their places: which of them is slow is not known, and the first is as likely to be an old one.
func TestRehearsalNamesEveryPlaceOfTheDecision(t *testing.T) {
	t.Parallel()
	const slow = "n := numbers.range(1, 3000); count([1 | some a in n; some b in n; some c in n; a + b == c]) == -1"
	sources := []policy.Source{
		{Name: "authz.rego", Data: []byte("package t\n\ndefault allow := false\n")},
		{Name: "unrelated.rego", Data: []byte("package t\n\nother := 1\n")},
		{Name: "y.rego", Data: []byte("package t\n\nallow if input.nothing\n\nallow if { " + slow + " }\n")},
	}
	compiled := func() string {
		p, err := Compile(context.Background(), sources, policy.Config{Path: "t/allow", EvalTimeout: 200 * time.Millisecond, Workers: 1})
		if err == nil {
			p.Close()
			return "in force"
		}
		return err.Error()
	}
	const all = "policy did not answer in time"
	if got := compiled(); !strings.HasPrefix(got, "t/allow: ") || !strings.Contains(got, all) || !strings.HasSuffix(got, "(it is decided in authz.rego:3, y.rego:3, y.rego:5)") {
		t.Error(got)
	}
	for n := range 10 {
		sources = append(sources, policy.Source{Name: fmt.Sprintf("z%d.rego", n), Data: []byte("package t\n\nallow if input.nothing\n")})
	}
	if got := compiled(); !strings.HasSuffix(got, "(it is decided in authz.rego:3, y.rego:3, y.rego:5, z0.rego:3, z1.rego:3, z2.rego:3, z3.rego:3, z4.rego:3, 5 more)") {
		t.Error(got)
	}
}

// None of the hostile pack comes into force.
func TestHostilePoliciesAreNotPutInForce(t *testing.T) {
	t.Parallel()
	for _, h := range policytest.SharedPack() {
		if err := rehearse(strings.TrimPrefix(strings.ReplaceAll(h.Module(), "input.x", "input.parsed_path"), "package t\n"), 200*time.Millisecond); err == nil {
			t.Errorf("%s is in force", h.Name)
		}
	}
}
