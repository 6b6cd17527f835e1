package decide

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/agentidp/agentidp/extauthz/internal/checkreq"
	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/strictjson"
)

const (
	bodyBytesMax = 256 << 10 // parsed at most; the gRPC server does not receive more
	partsMax     = 64        // of a multipart body
)

var bodyLimits = strictjson.Limits{Bytes: bodyBytesMax, Depth: 32, Values: 16 << 10, Members: 1 << 10}

// parseBody returns input.parsed_body and input.truncated_body. Without a body, or with one of a type it does not read
// (gRPC among them without descriptors), parsed_body is null. A body that was cut off is null and truncated: a policy that
// reads bodies must look at truncated_body. A body that is not what its content-type says is refused: the upstream's parser
// may be more lenient than ours and read in it what the policy did not.
func parseBody(r *checkreq.Request, descriptors *Descriptors) (policy.Value, bool, *checkreq.Refusal) {
	contentType, _ := r.Headers.Get("content-type")
	switch {
	case r.Partial:
		return policy.Null(), true, nil
	case len(r.Body) == 0 || contentType == "":
		return policy.Null(), false, nil
	}
	tree, truncated, err := parseTyped(r, contentType, descriptors)
	if err == nil {
		var document policy.Value
		if document, err = policy.FromAny(tree); err == nil {
			return document, truncated, nil
		}
	}
	detail := "the body does not parse as its content type"
	if errors.Is(err, errAsText) || errors.Is(err, errEncoded) {
		detail = err.Error()
	}
	return nil, false, &checkreq.Refusal{Reason: checkreq.ReasonBody, Detail: detail}
}

// errEncoded is a body whose bytes mean something else to whoever decodes them. A form or a multipart body is easily made that
// says one thing as it is and another one decoded, and some services decode.
var errEncoded = errors.New("the body of a request that is decided by its contents must not have a content-encoding")

// isEncoded reports whether there is a coding (RFC 9110 s8.4) beside identity, which is none.
func isEncoded(r *checkreq.Request) bool {
	for _, h := range r.Headers.Values("content-encoding") {
		if h.Value != "" && !strings.EqualFold(h.Value, "identity") {
			return true
		}
	}
	return false
}

// parseTyped reads a whole body as what it says it is; nil for what is not read.
func parseTyped(r *checkreq.Request, contentType string, descriptors *Descriptors) (tree any, truncated bool, err error) {
	lower := strings.ToLower(contentType)
	is := func(kind string) bool { return strings.Contains(lower, kind) }
	isJSON, isForm, isMultipart := is("application/json"), is("application/x-www-form-urlencoded"), is("multipart/form-data")
	switch isGRPC := descriptors != nil && is("application/grpc"); {
	case !isJSON && !isForm && !isMultipart && !isGRPC:
		return nil, false, nil
	case isEncoded(r):
		return nil, false, errEncoded
	case isJSON:
		tree, err = strictjson.Parse(r.Body, bodyLimits)
	case isForm:
		tree, err = parseForm(r.Body)
	case isMultipart:
		tree, err = parseMultipart(r.Body, contentType)
	default:
		return descriptors.parseGRPC(r, mediaType(contentType))
	}
	return tree, false, err
}

func parseForm(body []byte) (any, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	tree := make(map[string]any, len(values))
	for name, texts := range values {
		for _, text := range texts {
			if err := appendText(tree, name, text); err != nil {
				return nil, err
			}
		}
	}
	return tree, nil
}

func parseMultipart(body []byte, contentType string) (any, error) {
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	boundary, ok := parameters["boundary"]
	if !ok {
		return nil, nil
	}
	tree := make(map[string]any)
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for range partsMax {
		part, err := reader.NextPart()
		if err == io.EOF { // and no error that wraps it: the last boundary was there
			return tree, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		if err := appendPart(tree, part, content); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("more than 64 parts")
}

func appendPart(tree map[string]any, part *multipart.Part, content []byte) error {
	name := part.FormName()
	switch {
	case name == "":
		return nil
	case strings.Contains(strings.ToLower(part.Header.Get("Content-Type")), "application/json"):
		value, err := strictjson.Parse(content, bodyLimits)
		if err != nil {
			return err
		}
		return appendValue(tree, name, value)
	default:
		return appendText(tree, name, string(content))
	}
}

func appendText(tree map[string]any, name, text string) error {
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8")
	}
	return appendValue(tree, name, text)
}

func appendValue(tree map[string]any, name string, value any) error {
	if !utf8.ValidString(name) {
		return errors.New("not UTF-8")
	}
	list, _ := tree[name].([]any)
	tree[name] = append(list, value)
	return nil
}
