package extauthz

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestDecisionIDs(t *testing.T) {
	t.Parallel()
	moment := time.UnixMilli(1790000000123)
	seen := map[string]bool{}
	for range 10_000 {
		text := newDecisionID(moment)
		id, err := uuid.Parse(text)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || seen[text] {
			t.Fatalf("%s: %v", text, err)
		}
		seen[text] = true
		if seconds, nanos := id.Time().UnixTime(); seconds != moment.Unix() || nanos/1e6 != 123 {
			t.Fatalf("%s is of %d.%09d", text, seconds, nanos)
		}
	}
	if newDecisionID(moment.Add(time.Millisecond)) < newDecisionID(moment) {
		t.Error("a later decision sorts before an earlier one")
	}
}
