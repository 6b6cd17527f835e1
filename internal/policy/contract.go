package policy

import (
	"context"
	"errors"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Value is a ready input or result; callers outside this package never import OPA.
type Value = ast.Value

// Source is one file of a policy: .rego, or data.json / data.yaml which mounts at its directory as in OPA bundles.
type Source struct {
	Name string // relative slash path, shown in errors
	Data []byte
}

// Config of one policy.
type Config struct {
	Path          string        // data path of the decision, "agentidp/authz/allow"
	TokenBuiltins bool          // io.jwt.decode*, verify*: only with identity: policy
	EvalTimeout   time.Duration // hard: Eval answers ErrTimeout by then whatever the evaluator does; default 25 ms
	Workers       int           // evaluations at once; default 4 × GOMAXPROCS; more wait until the deadline, then ErrOverloaded
}

// ReadDir reads a policy directory, sorted by name; *_test.rego, dot files and other extensions are left out.
func ReadDir(dir string) ([]Source, error) { panic("contract") }

// Policy is one compiled and prepared policy, immutable and safe for concurrent use.
type Policy struct{}

// Compile parses, checks against the capability allow-list, compiles and prepares. The error is a *CompileError.
func Compile(ctx context.Context, sources []Source, cfg Config) (*Policy, error) { panic("contract") }

// Revision is the SHA-256 over names and contents, hex.
func (p *Policy) Revision() string { panic("contract") }

// CompileError lists what is wrong, each with file and line.
type CompileError struct{ Problems []Problem }

// Problem is one finding.
type Problem struct {
	File    string
	Line    int
	Message string
}

func (e *CompileError) Error() string { panic("contract") }

// Eval errors. Each means "cannot decide", never "allowed".
var (
	ErrUndefined  = errors.New("policy decision is undefined")
	ErrTimeout    = errors.New("policy did not answer in time")
	ErrOverloaded = errors.New("all policy workers are busy")
	ErrPanicked   = errors.New("policy evaluation panicked")
	ErrEvaluation = errors.New("policy evaluation failed") // wrapped with the cause
)

// Eval returns the decision document at Config.Path as Go values (bool, string, json.Number, []any, map[string]any, nil).
func (p *Policy) Eval(ctx context.Context, input Value) (any, error) { panic("contract") }

// Builders of input documents: OPA terms are made once here, not by reflection over maps.
type Member struct {
	Name  string
	Value Value
}

func Object(members ...Member) Value { panic("contract") }
func Strings(values []string) Value  { panic("contract") }
func Array(values ...Value) Value    { panic("contract") }
func String(s string) Value          { panic("contract") }
func Int(i int64) Value              { panic("contract") }
func Bool(b bool) Value              { panic("contract") }
func Null() Value                    { panic("contract") }
func FromAny(v any) (Value, error)   { panic("contract") } // strictjson trees
