package oauth

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// The error codes of the authorization endpoint: RFC 6749 s4.1.2.1, and OpenID Connect Core s3.1.2.6 for those about signing in.
const (
	AccessDenied             Code = "access_denied"
	UnsupportedResponseType  Code = "unsupported_response_type"
	LoginRequired            Code = "login_required"
	RequestNotSupported      Code = "request_not_supported"
	RequestURINotSupported   Code = "request_uri_not_supported"
	RegistrationNotSupported Code = "registration_not_supported"
)

// ReadQuery reads the parameters of a GET, under the rules of ReadForm.
func ReadQuery(r *http.Request) (Form, error) { return ParseForm(r.URL.RawQuery) }

// Query is the form as a query, from which ParseForm makes the same form again.
func (f Form) Query() string { return f.values.Encode() }

// Only is the form without the parameters that are not named.
func (f Form) Only(names ...string) Form {
	kept := make(url.Values, len(names))
	for name, values := range f.values {
		if slices.Contains(names, name) {
			kept[name] = values
		}
	}
	return Form{kept}
}

// With is the form with another value of a parameter; "" is none.
func (f Form) With(name, value string) Form {
	changed := maps.Clone(f.values)
	delete(changed, name)
	if value != "" {
		changed[name] = []string{value}
	}
	return Form{changed}
}

// Has reports whether a parameter has a value.
func (f Form) Has(name string) bool { return f.values.Get(name) != "" }
