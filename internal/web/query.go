package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
)

// Query is a request's query, read strictly: each parameter at most once, and only those the operation knows.
type Query struct{ values url.Values }

// ParseQuery refuses parameters that are not among known, that are given twice, and a query that does not parse. Ignoring them would
// answer another question than the one asked: a misspelt filter would list everything.
func ParseQuery(r *http.Request, known ...string) (*Query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &problem.Error{Kind: problem.Invalid, Code: "invalid_query", Detail: "The query is not well-formed.", Err: err}
	}
	for name, given := range values {
		if !slices.Contains(known, name) {
			return nil, &problem.Error{Kind: problem.Invalid, Code: "unknown_parameter", Detail: "There is no such query parameter here.", Field: nameable(name)}
		}
		if len(given) > 1 {
			return nil, &problem.Error{Kind: problem.Invalid, Code: "duplicate_parameter", Detail: "This query parameter is given more than once.", Field: name}
		}
	}
	return &Query{values}, nil
}

// Has reports whether the parameter was given.
func (q *Query) Has(name string) bool { return q.values.Has(name) }

// Get is the parameter's text, "" when it was not given.
func (q *Query) Get(name string) string { return q.values.Get(name) }

// Int is a whole number within bounds, or missing when the parameter was not given.
func (q *Query) Int(name string, lowest, highest, missing int) (int, error) {
	if !q.Has(name) {
		return missing, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < lowest || n > highest {
		return 0, &problem.Error{
			Kind: problem.Invalid, Code: "invalid_parameter", Field: name,
			Detail: "This must be a whole number from " + strconv.Itoa(lowest) + " to " + strconv.Itoa(highest) + ".",
		}
	}
	return n, nil
}

// Time is an RFC 3339 time, zero when the parameter was not given.
func (q *Query) Time(name string) (time.Time, error) {
	if !q.Has(name) {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, q.Get(name))
	if err != nil {
		return time.Time{}, &problem.Error{Kind: problem.Invalid, Code: "invalid_parameter", Field: name, Detail: "This must be a time as in RFC 3339, such as 2026-11-23T09:00:00Z."}
	}
	return t.UTC(), nil
}

// ID parses an id given as query parameter; a missing one is an error too.
func ID[T any](q *Query, name string, parse func(string) (T, error)) (T, error) {
	if !q.Has(name) {
		var none T
		return none, &problem.Error{Kind: problem.Invalid, Code: "missing_parameter", Field: name, Detail: "This query parameter is required."}
	}
	return parseID(q.Get(name), name, parse)
}

// PathID parses an id that is a segment of the path.
func PathID[T any](r *http.Request, name string, parse func(string) (T, error)) (T, error) {
	return parseID(r.PathValue(name), name, parse)
}

// parseID shows err's text to the client: agentid's says which form is expected and nothing of the input.
func parseID[T any](text, name string, parse func(string) (T, error)) (T, error) {
	id, err := parse(text)
	if err != nil {
		return id, &problem.Error{Kind: problem.Invalid, Code: "invalid_id", Field: name, Detail: err.Error()}
	}
	return id, nil
}

// nameBytesMax bounds what is repeated of a name the client made up.
const nameBytesMax = 64

// nameable is a name a client made up, when repeating it is harmless and of use; else "".
func nameable(name string) string {
	if name == "" || len(name) > nameBytesMax {
		return ""
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return ""
		}
	}
	return name
}
