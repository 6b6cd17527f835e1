package policy

import (
	"testing"

	"go.uber.org/goleak"
)

// The compiler that TestCompileEndsWithItsContext leaves behind is waited for: it is no leak, it ends.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
