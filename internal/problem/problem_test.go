package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWriteAnswersWithTheDocumentOfTheError(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		err        error
		want       Document
		retryAfter string
	}{
		{
			"everything said",
			&Error{Kind: Invalid, Code: "unknown_field", Detail: "There is no such field.", Field: "/name", Err: errors.New("operators only")},
			Document{Title: "Invalid request", Status: 400, Detail: "There is no such field.", Code: "unknown_field", Field: "/name"},
			"",
		},
		{"the kind's own code", &Error{Kind: NotFound}, Document{Title: "Not found", Status: 404, Code: "not_found"}, ""},
		{"wrapped", fmt.Errorf("get agent: %w", &Error{Kind: Conflict}), Document{Title: "Conflict with the current state", Status: 409, Code: "conflict"}, ""},
		{
			"retry after is rounded up",
			&Error{Kind: Unavailable, RetryAfter: 1200 * time.Millisecond},
			Document{Title: "Temporarily unavailable", Status: 503, Code: "unavailable"},
			"2",
		},
		{"a plain error says nothing", errors.New("password=hunter2"), Document{Title: "Internal error", Status: 500, Detail: internalDetail, Code: "internal"}, ""},
		{
			"an internal error says nothing either",
			&Error{Kind: Internal, Code: "sql", Detail: "hunter2", Field: "hunter2"},
			Document{Title: "Internal error", Status: 500, Detail: internalDetail, Code: "internal"},
			"",
		},
		{"a kind that does not exist is internal", &Error{Kind: 99, Detail: "hunter2"}, Document{Title: "Internal error", Status: 500, Detail: internalDetail, Code: "internal"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			Write(rec, "req-1", tt.err)
			tt.want.RequestID = "req-1"
			tt.want.Type = TypeURI(tt.want.Code)
			if strings.Contains(rec.Body.String(), "hunter2") || strings.Contains(rec.Body.String(), "operators only") {
				t.Errorf("the body shows what is for operators: %s", rec.Body)
			}
			var got Document
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("document (-want +got):\n%s", d)
			}
			if rec.Code != tt.want.Status {
				t.Errorf("status %d, document says %d", rec.Code, tt.want.Status)
			}
			wantHeader := http.Header{
				"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"},
				"Content-Length": {fmt.Sprint(rec.Body.Len())},
			}
			if tt.retryAfter != "" {
				wantHeader.Set("Retry-After", tt.retryAfter)
			}
			if d := cmp.Diff(wantHeader, rec.Header()); d != "" {
				t.Errorf("header (-want +got):\n%s", d)
			}
		})
	}
}

func TestErrorTextIsForOperators(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	err := &Error{Kind: Unavailable, Detail: "The database is not reachable.", Field: "/x", Err: cause}
	if got, want := err.Error(), "unavailable /x: The database is not reachable.: connection refused"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if KindOf(fmt.Errorf("x: %w", err)) != Unavailable || KindOf(cause) != Internal {
		t.Error("KindOf does not find the kind")
	}
}

// Two kinds with one status or one code could not be told apart by a client.
func TestKindsAreDistinct(t *testing.T) {
	t.Parallel()
	statuses, codes := map[int]Kind{}, map[string]Kind{}
	for k := range Kind(len(table)) {
		if http.StatusText(k.Status()) == "" || k.Title() == "" || k.Code() == "" {
			t.Errorf("kind %d has an empty row", k)
		}
		if other, dup := statuses[k.Status()]; dup {
			t.Errorf("kinds %d and %d have status %d", k, other, k.Status())
		}
		if other, dup := codes[k.Code()]; dup {
			t.Errorf("kinds %d and %d have code %s", k, other, k.Code())
		}
		statuses[k.Status()], codes[k.Code()] = k, k
	}
}
