package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
)

// None is the request of an operation that needs nothing, and the response of one that says nothing (204).
type None struct{}

// Reply is what an operation answers.
type Reply[T any] struct {
	Status   int // 0 is 200, or 204 for None
	ETag     string
	Location string // path of what was created
	Body     T
}

// JSON adapts an operation to a handler: the body is decoded strictly into Req, the reply written, an error answered by Fail. Operations without
// a body use None; they accept an empty body or {}. The body of GET and HEAD is not read (RFC 9110 s9.3.1: it means nothing).
//
// It panics when Req has a field that cannot be decoded: that is a mistake in the program, seen when it starts.
func JSON[Req, Resp any](operation func(r *http.Request, in Req) (Reply[Resp], error)) http.HandlerFunc {
	if err := bindable(reflect.TypeFor[Req]()); err != nil {
		panic("web: " + err.Error())
	}
	return func(w http.ResponseWriter, r *http.Request) {
		var in Req
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := decode(r, &in); err != nil {
				Fail(w, r, err)
				return
			}
		}
		reply, err := operation(r, in)
		if err != nil {
			Fail(w, r, err)
			return
		}
		if err := writeReply(w, reply); err != nil {
			Fail(w, r, fmt.Errorf("encode the reply: %w", err))
		}
	}
}

// writeReply writes nothing when it returns an error.
func writeReply[T any](w http.ResponseWriter, reply Reply[T]) error {
	var body []byte
	status := reply.Status
	if _, none := any(reply.Body).(None); none {
		if status == 0 {
			status = http.StatusNoContent
		}
	} else {
		var err error
		if body, err = json.Marshal(reply.Body); err != nil {
			return err
		}
		if status == 0 {
			status = http.StatusOK
		}
	}
	h := w.Header()
	if reply.ETag != "" {
		h.Set("ETag", reply.ETag)
	}
	if reply.Location != "" {
		h.Set("Location", reply.Location)
	}
	if body != nil {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; there is nobody left to tell
	return nil
}
