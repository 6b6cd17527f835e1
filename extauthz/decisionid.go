package extauthz

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
)

// newDecisionID returns a UUIDv7 (RFC 9562 s5.7), by which decisions sort by time. It names a decision and opens nothing,
// so the random numbers are the runtime's (ChaCha8, seeded by the system), which cost no system call.
func newDecisionID(now time.Time) string {
	const (
		version = 7 << 12 // in the 16 bits after the time
		variant = 2 << 62 // RFC 9562 s4.1
	)
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|version|rand.Uint64N(1<<12))
	binary.BigEndian.PutUint64(id[8:], variant|rand.Uint64N(1<<62))
	return id.String()
}
