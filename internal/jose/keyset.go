package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// KeySet is one issuer's keys. Sets of different issuers are never merged. It is immutable; a nil set has no keys.
type KeySet struct{ keys map[string]*VerificationKey }

// Lookup finds a key by exact kid.
func (s *KeySet) Lookup(kid string) (*VerificationKey, bool) {
	if s == nil {
		return nil, false
	}
	k, ok := s.keys[kid]
	return k, ok
}

// Len is the number of usable keys.
func (s *KeySet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}

// Keys are all usable keys, in the order of their kid.
func (s *KeySet) Keys() []*VerificationKey {
	if s == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.keys), func(a, b *VerificationKey) int { return strings.Compare(a.id, b.id) })
}

// KeyProblem tells an operator why one key of a document was left out.
type KeyProblem struct {
	Index  int    // position in "keys"
	KeyID  string // as far as it could be read, sanitised
	Reason string
}

// ParseKeySet reads a JWKS document by the intake rules (docs/adr/0001): bad keys are left out and reported, good ones are
// kept. The error is for a document that is no JWKS at all. An empty set is no error: the caller decides what it means.
func ParseKeySet(doc []byte) (*KeySet, []KeyProblem, error) {
	document, err := strictjson.ParseObject(doc, keySetLimits)
	if err != nil {
		return nil, nil, fmt.Errorf("key set: %w", err)
	}
	entries, ok := document["keys"].([]any)
	if !ok {
		return nil, nil, errors.New(`key set: "keys" is missing or not a list`)
	}
	if len(entries) > keysMax {
		return nil, nil, fmt.Errorf("key set: %d keys, at most %d are read", len(entries), keysMax)
	}
	set := &KeySet{keys: make(map[string]*VerificationKey, len(entries))}
	var problems []KeyProblem
	uses := countKeyIDs(entries)
	for i, entry := range entries {
		key, problem := parseEntry(entry, uses)
		if problem != "" {
			problems = append(problems, KeyProblem{Index: i, KeyID: printable(keyIDOf(entry)), Reason: problem})
			continue
		}
		set.keys[key.id] = key
	}
	return set, problems, nil
}

// parseEntry refuses every bearer of a kid that occurs twice, usable or not: which of them the issuer meant cannot be told.
func parseEntry(entry any, uses map[string]int) (*VerificationKey, string) {
	jwk, ok := entry.(map[string]any)
	if !ok {
		return nil, problemNotObject
	}
	id := keyIDOf(entry)
	if uses[id] > 1 {
		return nil, problemKeyIDTwice
	}
	key, problem := parseKey(id, jwk)
	if problem == "" && !visibleASCII(id, keyIDBytesMax) {
		return nil, problemKeyID
	}
	return key, problem
}

func countKeyIDs(entries []any) map[string]int {
	uses := make(map[string]int, len(entries))
	for _, entry := range entries {
		if id := keyIDOf(entry); id != "" {
			uses[id]++
		}
	}
	return uses
}

// keyIDOf is the kid as written, or empty.
func keyIDOf(entry any) string {
	jwk, _ := entry.(map[string]any)
	id, _ := jwk["kid"].(string)
	return id
}

// printable makes a stranger's kid fit for a log line.
func printable(id string) string {
	text := []byte(id[:min(len(id), keyIDBytesMax)])
	for i, c := range text {
		if c <= ' ' || c >= 0x7F {
			text[i] = '?'
		}
	}
	return string(text)
}

// MarshalKeySet writes {"keys":[…]} of public JWKs, in the order given.
func MarshalKeySet(jwks []json.RawMessage) []byte {
	var doc bytes.Buffer
	doc.WriteString(`{"keys":[`)
	for i, jwk := range jwks {
		if i > 0 {
			doc.WriteByte(',')
		}
		doc.Write(jwk)
	}
	doc.WriteString(`]}`)
	return doc.Bytes()
}
