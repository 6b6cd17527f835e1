package problem

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// MediaType of a problem document, RFC 9457 s6.1.
const MediaType = "application/problem+json"

// typeBase and a code make the type URI of a problem: the section of docs/problems.md that explains it, under the module's own
// address. It is compared as a string, never fetched by us, and does not change when the document moves.
const typeBase = "https://github.com/agentidp/agentidp/blob/main/docs/problems.md#"

// internalDetail is all a stranger learns of a failure nobody classified.
const internalDetail = "Something went wrong on our side. The request id finds it in our log."

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

// Describe is the document for err. Internal errors and errors that are no *Error all look alike: whatever text they carry is
// for operators.
func Describe(requestID string, err error) Document {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind.row() == Internal.row() {
		e = &Error{Kind: Internal, Detail: internalDetail}
	}
	return Document{
		Type:      TypeURI(e.code()),
		Title:     e.Kind.Title(),
		Status:    e.Kind.Status(),
		Detail:    e.Detail,
		Code:      e.code(),
		Field:     e.Field,
		RequestID: requestID,
	}
}

// TypeURI is the problem type of a code.
func TypeURI(code string) string { return typeBase + code }

// Write answers with the problem document of err; anything that is not an *Error is Internal with a fixed text. Problems are never cached.
func Write(w http.ResponseWriter, requestID string, err error) {
	doc := Describe(requestID, err)
	body, marshalErr := json.Marshal(doc)
	if marshalErr != nil {
		panic("problem: a struct of strings does not marshal: " + marshalErr.Error())
	}
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		h.Set("Retry-After", retryAfterSeconds(e.RetryAfter))
	}
	w.WriteHeader(doc.Status)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
}

// retryAfterSeconds rounds up: RFC 9110 s10.2.3 has whole seconds, and coming back too early is worse than late.
func retryAfterSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
