package decide

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
)

const (
	codeBytesMax       = 64
	detailBytesMax     = 256
	requiredScopesMax  = 16
	denialBodyBytesMax = 3 << 10 // of a policy's own body; Envoy, as shipped, cuts it at 4 KiB
)

// Decision is what the policy said. The zero value denies.
type Decision struct {
	Allowed bool
	Changes checkresp.Changes
	Status  int     // of a denial; 0 when the policy did not say
	Body    *string // of a denial; nil when the policy did not say
	Reason  Reasoning
	Result  any // as the policy returned it, for the decision log
}

// Reasoning is the policy's account of a denial: {"code": …, "detail": …, "required_scopes": […]}, each optional.
type Reasoning struct {
	Code           string
	Detail         string
	RequiredScopes []string
}

// parse reads the two forms a decision can have: a boolean, or an object with allowed. Members it does not know are
// ignored, as the plugin ignores them; members it knows must have the right type.
func parse(result any) (*Decision, error) {
	switch r := result.(type) {
	case bool:
		return &Decision{Allowed: r, Result: r}, nil
	case map[string]any:
		d := &Decision{Result: r}
		if err := d.read(r); err != nil {
			return nil, err
		}
		return d, nil
	default:
		return nil, errors.New("the decision is neither a boolean nor an object")
	}
}

func (d *Decision) read(o map[string]any) error {
	allowed, ok := o["allowed"].(bool)
	if !ok {
		return errors.New("allowed is missing or not a boolean")
	}
	members := d.ofDenial()
	if allowed {
		members = d.ofAllowance()
	}
	for _, member := range members {
		v, present := o[member.name]
		if !present {
			continue
		}
		if err := member.read(v); err != nil {
			return fmt.Errorf("%s: %w", member.name, err)
		}
	}
	d.Allowed = allowed // last: a decision that was not understood to its end allows nothing
	return nil
}

type member struct {
	name string
	read func(any) error
}

// ofAllowance and ofDenial are the members that count for either. A policy may state all of them always, as the plugin's
// manual does (http_status: 200 with allowed: true); those that do not apply are not looked at.
func (d *Decision) ofAllowance() []member {
	return []member{
		{"headers", func(v any) error { return readHeaders(v, d.Changes.SetHeader) }},
		{"response_headers_to_add", func(v any) error { return readHeaders(v, d.Changes.AddResponseHeader) }},
		{"request_headers_to_remove", func(v any) error { return eachString(v, d.Changes.RemoveHeader) }},
		{"query_parameters_to_remove", func(v any) error { return eachString(v, d.Changes.RemoveQueryParameter) }},
		{"query_parameters_to_set", d.readQuery},
		{"dynamic_metadata", d.readMetadata},
	}
}

func (d *Decision) ofDenial() []member {
	return []member{
		{"headers", func(v any) error { return readHeaders(v, d.Changes.SetHeader) }},
		{"dynamic_metadata", d.readMetadata},
		{"http_status", d.readStatus},
		{"body", d.readBody},
		{"reason", d.readReason},
	}
}

// readHeaders accepts an object, or a list of objects, of name and value, or name and list of values.
func readHeaders(v any, set func(name string, values ...string) error) error {
	objects, ok := v.([]any)
	if !ok {
		objects = []any{v}
	}
	for _, object := range objects {
		headers, ok := object.(map[string]any)
		if !ok {
			return errors.New("expected an object of headers, or a list of them")
		}
		for name, value := range headers {
			values, err := stringOrStrings(value)
			if err != nil {
				return err
			}
			if err := set(name, values...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Decision) readQuery(v any) error {
	parameters, ok := v.(map[string]any)
	if !ok {
		return errors.New("expected an object")
	}
	for name, value := range parameters {
		values, err := stringOrStrings(value)
		if err != nil {
			return err
		}
		for _, s := range values {
			if err := d.Changes.SetQueryParameter(name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Decision) readMetadata(v any) error {
	tree, ok := v.(map[string]any)
	if !ok {
		return errors.New("expected an object")
	}
	return d.Changes.SetMetadata(tree)
}

// readStatus accepts redirects and errors that IANA registered, which are those of Envoy's StatusCode and 418 and 425. The plugin
// accepts all of Envoy's; a denial that looks like a success would be cached, retried and counted as one.
func (d *Decision) readStatus(v any) error {
	n, ok := v.(json.Number)
	if !ok {
		return errors.New("expected a number")
	}
	status, err := n.Int64()
	if err != nil || status < http.StatusMultipleChoices || status > 599 || http.StatusText(int(status)) == "" {
		return errors.New("expected a registered status of 300 to 511")
	}
	d.Status = int(status)
	return nil
}

func (d *Decision) readBody(v any) error {
	body, ok := v.(string)
	if !ok {
		return errors.New("expected a string")
	}
	if len(body) > denialBodyBytesMax {
		return errors.New("longer than 3 KiB")
	}
	d.Body = &body
	return nil
}

func (d *Decision) readReason(v any) error {
	o, ok := v.(map[string]any)
	if !ok {
		return errors.New("expected an object")
	}
	if code, present := o["code"]; present {
		if d.Reason.Code, ok = code.(string); !ok || !isCode(d.Reason.Code) {
			return errors.New("code: expected 1 to 64 of a-z, 0-9 and _")
		}
	}
	if detail, present := o["detail"]; present {
		if d.Reason.Detail, ok = detail.(string); !ok || len(d.Reason.Detail) > detailBytesMax {
			return errors.New("detail: expected a string of at most 256 bytes")
		}
	}
	scopes, present := o["required_scopes"]
	if !present {
		return nil
	}
	return eachString(scopes, func(s string) error {
		if !checkresp.IsScopeToken(s) || len(d.Reason.RequiredScopes) == requiredScopesMax {
			return errors.New("required_scopes: expected at most 16 scopes")
		}
		d.Reason.RequiredScopes = append(d.Reason.RequiredScopes, s)
		return nil
	})
}

func isCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= codeBytesMax
}

func stringOrStrings(v any) ([]string, error) {
	if s, ok := v.(string); ok {
		return []string{s}, nil
	}
	var values []string
	err := eachString(v, func(s string) error {
		values = append(values, s)
		return nil
	})
	return values, err
}

func eachString(v any, f func(string) error) error {
	list, ok := v.([]any)
	if !ok {
		return errors.New("expected a list of strings")
	}
	for _, element := range list {
		s, ok := element.(string)
		if !ok {
			return errors.New("expected a list of strings")
		}
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}
