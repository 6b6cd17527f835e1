//go:build race

package policy

import "testing"

func limitMemory(*testing.T) {}
