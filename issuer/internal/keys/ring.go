package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// actor is who makes the first keys.
var actor = audit.Actor{Kind: audit.KindSystem, ID: "issuer/keys"}

// Ring serves keys from memory. It is immutable and safe for concurrent use.
type Ring struct {
	signers map[Use]*jose.SigningKey
	keySet  Published
}

// Published is a key set as verifiers get it: every pending, active and retiring key.
type Published struct {
	Document []byte       // JWKS, RFC 7517 s5; not to be changed
	Keys     *jose.KeySet // the same, to verify with what this issuer signed
	// Current is false when the store could not be asked for a while. The document is then better than nothing, but nobody may cache it: the overlap of keys
	// counts on caches that are filled with what is current.
	Current bool
}

// Open loads the keys and creates the first active key of each use when there is none; safe when several instances start at once: the store lets one
// win, and the others load the winner's key.
func Open(ctx context.Context, store Store, sealer Sealer, now func() time.Time) (*Ring, error) {
	stored, err := store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("load signing keys: %w", err)
	}
	created := false
	for _, a := range algorithms {
		if hasActive(stored, a.use) {
			continue
		}
		if err := createFirst(ctx, store, sealer, a.use, a.algorithm, now().UTC().Truncate(time.Microsecond)); err != nil {
			return nil, fmt.Errorf("create the first %s key: %w", a.use, err)
		}
		created = true
	}
	if created {
		if stored, err = store.SigningKeys(ctx); err != nil {
			return nil, fmt.Errorf("load signing keys: %w", err)
		}
	}
	return load(ctx, stored, sealer)
}

func hasActive(stored []Stored, use Use) bool {
	for _, k := range stored {
		if k.Use == use && k.State == ActiveKey {
			return true
		}
	}
	return false
}

// createFirst makes a key that is active at once: there is no verifier yet that could hold an older key set.
func createFirst(ctx context.Context, store Store, sealer Sealer, use Use, alg jose.Algorithm, now time.Time) error {
	key, err := jose.GenerateSigningKey(alg)
	if err != nil {
		return err
	}
	private, err := key.PKCS8()
	if err != nil {
		return err
	}
	defer clear(private)
	sealed, err := sealer.Seal(ctx, place(key.ID()), private)
	if err != nil {
		return err
	}
	err = store.CreateSigningKey(ctx, actor, Stored{
		ID: key.ID(), Use: use, Algorithm: alg, State: ActiveKey, PublicJWK: key.PublicJWK(), Sealed: sealed, CreatedAt: now, ActivatedAt: now,
	})
	if problem.KindOf(err) == problem.Conflict {
		return nil // another instance was faster
	}
	return err
}

// place binds a private key to its row.
func place(kid string) Place { return Place{Table: "signing_keys", Column: "sealed", Row: kid} }

// load opens every key that is not destroyed, also those that only verify: what is published is computed from the sealed private halves, so someone
// who can write to the database but does not have the key-encryption key cannot slip a key of their own into the key set.
func load(ctx context.Context, stored []Stored, sealer Sealer) (*Ring, error) {
	r := &Ring{signers: make(map[Use]*jose.SigningKey)}
	var published []json.RawMessage
	for _, k := range stored {
		if k.State == Destroyed {
			continue
		}
		signer, err := open(ctx, k, sealer)
		if err != nil {
			return nil, fmt.Errorf("signing key %s: %w", k.ID, err)
		}
		published = append(published, signer.PublicJWK())
		if k.State == ActiveKey {
			r.signers[k.Use] = signer
		}
	}
	for _, a := range algorithms {
		if r.signers[a.use] == nil {
			return nil, fmt.Errorf("no active %s key", a.use)
		}
	}
	r.keySet = Published{Document: jose.MarshalKeySet(published), Current: true}
	set, problems, err := jose.ParseKeySet(r.keySet.Document)
	if err != nil || len(problems) > 0 {
		return nil, fmt.Errorf("our own key set is not accepted: %v %w", problems, err)
	}
	r.keySet.Keys = set
	return r, nil
}

func open(ctx context.Context, k Stored, sealer Sealer) (*jose.SigningKey, error) {
	private, err := sealer.Open(ctx, place(k.ID), k.Sealed)
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

// Signer is the active key of a use.
func (r *Ring) Signer(use Use) (*jose.SigningKey, error) {
	key, ok := r.signers[use]
	if !ok {
		return nil, fmt.Errorf("no signing key for use %q", use)
	}
	return key, nil
}

// KeySet is what is published now.
func (r *Ring) KeySet() Published { return r.keySet }
