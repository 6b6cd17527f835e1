package oauth

import (
	"encoding/json"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// Limits of authorization_details: they travel in the token, which has 8 KiB at most.
const (
	detailsBytesMax   = 4 << 10
	detailsMax        = 16 // objects
	detailTypeCharMax = 256
)

var detailsLimits = strictjson.Limits{Bytes: detailsBytesMax, Depth: 8, Values: 128, Members: 64}

// ParseAuthorizationDetails reads the parameter of RFC 9396 s2: a JSON array of objects that each say their type. "" is none. What the types mean is for the
// resources to know: the objects are passed on as they are. The text has no duplicate members, so everybody reads the same in it.
func ParseAuthorizationDetails(text string) (json.RawMessage, error) {
	if text == "" {
		return nil, nil
	}
	refused := func(description string) (json.RawMessage, error) {
		return nil, &Error{Code: InvalidAuthorizationDetails, Description: description}
	}
	tree, err := strictjson.Parse([]byte(text), detailsLimits)
	if err != nil {
		return refused("authorization_details is not strict JSON within the limits.")
	}
	list, ok := tree.([]any)
	if !ok || len(list) == 0 || len(list) > detailsMax {
		return refused("authorization_details is not a list of 1 to 16 objects.")
	}
	for _, element := range list {
		object, _ := element.(map[string]any)
		kind, ok := object["type"].(string)
		if !ok || kind == "" || len(kind) > detailTypeCharMax {
			return refused("An element of authorization_details is not an object with a type.")
		}
	}
	return json.RawMessage(text), nil
}
