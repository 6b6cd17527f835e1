// Package agentid holds the identifiers of the system as value types: parse once, then trust.
//
// An id is a prefix and the 32 lower-case hex digits of a UUIDv7, as in agt_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f. It is opaque, sorts by creation, and is
// safe as it stands in a URL path, a did:web and a metric-free log line.
package agentid

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
)

// Kind names what an id identifies and carries its prefix.
type Kind interface {
	prefix() string
	noun() string
}

// The kinds of things that have ids.
type (
	organization struct{}
	agent        struct{}
	credential   struct{}
	event        struct{}
	client       struct{}
	signIn       struct{}
	initialToken struct{}
)

func (organization) prefix() string { return "org_" }
func (agent) prefix() string        { return "agt_" }
func (credential) prefix() string   { return "crd_" }
func (event) prefix() string        { return "evt_" }
func (client) prefix() string       { return "cli_" }
func (signIn) prefix() string       { return "sgn_" }
func (initialToken) prefix() string { return "iat_" }
func (organization) noun() string   { return "organization" }
func (agent) noun() string          { return "agent" }
func (credential) noun() string     { return "credential" }
func (event) noun() string          { return "audit event" }
func (client) noun() string         { return "client" }
func (signIn) noun() string         { return "sign-in" }
func (initialToken) noun() string   { return "initial access token" }

// ID is an identifier of kind K. The zero value identifies nothing. IDs of different kinds are different types.
type ID[K Kind] struct{ uuid uuid.UUID }

// The identifiers of the system.
type (
	Organization = ID[organization]
	Agent        = ID[agent]
	Credential   = ID[credential]
	Event        = ID[event]
	Client       = ID[client] // a relying party
	SignIn       = ID[signIn] // of an agent at a relying party
	InitialToken = ID[initialToken]
)

// New returns a fresh id; ids made later sort later.
func New[T ID[K], K Kind]() T { return T(ID[K]{uuid.Must(uuid.NewV7())}) }

// Parse reads the text form. Only the canonical spelling is accepted, so two different texts never name the same thing.
func Parse[T ID[K], K Kind](s string) (T, error) {
	var kind K
	p := kind.prefix()
	bad := fmt.Errorf("not %s id: want %s and the 32 lower-case hex digits of a UUIDv7", article(kind.noun()), p)
	if len(s) != len(p)+32 || s[:len(p)] != p {
		return T{}, bad
	}
	for i := len(p); i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return T{}, bad
		}
	}
	var id ID[K]
	if _, err := hex.Decode(id.uuid[:], []byte(s[len(p):])); err != nil || id.uuid.Version() != 7 || id.uuid.Variant() != uuid.RFC4122 {
		return T{}, bad
	}
	return T(id), nil
}

func article(noun string) string {
	switch noun[0] {
	case 'a', 'e', 'i', 'o', 'u':
		return "an " + noun
	}
	return "a " + noun
}

// FromUUID wraps a UUID read from the database.
func FromUUID[T ID[K], K Kind](u uuid.UUID) T { return T(ID[K]{u}) }

// UUID is the database form.
func (id ID[K]) UUID() uuid.UUID { return id.uuid }

// IsZero reports whether the id identifies nothing.
func (id ID[K]) IsZero() bool { return id.uuid == uuid.Nil }

// String is the text form; "" for the zero value.
func (id ID[K]) String() string {
	if id.IsZero() {
		return ""
	}
	var kind K
	return kind.prefix() + hex.EncodeToString(id.uuid[:])
}

// MarshalText and UnmarshalText use the text form; unmarshalling is as strict as Parse.
func (id ID[K]) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID[K]) UnmarshalText(b []byte) error {
	v, err := Parse[ID[K]](string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// Value stores the UUID; the zero value is NULL.
func (id ID[K]) Value() (driver.Value, error) {
	if id.IsZero() {
		return nil, nil
	}
	return id.uuid.String(), nil
}
