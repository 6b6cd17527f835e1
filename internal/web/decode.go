package web

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/strictjson"
)

// jsonLimits of a request body: far above what any operation needs (an agent with full lists has about 170 values), far below what hurts.
var jsonLimits = strictjson.Limits{Bytes: BodyBytesMax, Depth: 8, Values: 2000, Members: 100}

// decode reads the body into the struct into points to. An empty body counts as {}.
func decode(r *http.Request, into any) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return bind(map[string]any{}, reflect.ValueOf(into).Elem(), "")
	}
	if err := checkContentType(r); err != nil {
		return err
	}
	tree, err := strictjson.Parse(body, jsonLimits)
	if err != nil {
		return malformed(err)
	}
	return bind(tree, reflect.ValueOf(into).Elem(), "")
}

// receive reads the body into memory, at most BodyBytesMax of it. What goes wrong comes out of the returned body at its end, so that the handler answers
// it in its own form. The body of GET and HEAD means nothing (RFC 9110 s9.3.1) and is not read.
func receive(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	capped := http.MaxBytesReader(w, r.Body, BodyBytesMax) // w is net/http's own writer: only that one closes the connection
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Body == http.NoBody {
		return capped
	}
	body, err := io.ReadAll(capped)
	return &received{bytes.NewReader(body), err}
}

// received is a body in memory.
type received struct {
	bytes *bytes.Reader
	err   error // nil when the whole body was received
}

func (b *received) Read(p []byte) (int, error) {
	n, err := b.bytes.Read(p)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return n, err
}

func (b *received) Close() error { return nil }

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge()
	}
	return nil, &problem.Error{Kind: problem.Invalid, Code: "unreadable_body", Detail: "The body ended early or came too slowly.", Err: err}
}

func errTooLarge() error {
	return &problem.Error{Kind: problem.TooLarge, Detail: "The body is longer than 64 KiB."}
}

// checkContentType wants JSON as it is: no other charset, no compression (a decompressed body would have no cap).
func checkContentType(r *http.Request) error {
	types, encodings := r.Header.Values("Content-Type"), r.Header.Values("Content-Encoding")
	if len(types) == 1 && len(encodings) == 0 {
		media, params, err := mime.ParseMediaType(types[0])
		if err == nil && media == "application/json" && utf8Only(params) {
			return nil
		}
	}
	return &problem.Error{Kind: problem.UnsupportedMediaType, Detail: "The body must be application/json, not compressed."}
}

func utf8Only(params map[string]string) bool {
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

// malformed keeps strictjson's text for the client: it has a reason and an offset, and no bytes of the document.
func malformed(err error) error {
	p := &problem.Error{Kind: problem.Invalid, Code: "malformed_json", Detail: err.Error()}
	if e, ok := errors.AsType[*strictjson.Error](err); ok && e.Reason == "duplicate member" {
		p.Code = "duplicate_member"
	}
	return p
}
