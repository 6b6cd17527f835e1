package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/agentidp/agentidp/internal/smallfile"
)

// Limits of one policy. They bound what a reload may cost and are far above what people write by hand.
const (
	sourceBytesMax = 1 << 20  // one file
	policyBytesMax = 16 << 20 // all files
	sourcesMax     = 2000     // files
	dirEntriesMax  = 20_000   // everything looked at, policy or not
	dirDepthMax    = 32
)

// Source is one file of a policy: .rego, or data.json / data.yaml which mounts at its directory as in OPA bundles.
type Source struct {
	Name string // relative slash path, shown in errors
	Data []byte
}

// isModule and isData tell the two kinds of source by name.
func isModule(name string) bool { return strings.HasSuffix(name, ".rego") }

func isData(name string) bool {
	switch path.Base(name) {
	case "data.json", "data.yaml", "data.yml":
		return true
	}
	return false
}

// ReadDir reads a policy directory, sorted by name. Tests (*_test.rego), names that begin with a dot, and files that are
// neither Rego nor data are left out. Symbolic links are followed, because that is how Kubernetes mounts a ConfigMap; a
// link that leads back into its own parents, or nowhere, is an error. So is a policy file that is not a regular file, and
// a directory beyond the limits: what was left out silently might have been the rule that denies.
func ReadDir(dir string) ([]Source, error) {
	root, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("policy directory: %w", err)
	}
	if !root.IsDir() {
		return nil, fmt.Errorf("policy directory: %s is not a directory", dir)
	}
	r := dirReader{root: dir}
	if err := r.dir(".", []os.FileInfo{root}); err != nil {
		return nil, err
	}
	slices.SortFunc(r.sources, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	return r.sources, nil
}

type dirReader struct {
	root    string
	sources []Source
	bytes   int
	entries int
}

// dir reads one directory; parents are the directories on the way to it, itself included.
func (r *dirReader) dir(name string, parents []os.FileInfo) error {
	if len(parents) > dirDepthMax {
		return fmt.Errorf("policy directory: %s: nested deeper than %d", name, dirDepthMax)
	}
	entries, err := os.ReadDir(filepath.Join(r.root, filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("policy directory: %w", err)
	}
	if r.entries += len(entries); r.entries > dirEntriesMax {
		return fmt.Errorf("policy directory: more than %d entries", dirEntriesMax)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := r.entry(path.Join(name, e.Name()), e, parents); err != nil {
			return err
		}
	}
	return nil
}

func (r *dirReader) entry(name string, e fs.DirEntry, parents []os.FileInfo) error {
	wanted := isModule(name) && !strings.HasSuffix(name, "_test.rego") || isData(name)
	if !wanted && !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
		return nil
	}
	info, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(name)))
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return fmt.Errorf("policy directory: %s: symbolic link loop", name)
		}
		return fmt.Errorf("policy directory: %w", err)
	}
	switch {
	case info.IsDir():
		for _, p := range parents {
			if os.SameFile(p, info) {
				return fmt.Errorf("policy directory: %s: symbolic link loop", name)
			}
		}
		return r.dir(name, append(slices.Clip(parents), info))
	case wanted:
		return r.file(name)
	}
	return nil
}

func (r *dirReader) file(name string) error {
	if len(r.sources) == sourcesMax {
		return fmt.Errorf("policy directory: more than %d policy files", sourcesMax)
	}
	data, err := smallfile.Read(filepath.Join(r.root, filepath.FromSlash(name)), sourceBytesMax)
	if err != nil {
		return fmt.Errorf("policy directory: %w", err)
	}
	if r.bytes += len(data); r.bytes > policyBytesMax {
		return fmt.Errorf("policy directory: all files together are larger than %d bytes", policyBytesMax)
	}
	r.sources = append(r.sources, Source{Name: name, Data: data})
	return nil
}

// checkSources holds sources from elsewhere (a bundle) to what ReadDir guarantees.
func checkSources(sources []Source) []Problem {
	var problems []Problem
	if len(sources) > sourcesMax {
		return []Problem{{Message: fmt.Sprintf("more than %d policy files", sourcesMax)}}
	}
	seen := make(map[string]bool, len(sources))
	total := 0
	for _, s := range sources {
		total += len(s.Data)
		switch {
		case !fs.ValidPath(s.Name):
			problems = append(problems, Problem{Message: fmt.Sprintf("%q is not a relative path", s.Name)})
		case seen[s.Name]:
			problems = append(problems, Problem{File: s.Name, Message: "given twice"})
		case !isModule(s.Name) && !isData(s.Name):
			problems = append(problems, Problem{File: s.Name, Message: "neither a .rego file nor data.json or data.yaml"})
		case len(s.Data) > sourceBytesMax:
			problems = append(problems, Problem{File: s.Name, Message: fmt.Sprintf("larger than %d bytes", sourceBytesMax)})
		}
		seen[s.Name] = true
	}
	if total > policyBytesMax {
		problems = append(problems, Problem{Message: fmt.Sprintf("all files together are larger than %d bytes", policyBytesMax)})
	}
	return problems
}

// revision is the SHA-256 over the sources, each name and content preceded by its length so that no two different sets
// of files can be spelled by the same bytes.
func revision(sources []Source) string {
	sorted := slices.Clone(sources)
	slices.SortFunc(sorted, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	var length [8]byte
	for _, s := range sorted {
		for _, part := range [][]byte{[]byte(s.Name), s.Data} {
			binary.BigEndian.PutUint64(length[:], uint64(len(part)))
			h.Write(length[:])
			h.Write(part)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
