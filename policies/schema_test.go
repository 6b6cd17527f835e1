package policies

import (
	"context"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"
	"go.yaml.in/yaml/v3"
)

// TestSchemaAgreesWithProblems: data.schema.json and data_problems say the same of data, except for what a schema cannot
// say (the last column).
func TestSchemaAgreesWithProblems(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(Mesh(), "data.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema, "$schema") // OPA's validator knows older drafts only; nothing newer is used
	match, err := rego.New(rego.Query("json.match_schema(input.doc, input.schema)")).PrepareForEval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	demo, err := fs.ReadFile(Demo(), "data.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const a = "mesh: {services: {a: {organizations: ['*'], routes: "
	for _, tt := range []struct {
		name, data     string
		schema, policy bool // whether each finds nothing wrong
	}{
		{"demo", string(demo), true, true},
		{"generated", routes(30), true, true},
		{"empty", "mesh: {services: {}}", true, true},
		{"no services", "mesh: {}", false, true}, // allows nothing, and is not wrong
		{"unknown member", "mesh: {services: {}, service: {}}", false, false},
		{"unknown member of a service", "mesh: {services: {a: {routes: {}, org: []}}}", false, false},
		{"no routes", "mesh: {services: {a: {}}}", false, false},
		{"unknown service", "mesh: {services: {}, defaultService: a}", true, false},
		{"hosts", "mesh: {services: {a: {routes: {}}}, hosts: {a.example: a, '[::1]': a}}", true, true},
		{"host with a port", "mesh: {services: {a: {routes: {}}}, hosts: {'a.example:80': a}}", false, false},
		{"host in capitals", "mesh: {services: {a: {routes: {}}}, hosts: {A.example: a}}", false, false},
		{"organizations are text", "mesh: {services: {a: {organizations: a, routes: {}}}}", false, false},
		{"no organizations", "mesh: {services: {a: {routes: {x: {/: {GET: {scopes: []}}}}}}}", true, false},
		{"everything", a + "{'': {/: {GET: {public: true}}}, x: {/*: {/**: {PUT: {scopes: [a], agents: [b], origins: [local], organizations: [c]}}}, '': {/: {GET: {scopes: []}}}}}}}}", true, true},
		{"methods at the root", a + "{/: {GET: {scopes: []}}}}}}", false, false},
		{"empty node", a + "{x: {}}}}}", false, false},
		{"two segments", a + "{x/y: {/: {GET: {scopes: []}}}}}}}", false, false},
		{"leading slash", a + "{/x: {/: {GET: {scopes: []}}}}}}}", false, false},
		{"part of a segment", a + "{x*: {/: {GET: {scopes: []}}}}}}}", false, false},
		{"dots", a + "{..: {/: {GET: {scopes: []}}}}}}}", false, false},
		{"after a trailing slash", a + "{'': {x: {/: {GET: {scopes: []}}}}}}}}", false, false},
		{"methods forgotten", a + "{x: {GET: {scopes: []}}}}}}", false, false},
		{"no methods", a + "{x: {/: {}}}}}}", false, false},
		{"small letters", a + "{x: {/: {get: {scopes: []}}}}}}}", false, false},
		{"typo", a + "{x: {/: {GET: {scopes: [], scope: []}}}}}}}", false, false},
		{"public and scopes", a + "{x: {/: {GET: {scopes: [], public: true}}}}}}}", false, false},
		{"public in words", a + "{x: {/: {GET: {public: 'yes'}}}}}}}", false, false},
		{"no scopes", a + "{x: {/: {GET: {}}}}}}}", false, false},
		{"origin", a + "{x: {/: {GET: {scopes: [], origins: [remote]}}}}}}}", false, false},
		{"empty name", a + "{x: {/: {GET: {scopes: ['']}}}}}}}", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var doc any
			if err := yaml.Unmarshal([]byte(tt.data), &doc); err != nil {
				t.Fatal(err)
			}
			results, err := match.Eval(context.Background(), rego.EvalInput(map[string]any{"doc": doc, "schema": schema}))
			if err != nil || len(results) != 1 {
				t.Fatalf("schema: %v, %v", results, err)
			}
			verdict, _ := results[0].Expressions[0].Value.([]any)
			if verdict[0] != tt.schema {
				t.Errorf("schema: %v", verdict)
			}
			problems, err := compileMesh(t, "agentidp/authz/data_problems", tt.data).Eval(context.Background(), nil)
			if list, ok := problems.([]any); err != nil || !ok || (len(list) == 0) != tt.policy {
				t.Errorf("problems: %v, %v", problems, err)
			}
		})
	}
}
