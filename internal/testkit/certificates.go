package testkit

import (
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/localca"
)

// Certificates makes an authority and a server certificate for names (loopback when none are given) in files removed when the test ends.
func Certificates(t testing.TB, names ...string) localca.Folder {
	t.Helper()
	if len(names) == 0 {
		names = localca.Loopback()
	}
	folder, err := localca.Ensure(t.TempDir(), time.Now(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return folder
}
