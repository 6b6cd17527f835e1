package credentials

import (
	"bytes"
	"strings"
	"testing"
)

func TestHashKeyMustBeStrong(t *testing.T) {
	t.Parallel()
	if _, err := NewSecrets(make([]byte, 31), "test"); err == nil {
		t.Error("a 31-byte key was accepted")
	}
	key := []byte(strings.Repeat("k", 32))
	s, err := NewSecrets(key, "test")
	if err != nil {
		t.Fatal(err)
	}
	before := s.hash("x")
	clear(key)
	if !bytes.Equal(before, s.hash("x")) {
		t.Error("the caller's slice is used: clearing it changed the hashes")
	}
}

func TestHashDependsOnKeyAndPurpose(t *testing.T) {
	t.Parallel()
	hashes := map[string]bool{}
	for _, of := range [][2]string{{"k", "agents"}, {"l", "agents"}, {"k", "relying parties"}} {
		s, err := NewSecrets([]byte(strings.Repeat(of[0], 32)), of[1])
		if err != nil {
			t.Fatal(err)
		}
		hashes[string(s.hash("x"))] = true
	}
	if len(hashes) != 3 {
		t.Error("a stolen table could be searched without the key, or with hashes made for something else")
	}
}
