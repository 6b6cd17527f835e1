package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Eval errors. Each means "cannot decide", never "allowed".
var (
	ErrUndefined   = errors.New("policy decision is undefined")
	ErrTimeout     = errors.New("policy did not answer in time")
	ErrOverloaded  = errors.New("all policy workers are busy")
	ErrPanicked    = errors.New("policy evaluation panicked")
	ErrEvaluation  = errors.New("policy evaluation failed")        // wrapped with the cause
	ErrTooLarge    = fmt.Errorf("%w within bounds", ErrEvaluation) // wrapped with what was too large
	ErrQuarantined = errors.New("policy is in quarantine after it overran its deadline")
)

// CompileError lists everything found wrong with a policy, sorted by file and line.
type CompileError struct{ Problems []Problem }

// Problem is one finding. File is empty when it concerns the policy as a whole, Line is 0 when it concerns a whole file.
type Problem struct {
	File    string
	Line    int
	Message string
}

// String is "mesh/authz.rego:12: message", without the parts that are not known.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	default:
		return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Message
	}
}

// Error prints one problem a line.
func (e *CompileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func newCompileError(problems ...Problem) *CompileError {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return &CompileError{Problems: slices.Compact(problems)}
}

// oneLine keeps a message on the line it is printed on: sources are somebody else's, and so are the names in messages.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
}
