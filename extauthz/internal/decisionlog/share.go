package decisionlog

import "math"

// Share picks a part of all decisions by their ids: the same id is always in or always out, in every process, so that what
// was sampled here can be found there. Shares with different names are independent of each other.
type Share struct {
	seed  uint64
	limit uint64
	all   bool
}

// FNV-1a, 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// NewShare makes the share of size part, between 0 (none) and 1 (all).
func NewShare(name string, part float64) Share {
	if part >= 1 {
		return Share{all: true}
	}
	return Share{seed: hash(fnvOffset, name), limit: uint64(max(part, 0) * math.MaxUint64)}
}

// Has reports whether the decision belongs to the share.
func (s Share) Has(decisionID string) bool {
	return s.all || mix(hash(s.seed, decisionID)) < s.limit
}

func hash(h uint64, text string) uint64 {
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	return h
}

// mix spreads every bit over all others: ids that follow each other in time differ in their last digits only.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
