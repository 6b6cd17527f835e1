package problem

import "net/http"

// row is what a kind means outside the process.
type row struct {
	status int
	title  string // RFC 9457 s3.1.3: the same for every occurrence of the type
	code   string // of an Error that names none
}

// table is the only place where kinds meet HTTP. Its order is the order of the constants.
var table = [...]row{
	Internal:             {http.StatusInternalServerError, "Internal error", "internal"},
	Invalid:              {http.StatusBadRequest, "Invalid request", "invalid_request"},
	Unauthenticated:      {http.StatusUnauthorized, "Authentication required", "unauthenticated"},
	Forbidden:            {http.StatusForbidden, "Not allowed", "forbidden"},
	NotFound:             {http.StatusNotFound, "Not found", "not_found"},
	MethodNotAllowed:     {http.StatusMethodNotAllowed, "Method not allowed", "method_not_allowed"},
	Conflict:             {http.StatusConflict, "Conflict with the current state", "conflict"},
	PreconditionFailed:   {http.StatusPreconditionFailed, "Precondition failed", "precondition_failed"},
	TooLarge:             {http.StatusRequestEntityTooLarge, "Request too large", "too_large"},
	UnsupportedMediaType: {http.StatusUnsupportedMediaType, "Unsupported media type", "unsupported_media_type"},
	RateLimited:          {http.StatusTooManyRequests, "Too many requests", "rate_limited"},
	Unavailable:          {http.StatusServiceUnavailable, "Temporarily unavailable", "unavailable"},
}

// row looks a kind up; a number that is no kind is Internal, never an index out of range.
func (k Kind) row() row {
	if k < 0 || int(k) >= len(table) {
		return table[Internal]
	}
	return table[k]
}

// Status is the HTTP status of a kind.
func (k Kind) Status() int { return k.row().status }

// Title is the RFC 9457 title of a kind.
func (k Kind) Title() string { return k.row().title }

// Code is the code of an Error of this kind that names none.
func (k Kind) Code() string { return k.row().code }
