package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// ListBytesMax is the largest revocation list that is read. At about 60 bytes an entry that is a quarter of a million
// entries, 25 times what the largest planned organization produces within a token's life.
const ListBytesMax = 16 << 20

// idBytesMax bounds every id in a list; ids of this system are far shorter, those of partners may be URIs.
const idBytesMax = 512

var listLimits = strictjson.Limits{Bytes: ListBytesMax, Depth: 3, Values: 1 << 20, Members: 16}

// ParseRevocationList reads a list strictly: unknown, missing and duplicate members, wrong types and trailing bytes are
// errors. A half-understood list would leave something revoked usable, so there is no lenient reading.
func ParseRevocationList(doc []byte) (*RevocationList, error) {
	tree, err := strictjson.ParseObject(doc, listLimits)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	r := reader{members: tree, at: "revocation list"}
	l := &RevocationList{
		Issuer:   r.text("issuer"),
		Sequence: r.integer("sequence", true),
		IssuedAt: r.integer("issuedAt", true),
	}
	l.Agents = readAll(&r, "agents", func(e *reader) Agent {
		return Agent{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.Organizations = readAll(&r, "organizations", func(e *reader) Organization {
		return Organization{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.Keys = readAll(&r, "keys", func(e *reader) Key { return Key{ID: e.text("id")} })
	l.Tokens = readAll(&r, "tokens", func(e *reader) Token {
		return Token{ID: e.text("id"), ExpiresAt: e.integer("expiresAt", true)}
	})
	if err := r.finish(); err != nil {
		return nil, err
	}
	return l, nil
}

// reader takes members out of one object. It keeps the first problem; what is left over at the end is unknown.
type reader struct {
	members map[string]any
	taken   int
	at      string // where in the document, for errors
	err     error
}

func (r *reader) fail(name, expected string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s: %s", r.at, name, expected)
	}
}

func (r *reader) take(name string) (any, bool) {
	v, ok := r.members[name]
	if ok {
		r.taken++
	}
	return v, ok
}

func (r *reader) text(name string) string {
	v, _ := r.take(name)
	s, ok := v.(string)
	if !ok || s == "" || len(s) > idBytesMax {
		r.fail(name, "expected a string of 1 to "+strconv.Itoa(idBytesMax)+" bytes")
	}
	return s
}

func (r *reader) integer(name string, required bool) int64 {
	v, ok := r.take(name)
	if !ok && !required {
		return 0
	}
	n, _ := v.(json.Number)
	i, err := strconv.ParseInt(string(n), 10, 64)
	if err != nil || i < 0 {
		r.fail(name, "expected a whole number, 0 or more")
	}
	return i
}

func (r *reader) finish() error {
	if r.err == nil && r.taken != len(r.members) {
		r.err = errors.New(r.at + ": has a member this version does not know")
	}
	return r.err
}

func readAll[T any](r *reader, name string, read func(*reader) T) []T {
	v, _ := r.take(name)
	elements, ok := v.([]any)
	if !ok {
		r.fail(name, "expected an array")
		return nil
	}
	out := make([]T, 0, len(elements))
	for i, element := range elements {
		at := fmt.Sprintf("%s: %s[%d]", r.at, name, i)
		members, ok := element.(map[string]any)
		if !ok {
			r.fail(fmt.Sprintf("%s[%d]", name, i), "expected an object")
			return nil
		}
		e := reader{members: members, at: at}
		out = append(out, read(&e))
		if err := e.finish(); err != nil {
			if r.err == nil {
				r.err = err
			}
			return nil
		}
	}
	return out
}
