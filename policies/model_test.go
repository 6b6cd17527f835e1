package policies

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/internal/policy"
)

// The model says in plain Go what docs/policies.md says in words. The Rego takes short cuts for speed; on data and
// requests made up at random both must agree.

type modelRule map[string]any

type modelNode struct {
	here, below map[string]modelRule // methods of "/" and "/**"
	next        map[string]*modelNode
}

func (n *modelNode) tree() map[string]any {
	out := map[string]any{}
	for name, child := range n.next {
		out[name] = child.tree()
	}
	for key, methods := range map[string]map[string]modelRule{"/": n.here, "/**": n.below} {
		if methods == nil {
			continue
		}
		table := map[string]any{}
		for m, r := range methods {
			table[m] = map[string]any(r)
		}
		out[key] = table
	}
	return out
}

// owner returns the methods that own a path: the first node of its length in order of preference, else the longest "/**".
func (n *modelNode) owner(segments []string) map[string]modelRule {
	level, levels := []*modelNode{n}, [][]*modelNode{{n}}
	for _, s := range segments {
		var following []*modelNode
		for _, node := range level {
			if child := node.next[s]; child != nil {
				following = append(following, child)
			}
			if child := node.next["/*"]; child != nil && s != "" {
				following = append(following, child)
			}
		}
		level = following
		levels = append(levels, level)
	}
	for _, node := range level {
		if node.here != nil {
			return node.here
		}
	}
	for i, s := range slices.Backward(segments) {
		for _, node := range levels[i] {
			if node.below != nil && s != "" {
				return node.below
			}
		}
	}
	return nil
}

type modelCaller struct {
	subject, issuer, origin, organization string
	scopes                                []string
}

func (r modelRule) allows(c *modelCaller, serviceOrganizations []string) bool {
	if len(r) == 1 && r["public"] == true {
		return true
	}
	for name := range r {
		if !slices.Contains([]string{"scopes", "organizations", "agents", "origins"}, name) {
			return false
		}
	}
	lists := map[string][]string{"organizations": serviceOrganizations, "origins": {"local"}}
	for name, v := range r {
		list, ok := v.([]string)
		if !ok {
			return false
		}
		lists[name] = list
	}
	if _, ok := r["scopes"]; !ok || c == nil {
		return false
	}
	agent := c.subject
	if c.origin == "federated" {
		agent = c.issuer + " " + c.subject
	}
	agents, listed := lists["agents"]
	return slices.Contains(lists["origins"], c.origin) &&
		(slices.Contains(lists["organizations"], "*") || slices.Contains(lists["organizations"], c.organization)) &&
		(!listed || slices.Contains(agents, agent)) &&
		!slices.ContainsFunc(lists["scopes"], func(s string) bool { return !slices.Contains(c.scopes, s) })
}

func drawRule(t *rapid.T) modelRule {
	if rapid.IntRange(0, 9).Draw(t, "public") == 0 {
		return modelRule{"public": true}
	}
	r := modelRule{"scopes": rapid.SliceOfN(rapid.SampledFrom([]string{"s1", "s2"}), 0, 2).Draw(t, "scopes")}
	optional := func(name string, values ...string) {
		if rapid.IntRange(0, 3).Draw(t, name) == 0 {
			r[name] = rapid.SliceOfN(rapid.SampledFrom(values), 0, 2).Draw(t, name+" list")
		}
	}
	optional("organizations", "org_a", "org_b", "*")
	optional("origins", "local", "federated")
	optional("agents", "agt_1", "https://p agt_1")
	if rapid.IntRange(0, 9).Draw(t, "unsound") == 0 {
		r[rapid.SampledFrom([]string{"scope", "public", "scopes", "agents", "origins"}).Draw(t, "wrong")] = rapid.SampledFrom([]any{"s1", map[string]any{}, map[string]any{"x": "s1"}, nil, false}).Draw(t, "value")
	}
	return r
}

func drawNode(t *rapid.T, depth int) *modelNode {
	methods := func(name string) map[string]modelRule {
		if !rapid.Bool().Draw(t, name) {
			return nil
		}
		return map[string]modelRule{"GET": drawRule(t)}
	}
	n := &modelNode{below: methods("below"), next: map[string]*modelNode{}}
	if depth < 4 {
		n.here = methods("here")
	}
	if depth == 0 {
		return n
	}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "/*", ""}), rapid.ID[string]).Draw(t, "segments") {
		n.next[name] = drawNode(t, depth-1)
	}
	return n
}

func TestMeshAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		root := drawNode(t, 4)
		organizations := rapid.SliceOfN(rapid.SampledFrom([]string{"org_a", "org_c", "*"}), 0, 2).Draw(t, "organizations")
		data, err := json.Marshal(map[string]any{"mesh": map[string]any{"services": map[string]any{
			"orders": map[string]any{"organizations": organizations, "routes": root.tree()},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		var policies []*policy.Policy
		for _, path := range []string{"agentidp/authz/allow", "agentidp/authz/decision"} {
			p, err := policy.Compile(context.Background(), meshSources(string(data)), policy.Config{Path: path, EvalTimeout: patient})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			policies = append(policies, p)
		}
		for range 20 {
			segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "*", "**"}), 1, 5).Draw(t, "path")
			var caller *modelCaller
			id := policy.Value(nil)
			if rapid.IntRange(0, 5).Draw(t, "anonymous") > 0 {
				caller = &modelCaller{
					subject: "agt_1", issuer: "https://p",
					origin:       rapid.SampledFrom([]string{"local", "local", "federated"}).Draw(t, "origin"),
					organization: rapid.SampledFrom([]string{"org_a", "org_b"}).Draw(t, "organization"),
					scopes:       rapid.SliceOf(rapid.SampledFrom([]string{"s1", "s2"})).Draw(t, "held"),
				}
				id = policy.Object(
					policy.Member{Name: "subject", Value: policy.String(caller.subject)},
					policy.Member{Name: "issuer", Value: policy.String(caller.issuer)},
					policy.Member{Name: "origin", Value: policy.String(caller.origin)},
					policy.Member{Name: "organizationId", Value: policy.String(caller.organization)},
					policy.Member{Name: "scopes", Value: policy.Strings(caller.scopes)},
				)
			}
			rule := root.owner(segments)["GET"]
			want := rule != nil && rule.allows(caller, organizations)
			input := request("GET", "/"+strings.Join(segments, "/"), id)
			allow, err := policies[0].Eval(context.Background(), input)
			if err != nil || allow != want {
				t.Fatalf("allow = %v, %v; want %v for %q by %+v under %s", allow, err, want, segments, caller, data)
			}
			decision, err := policies[1].Eval(context.Background(), input)
			if object, ok := decision.(map[string]any); err != nil || !ok || object["allowed"] != want {
				t.Fatalf("decision = %v, %v; want allowed %v for %q by %+v under %s", decision, err, want, segments, caller, data)
			}
		}
	})
}
