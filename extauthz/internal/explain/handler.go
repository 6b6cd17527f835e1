package explain

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/agentidp/agentidp/internal/policy"
)

// Route is where Recorder is to be mounted.
const Route = "GET /debug/decision/{id}"

// Answer is what an operator gets.
type Answer struct {
	Kept
	Policy      PolicyState     `json:"policy"`
	Input       json.RawMessage `json:"input,omitempty"`
	Explanation *Explanation    `json:"explanation,omitempty"`
	Missing     string          `json:"missing,omitempty"` // why there is no explanation

	// OfOrganization explains the second decision, if there was one and its policy is still in memory.
	OfOrganization *Explanation `json:"organization_explanation,omitempty"`
}

// PolicyState names the policy that decided.
type PolicyState struct {
	Revision  string `json:"revision,omitempty"`
	Available bool   `json:"available"` // it is the one in force, or the one before
}

// Explanation is what an evaluation of the kept input came to.
type Explanation struct {
	Decision json.RawMessage `json:"decision"`
	// Agrees says that the decision is what it was. It may not be, when the policy reads what is masked or left out, or what
	// changes by itself.
	Agrees    bool                   `json:"agrees"`
	Rules     []policy.ExplainedRule `json:"rules"`
	Data      []policy.ExplainedData `json:"data"`
	Labels    []map[string]any       `json:"rule_labels,omitempty"`
	Truncated bool                   `json:"truncated,omitempty"`
}

// ServeHTTP answers for the decision whose id is in the path.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	e, decidedBy := r.find(req.PathValue("id"))
	if e == nil {
		write(w, http.StatusNotFound, map[string]string{"error": "this decision is not kept: it never was, or it is too long ago"})
		return
	}
	a := Answer{Kept: e.kept, Policy: PolicyState{Revision: e.kept.Revision, Available: decidedBy != nil}, Input: e.input}
	switch {
	case e.input == nil:
		a.Missing = "the policy was not asked"
	case decidedBy == nil:
		a.Missing = "the policy that decided is gone: it was replaced more than once since"
	default:
		a.Explanation, a.Missing = r.again(req, e.input, e.kept.Decision, decidedBy)
	}
	if o := e.kept.Organization; o != nil && e.input != nil {
		if second := r.resident(o.ID, o.Revision); second != nil {
			a.OfOrganization, _ = r.again(req, e.input, o.Decision, second)
		}
	}
	write(w, http.StatusOK, a)
}

// again asks a policy about what was kept; before is what it decided.
func (r *Recorder) again(req *http.Request, kept, before json.RawMessage, decidedBy *policy.Policy) (*Explanation, string) {
	input, err := policy.FromJSON(kept)
	if err != nil {
		return nil, err.Error()
	}
	why, err := decidedBy.Explain(req.Context(), input)
	if err != nil {
		return nil, err.Error()
	}
	decision, err := json.Marshal(r.masker.Result(why.Decision))
	if err != nil {
		return nil, err.Error()
	}
	if before == nil {
		before = json.RawMessage("null")
	}
	return &Explanation{
		Decision: decision, Agrees: bytes.Equal(decision, before), Rules: why.Rules, Data: why.Data, Labels: why.Labels, Truncated: why.Truncated,
	}, ""
}

func write(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(document) // a client that hung up
}
