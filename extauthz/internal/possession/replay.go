package possession

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// ReplayBytesDefault remembers 1.6 million proofs, at most 52,000 of one key within their life and as many before.
	ReplayBytesDefault = 64 << 20

	replayShards     = 16
	replayEntryBytes = 40 // of a map entry with a 16-byte key, at its worst load (TestReplayStoreStaysWithinItsBytes)
)

// use says what became of one proof.
type use int

const (
	firstUse use = iota
	seenBefore
	noRoom
)

// replayKey stands for one proof of one key. It covers the key: by jti alone, a stranger could use up somebody's.
type replayKey [16]byte

// replayStore remembers proofs for as long as they would be accepted again. It is bounded: what cannot be remembered is
// not accepted. A key has one shard, so a client that floods with good proofs shuts out a sixteenth of the others, for
// seconds, and not all of them.
type replayStore struct {
	life       time.Duration
	entriesMax int // of one generation of one shard
	shards     [replayShards]replayShard
}

// replayShard holds two generations. Each lasts for the life of an entry, so what fell out with the older one was there
// for a life at least and for two at most.
type replayShard struct {
	mu              sync.Mutex
	since           time.Time // when the current generation began
	current, before map[replayKey]struct{}
}

func newReplayStore(bytesMax int64, life time.Duration) *replayStore {
	if bytesMax <= 0 {
		bytesMax = ReplayBytesDefault
	}
	return &replayStore{life: life, entriesMax: int(bytesMax / replayEntryBytes / replayShards / 2)}
}

// use takes note of a proof, once.
func (s *replayStore) use(thumbprint, id string, now time.Time) use {
	text := make([]byte, 0, 512)
	text = binary.BigEndian.AppendUint64(text, uint64(len(thumbprint))) // so that no two pairs give one text
	text = append(append(text, thumbprint...), id...)
	digest := sha256.Sum256(text)
	key := replayKey(digest[:16])
	shard := &s.shards[shardOf(thumbprint)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.turn(now, s.life)
	if _, used := shard.current[key]; used {
		return seenBefore
	}
	if _, used := shard.before[key]; used {
		return seenBefore
	}
	if len(shard.current) >= s.entriesMax {
		return noRoom
	}
	if shard.current == nil {
		shard.current = make(map[replayKey]struct{})
	}
	shard.current[key] = struct{}{}
	return firstUse
}

// turn begins a new generation when the current one is over. A clock that goes back makes generations longer, never
// shorter.
func (s *replayShard) turn(now time.Time, life time.Duration) {
	age := now.Sub(s.since)
	switch {
	case age < life:
		return
	case age < 2*life:
		s.before = s.current
	default:
		s.before = nil
	}
	s.current, s.since = nil, now
}

// shardOf spreads keys by their thumbprint, which is a hash already.
func shardOf(thumbprint string) int {
	n := 0
	for i := range min(len(thumbprint), 4) {
		n = n*31 + int(thumbprint[i])
	}
	return n % replayShards
}
