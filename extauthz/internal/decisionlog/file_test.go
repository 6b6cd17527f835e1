package decisionlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func send(t *testing.T, f *File, lines ...string) {
	t.Helper()
	var batch [][]byte
	for _, line := range lines {
		batch = append(batch, []byte(line))
	}
	if n, cause := f.Send(t.Context(), batch); n != len(lines) {
		t.Fatalf("%d of %d lines written: %s", n, len(lines), cause)
	}
}

// logrotate renames, or removes; the next line is in a new file of the old name, and no line is lost.
func TestFileFollowsItsName(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "decisions.jsonl")
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	send(t, f, "a", "b")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	send(t, f, "c")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	send(t, f, "d")
	if got := readFile(t, name+".1") + "|" + readFile(t, name); got != "a\nb\n|d\n" {
		t.Errorf("got %q", got)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != fileMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// When the name cannot be opened again, the old file takes the lines.
func TestFileStaysWhenItCannotReopen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	send(t, f, "a")
	if got := readFile(t, filepath.Join(dir+".old", "d")); got != "a\n" {
		t.Errorf("got %q", got)
	}
}

func TestFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	f, err := OpenFile("/dev/full")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := New(f, Config{SampleAllowed: 1})
	for n := range 10 {
		l.Add(Record{DecisionID: fmt.Sprint(n)})
	}
	closed(t, l)
	if c := l.Counts(); c.Written != 0 || c.Dropped[CauseWrite] != 10 {
		t.Errorf("counted %+v", c)
	}
}

func TestFileTakesManyLinesAtOnce(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "d")
	f, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const total = 3000
	l := New(f, Config{SampleAllowed: 1})
	for n := range total {
		l.Add(Record{DecisionID: fmt.Sprint(n)})
	}
	closed(t, l)
	text := readFile(t, name)
	if n := strings.Count(text, "\n"); n != total || l.Counts().Written != total {
		t.Errorf("%d lines, counted %+v", n, l.Counts())
	}
	for n := range total {
		if !strings.Contains(text, fmt.Sprintf(`"decision_id":"%d"`, n)) {
			t.Fatalf("decision %d is missing", n)
		}
	}
}
