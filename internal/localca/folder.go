package localca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// A certificate is made again this long before it ends, so that a system that keeps running for days does not meet its end.
	authorityRenewBefore = 180 * 24 * time.Hour
	leafRenewBefore      = 30 * 24 * time.Hour
)

// Folder names the files of an authority and of one server certificate.
type Folder struct{ dir string }

// AuthorityFile is the certificate clients trust.
func (f Folder) AuthorityFile() string { return filepath.Join(f.dir, "ca.pem") }

// CertificateFile is the server's certificate.
func (f Folder) CertificateFile() string { return filepath.Join(f.dir, "server.pem") }

// KeyFile is the server's private key, mode 0600.
func (f Folder) KeyFile() string { return filepath.Join(f.dir, "server-key.pem") }

func (f Folder) authorityKeyFile() string { return filepath.Join(f.dir, "ca-key.pem") }

// Ensure makes the authority and the server certificate of dir when they are missing, unreadable, near their end or for other names; what is good is kept,
// so that clients that trust ca.pem keep doing so.
func Ensure(dir string, now time.Time, names ...string) (Folder, error) {
	f := Folder{dir}
	authority, err := f.authority(now)
	if err != nil {
		return f, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	server, err := readPair(f.CertificateFile(), f.KeyFile())
	if err != nil {
		return f, fmt.Errorf("server certificate in %s: %w", dir, err)
	}
	if authority.serves(server, now.Add(leafRenewBefore), names...) {
		return f, nil
	}
	server, err = authority.Server(now, names...)
	if err != nil {
		return f, fmt.Errorf("server certificate in %s: %w", dir, err)
	}
	return f, writePair(server, f.CertificateFile(), f.KeyFile())
}

func (f Folder) authority(now time.Time) (*Authority, error) {
	pair, err := readPair(f.AuthorityFile(), f.authorityKeyFile())
	if err != nil {
		return nil, err
	}
	if a, err := Load(pair); err == nil && now.Add(authorityRenewBefore).Before(a.certificate.NotAfter) {
		return a, nil
	}
	a, err := New(now)
	if err != nil {
		return nil, err
	}
	return a, writePair(a.Pair, f.AuthorityFile(), f.authorityKeyFile())
}

// readPair returns what is there; a missing file is an empty pair.
func readPair(certificate, key string) (Pair, error) {
	var pair Pair
	for name, into := range map[string]*[]byte{certificate: &pair.Certificate, key: &pair.Key} {
		text, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Pair{}, err
		}
		*into = text
	}
	return pair, nil
}

// writePair writes the key first: a certificate in place means that its key is.
func writePair(pair Pair, certificate, key string) error {
	if err := writeFile(key, pair.Key, 0o600); err != nil {
		return err
	}
	return writeFile(certificate, pair.Certificate, 0o644)
}

// writeFile replaces a file whole, with the mode from the start.
func writeFile(name string, text []byte, mode os.FileMode) error {
	unfinished := name + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(unfinished, text, mode); err != nil {
		return err
	}
	return os.Rename(unfinished, name)
}
