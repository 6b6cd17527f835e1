package policy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree writes files below a new directory; a content of "-> x" makes a symbolic link to x.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadDir(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"b.rego": "b", "a/z.rego": "z", "a/data.json": "{}", "data.yaml": "y", "c/data.yml": "x",
		"b_test.rego": "left out", ".hidden.rego": "left out", ".git/x.rego": "left out", "README.md": "left out",
		"other.json": "left out", "data.schema.json": "left out",
	})
	got, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{
		{"a/data.json", []byte("{}")},
		{"a/z.rego", []byte("z")},
		{"b.rego", []byte("b")},
		{"c/data.yml", []byte("x")},
		{"data.yaml", []byte("y")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestReadDirOfConfigMap: Kubernetes mounts every file as a link through a hidden one that is swapped on each change.
func TestReadDirOfConfigMap(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"..2026_11_23/authz.rego": "new", "..2026_11_23/lib/x.rego": "x", "..data": "-> ..2026_11_23",
		"authz.rego": "-> ..data/authz.rego", "lib": "-> ..data/lib",
	})
	got, err := ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Source{{"authz.rego", []byte("new")}, {"lib/x.rego", []byte("x")}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReadDirRefuses(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range sourcesMax + 1 {
		many[strconv.Itoa(i)+".rego"] = ""
	}
	full := map[string]string{}
	for i := range policyBytesMax/sourceBytesMax + 1 {
		full[strconv.Itoa(i)+".rego"] = strings.Repeat("x", sourceBytesMax)
	}
	for _, tt := range []struct {
		name, want string
		files      map[string]string
	}{
		{"loop of a file", "x.rego: symbolic link loop", map[string]string{"x.rego": "-> x.rego"}},
		{"loop of a directory", "a/b: symbolic link loop", map[string]string{"a/x.rego": "", "a/b": "-> ../a"}},
		{"link to the directory itself", "a: symbolic link loop", map[string]string{"a": "-> ."}},
		{"link to nowhere", "x.rego: no such file", map[string]string{"x.rego": "-> y"}},
		{"large file", "x.rego: is larger than 1048576 bytes", map[string]string{"x.rego": strings.Repeat("x", sourceBytesMax+1)}},
		{"large directory", "larger than 16777216 bytes", full},
		{"many files", "more than 2000 policy files", many},
		{"deep", "nested deeper than 32", map[string]string{strings.Repeat("d/", 33) + "x.rego": ""}},
		{"link to a device", "x.rego: is not a regular file", map[string]string{"x.rego": "-> /dev/null"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := ReadDir(tree(t, tt.files))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadDir = %v, want %q", err, tt.want)
			}
		})
	}
	dir := tree(t, map[string]string{"x.rego": ""})
	for _, path := range []string{filepath.Join(dir, "x.rego"), filepath.Join(dir, "nothing")} {
		if _, err := ReadDir(path); err == nil {
			t.Errorf("ReadDir(%s) succeeded", path)
		}
	}
}

// TestReadDirDoesNotWait for somebody to write into a named pipe.
func TestReadDirDoesNotWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "x.rego"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("ReadDir = %v", err)
	}
}
