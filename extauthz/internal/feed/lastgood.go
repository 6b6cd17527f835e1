package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LastGood keeps the last good document of each URL on disk, so that a sidecar that starts while the issuer is down knows what it knew.
// What lies there is public (keys, revocations) but decides who gets in: the directory must be writable by the sidecar alone. A nil
// LastGood keeps nothing.
type LastGood struct{ dir string }

// OpenLastGood makes the directory (mode 0700) when it is missing. It fails when no file can be written there.
func OpenLastGood(dir string) (*LastGood, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(probe.Name())
	if err := probe.Close(); err != nil {
		return nil, err
	}
	return &LastGood{dir: dir}, nil
}

// record is a document with where and when it came from.
type record struct {
	Kind      string    `json:"kind"`
	Issuer    string    `json:"issuer"`
	URL       string    `json:"url"`
	ETag      string    `json:"etag"`
	FetchedAt time.Time `json:"fetchedAt"`
	Body      []byte    `json:"-"`
}

// A file is magic, the SHA-256 of all that follows, the record as one line of JSON, and the document as it came.
const lastGoodMagic = "agentidp-last-good 1 "

// errNoRecord means there is nothing on disk for this source yet.
var errNoRecord = errors.New("no last good document")

func (l *LastGood) path(kind, issuer string) string {
	sum := sha256.Sum256([]byte(issuer))
	return filepath.Join(l.dir, kind+"-"+hex.EncodeToString(sum[:12])+".lastgood")
}

// save replaces the record of (Kind, Issuer). When it returns nil the record survives a crash; when it fails the old one is untouched.
func (l *LastGood) save(r *record) error {
	if l == nil {
		return nil
	}
	header, err := json.Marshal(r)
	if err != nil {
		return err
	}
	rest := append(append(header, '\n'), r.Body...)
	sum := sha256.Sum256(rest)
	data := append([]byte(lastGoodMagic+hex.EncodeToString(sum[:])+"\n"), rest...)
	return replaceFile(l.path(r.Kind, r.Issuer), data)
}

// load reads the record of (kind, issuer) back. A record of another URL is no record: the operator pointed the feed elsewhere.
func (l *LastGood) load(kind, issuer, url string) (*record, error) {
	if l == nil {
		return nil, errNoRecord
	}
	path := l.path(kind, issuer)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRecord
	}
	if err != nil {
		return nil, err
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(rest)
	if string(first) != lastGoodMagic+hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s is damaged: its checksum does not match", path)
	}
	header, body, _ := bytes.Cut(rest, []byte("\n"))
	r := &record{Body: body}
	if err := json.Unmarshal(header, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Kind != kind || r.Issuer != issuer || r.URL != url {
		return nil, errNoRecord
	}
	return r, nil
}

// replaceFile writes a file so that a reader, or a crash at any point, sees the old contents or the new, never a mix: temporary file,
// fsync, rename, fsync of the directory.
func replaceFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+strings.TrimSuffix(filepath.Base(path), ".lastgood")+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing of that name
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
