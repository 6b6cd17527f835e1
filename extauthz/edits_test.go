package extauthz

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/jose/josetest"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/trust"
)

// editedPolicy decides by data that is edited, beside it by rules.
const editedPolicy = `package agentidp.authz

default allow := {"allowed": false}

allow := {"allowed": true, "headers": {"x-tier": data.tiers[input.identity.subject]}} if {
	input.parsed_path[0] in data.open
	some scope in input.identity.scopes
	scope in data.scopes
}
`

// A server that remembers decisions and one that does not answer alike, whatever is edited between requests: the policy, its data, an
// issuer's keys and its revocation list. And no decision made under an issuer's keys and list is remembered under others.
func TestRememberedAndFreshAnswersNeverDiffer(t *testing.T) {
	t.Parallel()
	e := newEdge(t, ordersPolicy, withDecisionCache)
	fresh, err := New(Options{Store: e.store, Now: josetest.Now, DecisionPath: "agentidp/authz/allow"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fresh.Close)
	bare := &edge{fresh, e.store}

	policies := []*policy.Policy{e.store.Load().Policy}
	for _, data := range []string{
		`{"open": ["orders"], "scopes": ["orders.read"], "tiers": {"agt_1": "gold", "agt_2": "none"}}`,
		`{"open": ["orders", "open"], "scopes": ["orders.read", "other"], "tiers": {"agt_1": "none"}}`,
		`{"open": [], "scopes": [], "tiers": {}}`,
	} {
		p, err := policy.Compile(context.Background(), []policy.Source{{Name: "a.rego", Data: []byte(editedPolicy)}, {Name: "data.json", Data: []byte(data)}},
			policy.Config{Path: "agentidp/authz/allow", EvalTimeout: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		policies = append(policies, p)
	}
	var keySets []*jose.KeySet
	var tokens []string
	for n := range 2 {
		sign := e.signer(t)
		keySets = append(keySets, e.store.Load().Issuers[josetest.Issuer].Keys)
		for _, agent := range []string{"agt_1", "agt_2"} {
			for _, scope := range []string{"orders.read", "other"} {
				tokens = append(tokens, sign(map[string]any{"sub": agent, "client_id": agent, "scope": scope, "jti": fmt.Sprint(n, agent, scope)}))
			}
		}
	}
	lists := []*trust.RevocationList{
		nil, {Agents: []trust.Agent{{ID: "agt_1"}}}, {Agents: []trust.Agent{{ID: "agt_2"}}}, {Agents: []trust.Agent{{ID: "agt_1"}, {ID: "agt_2"}}},
	}
	paths := []string{"/orders/1", "/open", "/elsewhere"}

	allowed, remembered := 0, uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(10, 40).Draw(rt, "steps") {
			renewed := false
			switch rapid.IntRange(0, 9).Draw(rt, "edit") {
			case 0:
				p := policies[rapid.IntRange(0, len(policies)-1).Draw(rt, "policy")]
				e.UsePolicy(p)
				e.store.Update(func(s *state.Snapshot) { s.Policy = p })
			case 1:
				keys := keySets[rapid.IntRange(0, len(keySets)-1).Draw(rt, "keys")]
				renewed = keys != e.store.Load().Issuers[josetest.Issuer].Keys
				e.changeIssuer(func(i *state.Issuer) { i.Keys = keys })
			case 2:
				list := trust.Index(rapid.SampledFrom(lists).Draw(rt, "list"))
				renewed = true
				e.changeIssuer(func(i *state.Issuer) { i.Revocations, i.HasRevocations = list, true })
			}
			in := request("GET", rapid.SampledFrom(paths).Draw(rt, "path"), "authorization", "Bearer "+rapid.SampledFrom(tokens).Draw(rt, "token"))
			before, _ := e.decisions.Counts()
			got, want := e.ask(t, in), bare.ask(t, in)
			got.id, want.id = "", ""
			after, _ := e.decisions.Counts()
			if !reflect.DeepEqual(got, want) {
				rt.Fatalf("remembering: %+v, fresh: %+v", got, want)
			}
			if renewed && after != before {
				rt.Fatal("a decision is remembered beyond the keys and the list it was made under")
			}
			if got.status == 200 {
				allowed++
			}
			remembered += after - before
		}
	})
	if allowed == 0 || remembered == 0 {
		t.Errorf("%d requests were allowed and %d decisions remembered: this does not test much", allowed, remembered)
	}
}
