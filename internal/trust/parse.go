package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/internal/strictjson"
)

// ListBytesMax is the largest revocation list that is read. At about 60 bytes an entry that is a quarter of a million
// entries, 25 times what the largest planned organization produces within a token's life.
const ListBytesMax = 16 << 20

// idBytesMax bounds every id in a list; ids of this system are far shorter, those of partners may be URIs.
const idBytesMax = 512

var listLimits = strictjson.Limits{Bytes: ListBytesMax, Depth: 3, Values: 1 << 20, Members: 32}

// kindNameBytesMax bounds the name of a kind that is not understood, which is logged.
const kindNameBytesMax = 64

// ParseRevocationList reads a list strictly: unknown, missing and duplicate members, wrong types and trailing bytes are
// errors. A half-understood list would leave something revoked usable, so there is no lenient reading.
//
// A newer issuer may know more kinds of revocation. A member that is unknown and an array is such a kind: empty it revokes
// nothing, else it is in NotUnderstood. The kinds that came after the first four may be missing: an older issuer has none.
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
	l.Agents = readAll(&r, "agents", true, func(e *reader) Agent {
		return Agent{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.Organizations = readAll(&r, "organizations", true, func(e *reader) Organization {
		return Organization{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.Credentials = readAll(&r, "credentials", false, func(e *reader) Credential { return Credential{ID: e.text("id")} })
	l.Keys = readAll(&r, "keys", true, func(e *reader) Key { return Key{ID: e.text("id")} })
	l.Tokens = readAll(&r, "tokens", true, func(e *reader) Token {
		return Token{ID: e.text("id"), ExpiresAt: e.integer("expiresAt", true)}
	})
	l.Issuers = readAll(&r, "issuers", false, func(e *reader) Issuer {
		return Issuer{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.Partners = readAll(&r, "partners", false, func(e *reader) Partner {
		return Partner{ID: e.text("id"), IssuedBefore: e.integer("issuedBefore", false)}
	})
	l.NotUnderstood = r.otherKinds()
	if err := r.finish(); err != nil {
		return nil, err
	}
	return l, nil
}

// reader takes members out of one object. It keeps the first problem; what is left over at the end is unknown.
type reader struct {
	members map[string]any // what was not taken yet
	at      string         // where in the document, for errors
	err     error
}

func (r *reader) fail(name, expected string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s: %s", r.at, name, expected)
	}
}

func (r *reader) take(name string) (any, bool) {
	v, ok := r.members[name]
	delete(r.members, name)
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

// otherKinds takes the arrays that are left and names those that are not empty.
func (r *reader) otherKinds() []string {
	var names []string
	for name, v := range r.members {
		entries, ok := v.([]any)
		if !ok || !isKindName(name) {
			continue
		}
		delete(r.members, name)
		if len(entries) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isKindName accepts camelCase names. In another case it would be the misspelling of a member that is known.
func isKindName(name string) bool {
	if len(name) > kindNameBytesMax || name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.IndexFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') }) < 0
}

func (r *reader) finish() error {
	if r.err == nil && len(r.members) > 0 {
		r.err = errors.New(r.at + ": has a member this version does not know")
	}
	return r.err
}

func readAll[T any](r *reader, name string, required bool, read func(*reader) T) []T {
	v, present := r.take(name)
	if !present && !required {
		return nil
	}
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
