// Package problem is the one error taxonomy: a Kind decides HTTP status, gRPC code and problem type (RFC 9457) in one table.
package problem

import (
	"net/http"
	"time"
)

// Kind is the closed set of ways a request can fail.
type Kind int

const (
	Internal Kind = iota // the zero value: anything unclassified
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
	Code       string // stable, snake_case: "unknown_field"
	Detail     string
	Field      string        // JSON pointer or parameter name, when one is at fault
	RetryAfter time.Duration // for RateLimited and Unavailable
	Err        error
}

func (e *Error) Error() string { panic("contract") }
func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status of a kind.
func (k Kind) Status() int { panic("contract") }

// Document is the body of application/problem+json.
type Document struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      string `json:"code"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// Write answers with the problem document of err; anything that is not an *Error is Internal with a fixed text.
func Write(w http.ResponseWriter, requestID string, err error) { panic("contract") }
