package feed

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLastGoodKeepsDocuments(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	disk, err := OpenLastGood(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
	want := &record{Kind: "keys", Issuer: "i", URL: "u", ETag: "e\n\"", FetchedAt: time.Unix(7, 0).UTC(), Body: []byte("line\nline\n\x00")}
	for range 2 { // the second save replaces
		if err := disk.save(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := disk.load("keys", "i", "u")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, other := range [][3]string{{"revocations", "i", "u"}, {"keys", "j", "u"}, {"keys", "i", "v"}} {
		if _, err := disk.load(other[0], other[1], other[2]); !errors.Is(err, errNoRecord) {
			t.Errorf("%v: %v", other, err)
		}
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(names) != 1 || len(hidden) != 0 {
		t.Errorf("files left: %v %v", names, hidden)
	}
	if info, _ := os.Stat(names[0]); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestLastGoodNoticesEveryBitFlip(t *testing.T) {
	t.Parallel()
	disk, err := OpenLastGood(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.save(&record{Kind: "keys", Issuer: "i", URL: "u", Body: []byte("some body that matters")}); err != nil {
		t.Fatal(err)
	}
	path := disk.path("keys", "i")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		bad := append([]byte(nil), good...)
		bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := disk.load("keys", "i", "u"); err == nil {
			t.Fatalf("a flipped bit went unnoticed: %q gives %+v", bad, r)
		}
	}
	for n := range good {
		if err := os.WriteFile(path, good[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.load("keys", "i", "u"); err == nil {
			t.Fatalf("a file cut after %d bytes was read", n)
		}
	}
}

func TestLastGoodFailsLoudly(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	if _, err := OpenLastGood(filepath.Join(file, "dir")); err == nil {
		t.Error("a directory below a file was made")
	}
	disk, err := OpenLastGood(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blocked := disk.path("keys", "i")
	if err := os.MkdirAll(filepath.Join(blocked, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := disk.save(&record{Kind: "keys", Issuer: "i"}); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if left, _ := filepath.Glob(filepath.Join(disk.dir, ".*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
	if _, err := disk.load("keys", "i", "u"); err == nil || errors.Is(err, errNoRecord) {
		t.Errorf("load = %v", err)
	}
}
