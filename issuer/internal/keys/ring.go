package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
)

// Ring serves the keys of one issuer from memory. It is safe for concurrent use, and follows the store while its Rings runs.
type Ring struct {
	now     func() time.Time
	current atomic.Pointer[contents]

	loading sync.Mutex // held while reading from the store: one reads, the others wait
}

// contents of a ring: immutable but for confirmed.
type contents struct {
	revision  int64
	signers   map[Use]*jose.SigningKey
	published Published
	confirmed atomic.Int64 // Unix nanoseconds at which the store was last known to have nothing newer
}

// Published is a key set as verifiers get it: every pending, active and retiring key.
type Published struct {
	Document []byte       // JWKS, RFC 7517 s5; not to be changed
	Keys     *jose.KeySet // the same, to verify with what this issuer signed
	// Current is false when the store could not be asked for ReloadMax. The document is then better than nothing, but nobody may cache it: the overlap of keys
	// counts on caches that are filled with what is current.
	Current bool
}

// KeySet is what is published now.
func (r *Ring) KeySet() Published {
	c := r.current.Load()
	if c == nil {
		return Published{Document: jose.MarshalKeySet(nil)}
	}
	p := c.published
	p.Current = r.fresh(c)
	return p
}

// Signer is the active key of a use. It is Unavailable while the store cannot be asked: the key may have been retired or revoked meanwhile.
func (r *Ring) Signer(use Use) (*jose.SigningKey, error) {
	c := r.current.Load()
	if c == nil || !r.fresh(c) {
		return nil, &problem.Error{Kind: problem.Unavailable, Code: "signing_keys_stale", Detail: "The signing keys cannot be confirmed right now.", RetryAfter: time.Second}
	}
	key, ok := c.signers[use]
	if !ok {
		return nil, fmt.Errorf("no signing key for use %q", use)
	}
	return key, nil
}

// fresh is also false when the clock was set back by more than a second or two: nobody knows how old the contents are then.
func (r *Ring) fresh(c *contents) bool {
	age := r.now().Sub(time.Unix(0, c.confirmed.Load()))
	return age <= ReloadMax && age >= -ReloadMax
}

// revision is 0 before the first load.
func (r *Ring) revision() int64 {
	if c := r.current.Load(); c != nil {
		return c.revision
	}
	return 0
}

// confirm notes that the store had nothing newer than revision at a moment.
func (r *Ring) confirm(revision int64, at time.Time) {
	if c := r.current.Load(); c != nil && c.revision >= revision {
		c.confirmed.Store(at.UnixNano())
	}
}

// replace puts a set into force. at is from before the store was read.
func (r *Ring) replace(ctx context.Context, org agentid.Organization, set Set, sealer Sealer, at time.Time) error {
	c, err := open(ctx, org, set, sealer)
	if err != nil {
		return err
	}
	c.confirmed.Store(at.UnixNano())
	r.current.Store(c)
	return nil
}

// open opens every key that is not destroyed, also those that only verify: what is published is computed from the sealed private halves, so someone
// who can write to the database but does not have the key-encryption key cannot slip a key of their own into the key set.
func open(ctx context.Context, org agentid.Organization, set Set, sealer Sealer) (*contents, error) {
	c := &contents{revision: set.Revision, signers: make(map[Use]*jose.SigningKey)}
	var published []json.RawMessage
	for _, k := range set.Keys {
		if k.State == Destroyed {
			continue
		}
		signer, err := openKey(ctx, org, k, sealer)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
		}
		published = append(published, signer.PublicJWK())
		if k.State == ActiveKey {
			c.signers[k.Use] = signer
		}
	}
	for _, use := range Uses() {
		if c.signers[use] == nil {
			return nil, fmt.Errorf("no active %s key", use)
		}
	}
	document := jose.MarshalKeySet(published)
	keySet, problems, err := jose.ParseKeySet(document)
	if err != nil || len(problems) > 0 {
		return nil, fmt.Errorf("our own key set is not accepted: %v %w", problems, err)
	}
	c.published = Published{Document: document, Keys: keySet}
	return c, nil
}

func openKey(ctx context.Context, org agentid.Organization, k Stored, sealer Sealer) (*jose.SigningKey, error) {
	private, err := sealer.Open(ctx, place(org, k.ID), k.Sealed)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	signer, err := jose.ParseSigningKey(k.Algorithm, private)
	if err != nil {
		return nil, err
	}
	if signer.ID() != k.ID {
		return nil, fmt.Errorf("the sealed key is another one (%s)", signer.ID())
	}
	return signer, nil
}

// place binds a private key to its row and its issuer.
func place(org agentid.Organization, kid string) Place {
	p := Place{Table: "signing_keys", Column: "sealed", Row: kid}
	if !org.IsZero() {
		p.Organization = org.String()
	}
	return p
}
