package decisionlog

import (
	"encoding/hex"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/extauthz/internal/identity"
	"github.com/agentidp/agentidp/internal/obs"
)

// Record is one decision, as the pipeline knows it.
type Record struct {
	DecisionID string
	Time       time.Time
	Elapsed    time.Duration
	Epoch      uint64 // of the snapshot that decided
	Revision   string // of the policy in it
	Path       string // of the decision in the policy: agentidp/authz/allow
	Result     string // allowed, denied or undecided
	Reason     string // closed set; empty when allowed
	Code       string // the policy's own reason code
	Status     int    // HTTP status of a denial
	Request    *checkreq.Request
	Identity   *identity.Identity
	Decision   any // what the policy returned; nil when it was not asked
	Err        string
	DryRun     bool             // the policy is asked, and not obeyed when it denies
	Overruled  bool             // it denied, or could not decide, and the request passed for that reason
	Trace      obs.TraceContext // the span of the check, or of whoever asked; the zero value names none
	Shadow     *Shadow          // when set, the record says that a candidate policy disagrees

	Organization *Organization // when set, the policy of the caller's organization was to be asked, too
}

// The three results a decision can have.
const (
	ResultAllowed   = "allowed"
	ResultDenied    = "denied"
	ResultUndecided = "undecided"
)

// Organization is what the policy of the caller's organization made of a request that the mesh policy allows. Reason and Err of the
// record are its own where its Result is not ResultAllowed.
type Organization struct {
	ID       string
	Revision string // "" when no policy could be asked
	Path     string
	Result   string
	Code     string
	Decision any
}

// Shadow is what a candidate policy would have decided. The rest of the record is what was decided.
type Shadow struct {
	Organization string // whose own policy the candidate is for; "" for the mesh policy
	Revision     string
	Path         string
	Result       string
	Reason       string
	Code         string
	Decision     any
	Err          string
	Rules        []string         // of the candidate, those that held: data.a.b.allow@a/b.rego:12
	Labels       []map[string]any // of these rules, from their annotations
	ActiveRules  []string         // the same of the policy that decided
	ActiveLabels []map[string]any
}

// event is EventV1 of OPA's decision log plugin (v1/plugins/logs), the members that have a meaning here.
type event struct {
	Labels     map[string]string `json:"labels"`
	DecisionID string            `json:"decision_id"`
	TraceID    string            `json:"trace_id,omitempty"`
	SpanID     string            `json:"span_id,omitempty"`
	Bundles    map[string]bundle `json:"bundles,omitempty"`
	Path       string            `json:"path,omitempty"`
	Input      map[string]any    `json:"input,omitempty"`
	Result     any               `json:"result,omitempty"`
	Erased     []string          `json:"erased,omitempty"`
	Masked     []string          `json:"masked,omitempty"`
	Error      *failure          `json:"error,omitempty"`
	Timestamp  time.Time         `json:"timestamp"`
	Metrics    map[string]int64  `json:"metrics"`
	Custom     custom            `json:"custom"`
}

type bundle struct {
	Revision string `json:"revision"`
}

type failure struct {
	Message string `json:"message"`
}

// custom is what OPA has no member for.
type custom struct {
	Type   string `json:"type,omitempty"` // "shadow"; absent for decisions
	Epoch  uint64 `json:"snapshot_epoch"`
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
	Code   string `json:"reason_code,omitempty"`
	Status int    `json:"http_status,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
	Passed bool   `json:"dry_run_passed,omitempty"` // only because of the dry run

	Rules  []string         `json:"rules,omitempty"`
	Labels []map[string]any `json:"rule_labels,omitempty"`
	Shadow *shadow          `json:"shadow,omitempty"`

	Organization *organization `json:"organization,omitempty"`
}

// organization is the second decision, beside the one in result.
type organization struct {
	ID       string `json:"id"`
	Path     string `json:"path"`
	Result   string `json:"result"`
	Code     string `json:"reason_code,omitempty"`
	Decision any    `json:"decision,omitempty"`
}

type shadow struct {
	Org      string           `json:"organization,omitempty"`
	Revision string           `json:"revision"`
	Path     string           `json:"path"`
	Result   string           `json:"result"`
	Reason   string           `json:"reason,omitempty"`
	Code     string           `json:"reason_code,omitempty"`
	Decision any              `json:"decision,omitempty"`
	Error    *failure         `json:"error,omitempty"`
	Rules    []string         `json:"rules,omitempty"`
	Labels   []map[string]any `json:"rule_labels,omitempty"`
}

func (r Record) event(labels map[string]string, mask []pointer) event {
	e := event{
		Labels: labels, DecisionID: r.DecisionID, Path: r.Path, Result: maskResult(r.Decision, resultDepthMax), Timestamp: r.Time.UTC(),
		Metrics: map[string]int64{"timer_server_handler_ns": r.Elapsed.Nanoseconds()},
		Custom:  custom{Epoch: r.Epoch, Result: r.Result, Reason: r.Reason, Code: r.Code, Status: r.Status, DryRun: r.DryRun, Passed: r.Overruled},
	}
	if r.Trace.IsValid() {
		e.TraceID, e.SpanID = hex.EncodeToString(r.Trace.TraceID[:]), hex.EncodeToString(r.Trace.SpanID[:])
	}
	if r.Revision != "" {
		e.Bundles = map[string]bundle{"policy": {Revision: r.Revision}}
	}
	if o := r.Organization; o != nil {
		if o.Revision != "" {
			if e.Bundles == nil {
				e.Bundles = map[string]bundle{}
			}
			e.Bundles["organization"] = bundle{o.Revision}
		}
		e.Custom.Organization = &organization{o.ID, o.Path, o.Result, o.Code, maskResult(o.Decision, resultDepthMax)}
	}
	e.Error = failureOf(r.Err)
	if r.Request != nil {
		e.Input, e.Masked = inputOf(r.Request, r.Identity)
	}
	if s := r.Shadow; s != nil {
		e.Custom.Type, e.Custom.Rules, e.Custom.Labels = "shadow", s.ActiveRules, s.ActiveLabels
		e.Custom.Shadow = &shadow{
			Org: s.Organization, Revision: s.Revision, Path: s.Path, Result: s.Result, Reason: s.Reason, Code: s.Code,
			Decision: maskResult(s.Decision, resultDepthMax), Error: failureOf(s.Err), Rules: s.Rules, Labels: s.Labels,
		}
	}
	e.erase(mask)
	return e
}

func failureOf(message string) *failure {
	if message == "" {
		return nil
	}
	return &failure{Message: maskText(message)}
}

// erase leaves out what the operator does not want in the log. What a candidate policy decided is a result, too.
func (e *event) erase(mask []pointer) {
	if len(mask) == 0 {
		return
	}
	document := map[string]any{"result": e.Result}
	if e.Input != nil {
		document["input"] = e.Input
	}
	candidate, second := map[string]any{}, map[string]any{}
	if e.Custom.Shadow != nil {
		candidate["result"] = e.Custom.Shadow.Decision
	}
	if e.Custom.Organization != nil {
		second["result"] = e.Custom.Organization.Decision
	}
	for _, p := range mask {
		erased := p.erase(document)
		erased = p.erase(second) || erased
		if p.erase(candidate) || erased {
			e.Erased = append(e.Erased, p.text)
		}
	}
	if e.Custom.Organization != nil {
		e.Custom.Organization.Decision = second["result"]
	}
	e.Input, _ = document["input"].(map[string]any)
	e.Result = document["result"]
	if e.Custom.Shadow != nil {
		e.Custom.Shadow.Decision = candidate["result"]
	}
}

// inputOf renders the parts of the policy's input that explain a decision, in the same places. Bodies and certificates
// are left out; so is what was signed beyond the members every identity has.
func inputOf(r *checkreq.Request, i *identity.Identity) (map[string]any, []string) {
	headers := make(map[string]any, len(r.Headers))
	r.Headers.Joined(func(name, value string) { headers[name] = value })
	input := map[string]any{
		"attributes": map[string]any{
			"source":      peerOf(&r.Source),
			"destination": peerOf(&r.Destination),
			"request": map[string]any{"http": map[string]any{
				"id": r.ID, "method": r.Method, "path": r.Target, "host": r.Host, "scheme": r.Scheme, "protocol": r.Protocol, "headers": headers,
			}},
			"contextExtensions": textsOf(r.Extensions),
		},
		"parsed_path": r.Segments,
	}
	if r.HostName != "" {
		input["parsed_host"] = r.HostName
	}
	if i != nil {
		input["identity"] = map[string]any{
			"subject": i.Subject, "organizationId": i.OrganizationID, "issuer": i.Issuer, "origin": i.Origin, "clientId": i.ClientID,
			"scopes": i.Scopes, "actors": i.Actors, "confirmation": i.Confirmation, "tokenId": i.TokenID,
			"issuedAt": i.IssuedAt, "expiresAt": i.ExpiresAt,
		}
	}
	return input, hide(input)
}

// textsOf is a copy from which members can be erased.
func textsOf(m map[string]string) map[string]any {
	if m == nil {
		return nil
	}
	texts := make(map[string]any, len(m))
	for name, value := range m {
		texts[name] = value
	}
	return texts
}

func peerOf(p *checkreq.Peer) map[string]any {
	peer := map[string]any{}
	if p.Principal != "" {
		peer["principal"] = p.Principal
	}
	if p.IP != "" {
		peer["address"] = map[string]any{"socketAddress": map[string]any{"address": p.IP, "portValue": p.Port}}
	}
	return peer
}

// Size is about how many bytes a queued record keeps in memory.
func (r Record) Size() int64 {
	if r.Request == nil {
		return 256
	}
	n := 1024 + 2*len(r.Request.Target) + len(r.Request.Body) + len(r.Request.Source.Certificate)
	for _, h := range r.Request.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return int64(n)
}
