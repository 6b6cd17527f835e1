package oauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
)

func TestWriteErrorFollowsRFC6749(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		err    *Error
		status int
		body   string
		header map[string]string
	}{
		{"bad request", &Error{Code: InvalidScope, Description: "d", Err: errors.New("canary")}, 400, `{"error":"invalid_scope","error_description":"d"}`, map[string]string{"WWW-Authenticate": "", "Retry-After": ""}},
		{"client", &Error{Code: InvalidClient}, 401, `{"error":"invalid_client"}`, map[string]string{"WWW-Authenticate": `Basic realm="agentidp"`}},
		{"too long", &Error{Code: InvalidRequest, Status: 413}, 413, `{"error":"invalid_request"}`, nil},
		{"unavailable", Unavailable(errors.New("canary")), 503, `{"error":"temporarily_unavailable","error_description":"The issuer cannot issue tokens right now."}`, map[string]string{"Retry-After": "1"}},
		{"rounded up", &Error{Code: TemporarilyUnavailable, Status: 503, RetryAfter: 1500 * time.Millisecond}, 503, `{"error":"temporarily_unavailable"}`, map[string]string{"Retry-After": "2"}},
		{"ours", Internal(errors.New("canary")), 500, `{"error":"server_error","error_description":"Something went wrong on our side."}`, nil},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		WriteError(w, tt.err)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: %d %s, want %d %s", tt.name, w.Code, w.Body, tt.status, tt.body)
		}
		for name, want := range tt.header {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", tt.name, name, got, want)
			}
		}
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", tt.name, h)
		}
	}
	cause := errors.New("cause")
	if err := Internal(cause); !errors.Is(err, cause) || !strings.Contains(err.Error(), "cause") {
		t.Errorf("operators do not see the cause: %v", err)
	}
}

func TestParseScope(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"a": {"a"}, "a b": {"a", "b"}, "b a b": {"b", "a"}, "!#[]~": {"!#[]~"},
		"": nil, " ": nil, "a ": nil, " a": nil, "a  b": nil, "a\tb": nil, `a"`: nil, `a\`: nil, "\u00e9": nil, "a\x7f": nil, "a\x00": nil,
		strings.Repeat("a ", 100) + "a": nil, // 101 tokens, even though all are the same
	} {
		got, ok := ParseScope(text)
		if ok != (want != nil) || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, ok)
		}
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestReadForm(t *testing.T) {
	t.Parallel()
	read := func(target, contentType string, body io.Reader) (Form, *Error) {
		r := httptest.NewRequest("POST", target, body)
		r.Header.Set("Content-Type", contentType)
		r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 100)
		form, err := ReadForm(r)
		failure, _ := errors.AsType[*Error](err)
		return form, failure
	}
	const form = "application/x-www-form-urlencoded"
	got, err := read("/", form+"; charset=UTF-8", strings.NewReader("a=1&b=x%20y+z&empty="))
	if err != nil || got.Get("a") != "1" || got.Get("b") != "x y z" || got.Get("empty") != "" || got.Get("c") != "" {
		t.Errorf("%v %v", got, err)
	}
	for name, err := range map[string]*Error{
		"query":         second(read("/?a=1", form, strings.NewReader("b=1"))),
		"empty query":   second(read("/?", form, strings.NewReader("b=1"))),
		"twice":         second(read("/", form, strings.NewReader("a=1&a=1"))),
		"twice, empty":  second(read("/", form, strings.NewReader("a=&a="))),
		"twice, in %":   second(read("/", form, strings.NewReader("a=1&%61=1"))),
		"not UTF-8":     second(read("/", form, strings.NewReader("a=%ff"))),
		"bad name":      second(read("/", form, strings.NewReader("%ff=a"))),
		"bad escape":    second(read("/", form, strings.NewReader("a=%z"))),
		"multipart":     second(read("/", "multipart/form-data; boundary=x", strings.NewReader("a=1"))),
		"no type":       second(read("/", "", strings.NewReader("a=1"))),
		"cut off":       second(read("/", form, brokenBody{})),
		"charset":       second(read("/", form+"; charset=latin1", strings.NewReader("a=1"))),
		"broken params": second(read("/", form+"; charset", strings.NewReader("a=1"))),
	} {
		if err == nil || err.Code != InvalidRequest || err.status() != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read("/", form, strings.NewReader(strings.Repeat("a", 101))); err == nil || err.status() != 413 {
		t.Errorf("too long: %v", err)
	}
}

func second(_ Form, err *Error) *Error { return err }

// A form is read or refused with a description of ours; nothing panics, and nothing is in it twice.
func FuzzReadForm(f *testing.F) {
	f.Add("grant_type=client_credentials&scope=a+b")
	f.Add("a=%zz")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		form, err := ReadForm(r)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%T", err)
			}
			return
		}
		for name, values := range form.values {
			if len(values) != 1 {
				t.Errorf("%q %d times", name, len(values))
			}
		}
		ParseScope(form.Get("scope"))
	})
}

// An answer that was decided on stays; what else went wrong is ours, and says whether coming again helps.
func TestFrom(t *testing.T) {
	t.Parallel()
	decided := &Error{Code: InvalidGrant, Err: &problem.Error{Kind: problem.Unavailable}}
	if got := From(fmt.Errorf("grant: %w", decided)); got != decided {
		t.Errorf("decided: %v", got)
	}
	for kind, want := range map[problem.Kind]Code{
		problem.Unavailable: TemporarilyUnavailable, problem.NotFound: ServerError, problem.Internal: ServerError,
	} {
		err := fmt.Errorf("store: %w", &problem.Error{Kind: kind, Code: "x"})
		if got := From(err); got.Code != want || got.Err != err { //nolint:errorlint // it is the same
			t.Errorf("%v: %v", kind, got)
		}
	}
}
