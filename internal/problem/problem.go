// Package problem is the one error taxonomy: a Kind decides HTTP status, title and default code in one table, and an
// Error becomes an RFC 9457 document in one place.
//
// An Error has two audiences. Code, Detail and Field are shown to whoever asked and therefore never carry a value of the
// request (Field may name a member), a secret or anything of another tenant; Err is for operators and leaves the process in its log alone.
package problem

import (
	"errors"
	"time"
)

// Kind is the closed set of ways a request can fail.
type Kind int

// The kinds. Internal is the zero value, so that a failure nobody classified tells a stranger nothing.
const (
	Internal Kind = iota
	Invalid
	Unauthenticated
	Forbidden
	NotFound
	MethodNotAllowed
	Conflict
	PreconditionFailed
	TooLarge
	UnsupportedMediaType
	RateLimited
	Unavailable
)

// Error is a failure with a part that is safe for strangers (Code, Detail, Field) and a part for operators (Err).
type Error struct {
	Kind       Kind
	Code       string // stable, snake_case, documented in docs/problems.md: "unknown_field"; "" means the kind's own
	Detail     string
	Field      string        // JSON pointer or parameter name, when one is at fault
	RetryAfter time.Duration // for RateLimited and Unavailable
	Err        error
}

// Error is the text for logs: code, detail and cause.
func (e *Error) Error() string {
	s := e.code()
	if e.Field != "" {
		s += " " + e.Field
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives errors.Is and errors.As the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) code() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Kind.Code()
}

// KindOf is the kind of the outermost *Error in err's chain; Internal when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
