package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// repeatable are the parameters that may come several times: RFC 8707 s2, RFC 8693 s2.1. Every other one that does is refused (RFC 6749 s3.2).
var repeatable = []string{"resource", "audience"}

// repeatsMax is as many audiences as a token may have for our verifiers.
const repeatsMax = 8

// Form is the parameters of a request. A parameter without a value counts as absent (RFC 6749 s3.2), except that it may not come twice either.
type Form struct{ values url.Values }

// Get is a parameter's value, "" when it is absent. Of one that may come several times it is the first: use All.
func (f Form) Get(name string) string { return f.values.Get(name) }

// All is every value of a parameter that may come several times, without empty ones. The caller must not change it.
func (f Form) All(name string) []string {
	if !slices.Contains(f.values[name], "") {
		return f.values[name]
	}
	return slices.DeleteFunc(slices.Clone(f.values[name]), func(v string) bool { return v == "" })
}

// ReadForm reads the body of a POST whose length the caller has capped (http.MaxBytesReader). Nothing may stand in the query: RFC 6749 s2.3.1
// forbids credentials there, and what is written there ends up in logs.
func ReadForm(r *http.Request) (Form, error) {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return Form{}, &Error{Code: InvalidRequest, Description: "Parameters belong in the body, not in the URL."}
	}
	if !formEncoded(r) {
		return Form{}, &Error{Code: InvalidRequest, Description: "The body must be application/x-www-form-urlencoded, not compressed."}
	}
	body, err := io.ReadAll(r.Body)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return Form{}, &Error{Code: InvalidRequest, Description: "The body is too long.", Status: http.StatusRequestEntityTooLarge}
	}
	if err != nil {
		return Form{}, &Error{Code: InvalidRequest, Description: "The body ended early or came too slowly.", Err: err}
	}
	return ParseForm(string(body))
}

// ParseForm reads parameters as they are in a body or a query.
func ParseForm(encoded string) (Form, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return Form{}, &Error{Code: InvalidRequest, Description: "The parameters are not well-formed."} // err repeats bytes of them
	}
	for name, given := range values {
		switch {
		case len(given) > 1 && !slices.Contains(repeatable, name):
			return Form{}, &Error{Code: InvalidRequest, Description: "A parameter is given more than once."}
		case len(given) > repeatsMax:
			return Form{}, &Error{Code: InvalidRequest, Description: "A parameter is given too often."}
		case !utf8.ValidString(name) || slices.ContainsFunc(given, func(v string) bool { return !utf8.ValidString(v) }):
			return Form{}, &Error{Code: InvalidRequest, Description: "A parameter is not UTF-8."}
		}
	}
	return Form{values}, nil
}

func formEncoded(r *http.Request) bool {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || len(r.Header.Values("Content-Encoding")) != 0 {
		return false
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/x-www-form-urlencoded" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}
