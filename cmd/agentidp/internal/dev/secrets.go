package dev

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
)

const secretBytes = 32

// ensureSecret writes 256 random bits, base64url, to a file only we can read, unless the file is there: a secret outlives a restart, as the data it protects does.
func ensureSecret(name string) error {
	_, err := os.Stat(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	random := make([]byte, secretBytes)
	rand.Read(random) //nolint:errcheck // crypto/rand never fails: it ends the process instead
	return writeFile(name, []byte(base64.RawURLEncoding.EncodeToString(random)+"\n"), 0o600)
}
