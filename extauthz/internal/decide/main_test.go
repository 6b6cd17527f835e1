package decide

import (
	"testing"

	"go.uber.org/goleak"
)

// Caches and policies that are closed leave nothing running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
