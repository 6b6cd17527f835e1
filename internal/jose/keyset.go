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
func ParseKeySet(doc []byte) (*KeySet, []KeyProblem, error) { return ParseKeySetFor(doc, nil) }

// ParseKeySetFor is ParseKeySet for an issuer of whose tokens only some algorithms are accepted. An RSA key that names no alg is for the
// only RSA algorithm among them; where both are accepted, or none, it is for RS256.
func ParseKeySetFor(doc []byte, accepted []Algorithm) (*KeySet, []KeyProblem, error) {
	_, entries, err := readEntries(doc)
	if err != nil {
		return nil, nil, fmt.Errorf("key set: %w", err)
	}
	unnamed := RS256
	if slices.Contains(accepted, PS256) && !slices.Contains(accepted, RS256) {
		unnamed = PS256
	}
	for i := range entries {
		e := &entries[i]
		if _, named := e.jwk["alg"]; !named && e.jwk["kty"] == "RSA" {
			e.jwk["alg"] = string(unnamed)
		}
		e.readKey()
	}
	set, problems := collect(entries)
	return set, problems, nil
}

// keyEntry is one element of "keys", and what is made of it.
type keyEntry struct {
	jwk     map[string]any   // nil: it is no object that could be read in one way only
	key     *VerificationKey // nil: there is none to use
	problem string           // why there is none; "" in an entry for another purpose
}

// readEntries reads what stands around the keys as strictly as a token, and then each key as strictly, but by itself: an entry that cannot
// be read is its own problem. The document comes without "keys".
func readEntries(doc []byte) (map[string]any, []keyEntry, error) {
	document, elements, err := strictjson.ParseObjectAround(doc, "keys", keySetLimits)
	switch {
	case err != nil:
		return nil, nil, err
	case elements == nil:
		return nil, nil, errors.New(`"keys" is missing or not a list`)
	case len(elements) > keysMax:
		return nil, nil, fmt.Errorf("%d keys, at most %d are read", len(elements), keysMax)
	}
	entries := make([]keyEntry, len(elements))
	for i, element := range elements {
		entries[i].read(element)
	}
	return document, entries, nil
}

func (e *keyEntry) read(element []byte) {
	v, err := strictjson.Parse(element, keyLimits)
	if err != nil {
		e.problem = problemUnreadable
		if refusal := (*strictjson.Error)(nil); errors.As(err, &refusal) {
			e.problem += refusal.Reason // fixed text, without anything of the document
		}
		return
	}
	var ok bool
	if e.jwk, ok = v.(map[string]any); !ok {
		e.problem = problemNotObject
	}
}

// readKey makes the key, of an entry that could be read.
func (e *keyEntry) readKey() {
	if e.jwk == nil {
		return
	}
	id := e.id()
	if e.key, e.problem = parseKey(id, e.jwk); e.problem == "" && !visibleASCII(id, keyIDBytesMax) {
		e.key, e.problem = nil, problemKeyID
	}
}

// id is the kid as written, or empty.
func (e *keyEntry) id() string {
	id, _ := e.jwk["kid"].(string)
	return id
}

// collect refuses both keys of one kid: which of them the issuer meant cannot be told. An entry that verifies nothing here, for encryption
// say, or of a kty that is not known, is not meant by any token, and may share a kid (RFC 7517 s4.5): a stranger's key must not take down
// the one beside it.
func collect(entries []keyEntry) (*KeySet, []KeyProblem) {
	uses := make(map[string]int, len(entries))
	for i := range entries {
		if key := entries[i].key; key != nil {
			uses[key.id]++
		}
	}
	set := &KeySet{keys: make(map[string]*VerificationKey, len(entries))}
	var problems []KeyProblem
	for i := range entries {
		e := &entries[i]
		if e.key != nil && uses[e.key.id] > 1 {
			e.key, e.problem = nil, problemKeyIDTwice
		}
		if e.problem != "" {
			problems = append(problems, KeyProblem{Index: i, KeyID: printable(e.id()), Reason: e.problem})
		}
		if e.key != nil {
			set.keys[e.key.id] = e.key
		}
	}
	return set, problems
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
