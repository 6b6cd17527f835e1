package extauthz_test

import (
	"os"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.MainCleanup(m, func() error { return os.RemoveAll(binaryDir) })
}
