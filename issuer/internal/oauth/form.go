package oauth

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Form is the parameters of a request, each at most once (RFC 6749 s3.2). A parameter without a value counts as absent, also by s3.2, except that
// it may not come twice either.
type Form struct{ values url.Values }

// Get is a parameter's value, "" when it is absent.
func (f Form) Get(name string) string { return f.values.Get(name) }

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
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return Form{}, &Error{Code: InvalidRequest, Description: "The body is not well-formed."} // err repeats bytes of the body
	}
	for name, given := range values {
		if len(given) > 1 {
			return Form{}, &Error{Code: InvalidRequest, Description: "A parameter is given more than once."}
		}
		if !utf8.ValidString(name) || !utf8.ValidString(given[0]) {
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
