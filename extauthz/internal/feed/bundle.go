package feed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/agentidp/agentidp/internal/policy"
	"github.com/agentidp/agentidp/internal/strictjson"
)

// Limits of a bundle. What is in it is held to the limits of a policy directory besides.
const (
	// BundleBytesMax is the largest bundle as it is sent, compressed.
	BundleBytesMax   = 8 << 20
	bundleUnpackMax  = 32 << 20 // of the tar archive
	bundleEntriesMax = 20_000
	bundleFileMax    = 1 << 20
	rootsMax         = 1000
)

// manifestLimits leave room for what other tools note in it.
var manifestLimits = strictjson.Limits{Bytes: 256 << 10, Depth: 16, Values: 20_000, Members: 10_000}

// unpacked is an OPA bundle (https://www.openpolicyagent.org/docs/management-bundles).
type unpacked struct {
	revision string   // as its manifest has it; nothing is concluded from it
	roots    []string // what it owns; never empty, "" is everything
	regoV0   *bool    // what its Rego is, if the manifest says so
	sources  []policy.Source
}

// readBundle unpacks a bundle as `opa build` makes it. Rego, data.json, data.yaml, data.yml and .manifest are read; *_test.rego and all else is left
// out, as in a directory. What nobody would build by mistake is refused: paths that lead out, two files of one name, links, a delta.
func readBundle(doc []byte) (*unpacked, error) {
	packed := bytes.NewReader(doc)
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("not gzip: %w", err)
	}
	unzipped.Multistream(false)
	r := &bundleReader{unpacked: unpacked{roots: []string{""}}, seen: map[string]bool{}}
	bounded := &capped{r: unzipped, left: bundleUnpackMax}
	archive := tar.NewReader(bounded)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.entry(header, archive)
		}
		if err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, bounded); err != nil { // its checksum stands at the end
		return nil, err
	}
	if packed.Len() > 0 {
		return nil, errors.New("bytes behind the archive")
	}
	return &r.unpacked, nil
}

// capped fails, rather than end, where there is more than it lets through.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes unpacked", bundleUnpackMax)
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

type bundleReader struct {
	unpacked
	seen    map[string]bool
	entries int
}

func (r *bundleReader) entry(header *tar.Header, content io.Reader) error {
	if r.entries++; r.entries > bundleEntriesMax {
		return fmt.Errorf("more than %d entries", bundleEntriesMax)
	}
	name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "."), "/") // opa build writes /data.json, tar ./data.json
	if strings.HasPrefix(header.Name, ".") && !strings.HasPrefix(header.Name, "./") {
		name = header.Name
	}
	directory := strings.TrimSuffix(name, "/")
	if header.Typeflag == tar.TypeDir && (directory == "" || fs.ValidPath(directory)) {
		return nil
	}
	switch {
	case header.Typeflag != tar.TypeReg:
		return fmt.Errorf("%q is neither a file nor a directory", header.Name)
	case !fs.ValidPath(name) || strings.Contains(name, `\`):
		return fmt.Errorf("%q is not a path inside the bundle", header.Name)
	case r.seen[name]:
		return fmt.Errorf("%q is there twice", header.Name)
	}
	r.seen[name] = true
	return r.file(name, content)
}

func (r *bundleReader) file(name string, content io.Reader) error {
	isPolicy := strings.HasSuffix(name, ".rego") && !strings.HasSuffix(name, "_test.rego")
	switch base := path.Base(name); {
	case name == "patch.json":
		return errors.New("a delta bundle (patch.json) cannot be used alone")
	case base == "data.json", base == "data.yaml", base == "data.yml", name == ".manifest", isPolicy:
	default:
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(content, bundleFileMax+1))
	if err != nil {
		return err
	}
	if len(data) > bundleFileMax {
		return fmt.Errorf("%s is larger than %d bytes", name, bundleFileMax)
	}
	if name == ".manifest" {
		return r.manifest(data)
	}
	r.sources = append(r.sources, policy.Source{Name: name, Data: data})
	return nil
}

// manifest reads what concerns us: revision, roots, and which Rego the files are in. Its other members are other programs'.
func (r *bundleReader) manifest(data []byte) error {
	m, err := strictjson.ParseObject(data, manifestLimits)
	if err != nil {
		return fmt.Errorf(".manifest: %w", err)
	}
	if v, ok := m["revision"]; ok {
		if r.revision, ok = v.(string); !ok || len(r.revision) > 256 {
			return errors.New(".manifest: revision is not a text of at most 256 bytes")
		}
	}
	if v, ok := m["roots"]; ok {
		if r.roots, err = readRoots(v); err != nil {
			return err
		}
	}
	if m["file_rego_versions"] != nil {
		return errors.New(".manifest: file_rego_versions is not supported: use one version of Rego for all files")
	}
	switch m["rego_version"] {
	case nil:
	case json.Number("0"), json.Number("1"):
		v0 := m["rego_version"] == json.Number("0")
		r.regoV0 = &v0
	default:
		return errors.New(".manifest: rego_version is neither 0 nor 1")
	}
	return nil
}

// readRoots wants what OPA wants: paths such as a/b, none of which lies in another.
func readRoots(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > rootsMax {
		return nil, fmt.Errorf(".manifest: roots is not a list of 1 to %d paths", rootsMax)
	}
	var roots []string
	for _, element := range list {
		text, ok := element.(string)
		root := strings.Trim(text, "/")
		if !ok || root != "" && !fs.ValidPath(root) || root == "." {
			return nil, errors.New(".manifest: a root is not a path such as a/b")
		}
		for _, other := range roots {
			if policy.Within(root, other) || policy.Within(other, root) {
				return nil, fmt.Errorf(".manifest: the roots %q and %q overlap", other, root)
			}
		}
		roots = append(roots, root)
	}
	return roots, nil
}
