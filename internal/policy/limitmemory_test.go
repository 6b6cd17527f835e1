//go:build !race

package policy

import (
	"syscall"
	"testing"
)

// limitMemory ends the process rather than the machine's memory. The race detector needs addresses by the terabyte.
func limitMemory(t *testing.T) {
	const most = 4 << 30
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		t.Fatal(err)
	}
}
