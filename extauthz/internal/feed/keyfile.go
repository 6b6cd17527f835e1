package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/smallfile"
)

const (
	keyFilePoll     = time.Second
	keyFileBytesMax = 256 << 10
)

// KeyFile feeds one issuer's keys from a JWKS file. It polls contents: change notifications do not survive the way Kubernetes swaps
// mounted files. The keys do not age.
type KeyFile struct {
	env    *Env
	issuer string
	path   string
	file   *smallfile.Follower[[]byte]
	health *health
	seen   [sha256.Size]byte // contents judged last, good or not
	missed bool              // the file could not be read last time
}

// NewKeyFile makes the feed; the issuer must be in the store.
func NewKeyFile(env *Env, issuer, path string) *KeyFile {
	file := smallfile.Follow(path, func() ([]byte, error) { return ReadKeyFile(path) })
	return &KeyFile{env: env, issuer: issuer, path: path, file: file, health: newHealth(env, "keys", issuer)}
}

// Name implements Feed.
func (f *KeyFile) Name() string { return "keys of " + f.issuer }

// Load implements Feed; it fails when the file has no usable key.
func (f *KeyFile) Load(ctx context.Context) error {
	doc, err := f.file.Read(ctx)
	if err != nil {
		return err
	}
	return f.judge(ctx, doc)
}

// Run implements Feed.
func (f *KeyFile) Run(ctx context.Context) error {
	tick := time.NewTicker(keyFilePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.poll(ctx)
		}
	}
}

func (f *KeyFile) poll(ctx context.Context) {
	doc, err := f.file.Read(ctx)
	switch {
	case ctx.Err() != nil: // the end, not a failure
	case err != nil:
		f.missed = true
		f.health.bad(ctx, resultFailed, err)
	case f.missed || sha256.Sum256(doc) != f.seen:
		f.missed = false
		if err := f.judge(ctx, doc); err != nil {
			f.health.bad(ctx, resultRefused, err, "file", f.path)
		}
	case f.health.problem == "":
		f.health.good(ctx, resultUnchanged)
	default: // still the contents that were refused
		f.health.bad(ctx, resultRefused, errors.New(f.health.problem), "file", f.path)
	}
}

// judge puts new contents in force, or says why not.
func (f *KeyFile) judge(ctx context.Context, doc []byte) error {
	f.seen = sha256.Sum256(doc)
	keys, err := parseKeys(ctx, f.env.Store, f.health, doc)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	publishKeys(f.env.Store, f.issuer, keys, time.Time{})
	f.health.good(ctx, resultChanged)
	f.health.log.InfoContext(ctx, "keys in force", "keys", keys.Len(), "file", f.path)
	return nil
}

// ReadKeyFile reads a JWKS file of at most 256 KiB.
func ReadKeyFile(path string) ([]byte, error) { return smallfile.Read(path, keyFileBytesMax) }

var errNoKeys = errors.New("holds no usable key")

// parseKeys reads a key set that must have a key, for the issuer of h. Keys that are left out, or that no token may be signed with, are
// logged one by one.
func parseKeys(ctx context.Context, store *state.Store, h *health, doc []byte) (*jose.KeySet, error) {
	accepted := store.Load().Issuers[h.issuer].Rules.Algorithms
	keys, problems, err := jose.ParseKeySetFor(doc, accepted)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		h.log.WarnContext(ctx, "key left out", "index", p.Index, "kid", p.KeyID, "reason", p.Reason)
	}
	for _, k := range keys.Keys() {
		if !slices.Contains(accepted, k.Algorithm()) {
			h.log.WarnContext(ctx, "key is for an algorithm that is not accepted of this issuer: none of its tokens is", "kid", k.ID(), "algorithm", k.Algorithm())
		}
	}
	if keys.Len() == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}

// publishKeys replaces the keys of one issuer and nothing else.
func publishKeys(store *state.Store, issuer string, keys *jose.KeySet, until time.Time) {
	store.Update(func(s *state.Snapshot) {
		next := *s.Issuers[issuer]
		next.Keys, next.KeysUntil = keys, until
		s.Issuers[issuer] = &next
	})
}
