package feed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentidp/agentidp/internal/policy"
)

const allowAll = "package agentidp.authz\n\nallow := true\n"

// file is an entry of a bundle; link makes it a symbolic link.
type file struct{ name, text, link string }

func pack(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.text)), Typeflag: tar.TypeReg, Linkname: f.link}
		switch {
		case f.link != "":
			h.Typeflag = tar.TypeSymlink
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadBundle(t *testing.T) {
	t.Parallel()
	got, err := readBundle(pack(t,
		file{name: "./"}, file{name: "/.manifest", text: `{"revision":"r1","roots":["a","/b/c/"],"rego_version":0,"metadata":{"x":[1]}}`},
		file{name: "/a/authz.rego", text: "1"}, file{name: "./a/data.json", text: "{}"}, file{name: "b/c/data.yaml", text: "x"}, file{name: ".hidden/data.yml", text: "y"},
		file{name: "a/authz_test.rego", text: "left out"}, file{name: "README.md", text: "left out"}, file{name: "/.signatures.json", text: "left out"}, file{name: "a/"}, file{name: "policy.wasm", text: "left out"},
	))
	if err != nil {
		t.Fatal(err)
	}
	v0 := true
	want := &unpacked{revision: "r1", roots: []string{"a", "b/c"}, regoV0: &v0, sources: []policy.Source{
		{Name: "a/authz.rego", Data: []byte("1")}, {Name: "a/data.json", Data: []byte("{}")}, {Name: "b/c/data.yaml", Data: []byte("x")}, {Name: ".hidden/data.yml", Data: []byte("y")},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(unpacked{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, err = readBundle(pack(t)); err != nil || !slices.Equal(got.roots, []string{""}) || got.regoV0 != nil {
		t.Errorf("without manifest: %+v, %v", got, err)
	}
}

func TestReadBundleRefuses(t *testing.T) {
	t.Parallel()
	manifest := func(text string) []byte { return pack(t, file{name: ".manifest", text: text}) }
	good := pack(t, file{name: "a.rego", text: "package a"})
	var many []file
	for i := range bundleEntriesMax + 1 {
		many = append(many, file{name: fmt.Sprint(i)})
	}
	for name, tc := range map[string]struct {
		doc  []byte
		want string
	}{
		"nothing":              {nil, "not gzip"},
		"HTML":                 {[]byte("<html>"), "not gzip"},
		"cut off":              {good[:len(good)-20], "unexpected EOF"},
		"checksum":             {slices.Concat(good[:len(good)-8], []byte{0, 0, 0, 0}, good[len(good)-4:]), "checksum"},
		"bytes behind":         {append(slices.Clone(good), good...), "bytes behind the archive"},
		"parent":               {pack(t, file{name: "../a.rego"}), `"../a.rego" is not a path inside`},
		"parent, further in":   {pack(t, file{name: "a/../../a.rego"}), "is not a path inside"},
		"parent, as directory": {pack(t, file{name: "../"}), "is neither a file nor a directory"},
		"absolute twice":       {pack(t, file{name: "//a.rego"}), "is not a path inside"},
		"backslash":            {pack(t, file{name: `a\..\b.rego`}), "is not a path inside"},
		"link":                 {pack(t, file{name: "a.rego", link: "/etc/passwd"}), "is neither a file nor a directory"},
		"twice":                {pack(t, file{name: "a.rego"}, file{name: "a.rego"}), `"a.rego" is there twice`},
		"twice, two spellings": {pack(t, file{name: "a.rego"}, file{name: "/a.rego"}), `"/a.rego" is there twice`},
		"two manifests":        {pack(t, file{name: ".manifest", text: "{}"}, file{name: "./.manifest", text: "{}"}), "is there twice"},
		"delta":                {pack(t, file{name: "/patch.json", text: "{}"}), "a delta bundle"},
		"large file":           {pack(t, file{name: "a.rego", text: strings.Repeat(" ", bundleFileMax+1)}), "a.rego is larger than 1048576 bytes"},
		"unpacks without end":  {pack(t, file{name: "a.bin", text: strings.Repeat(" ", bundleUnpackMax)}), "more than 33554432 bytes unpacked"},
		"many entries":         {pack(t, many...), "more than 20000 entries"},
		"manifest, no JSON":    {manifest("x"), ".manifest: "},
		"manifest twice":       {manifest(`{"roots":["a"],"roots":["b"]}`), ".manifest: strict JSON: duplicate member"},
		"revision":             {manifest(`{"revision":7}`), "revision is not a text"},
		"roots":                {manifest(`{"roots":"a"}`), "roots is not a list"},
		"no roots":             {manifest(`{"roots":[]}`), "roots is not a list"},
		"root, number":         {manifest(`{"roots":[1]}`), "a root is not a path"},
		"root, parent":         {manifest(`{"roots":["../a"]}`), "a root is not a path"},
		"roots that overlap":   {manifest(`{"roots":["a/b","a"]}`), `the roots "a/b" and "a" overlap`},
		"root twice":           {manifest(`{"roots":["a","a"]}`), "overlap"},
		"rego version":         {manifest(`{"rego_version":2}`), "rego_version is neither 0 nor 1"},
		"rego version, text":   {manifest(`{"rego_version":"1"}`), "rego_version is neither 0 nor 1"},
		"rego version by file": {manifest(`{"file_rego_versions":{"/a.rego":0}}`), "file_rego_versions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if b, err := readBundle(tc.doc); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%+v, %v; want %q", b, err, tc.want)
			}
		})
	}
}

func newPolicyBundle(b *bundle) *PolicyBundle {
	return NewPolicyBundle(b.Env, testURL, b.source, b.disk, 10*time.Second, policy.Config{Path: "agentidp/authz/allow", EvalTimeout: time.Second})
}

// decision is what the policy in force says.
func (b *bundle) decision(t *testing.T) any {
	t.Helper()
	p := b.Store.Load().Policy
	if p == nil {
		return nil
	}
	got, err := p.Eval(t.Context(), policy.Object())
	if err != nil {
		t.Error(err)
	}
	return got
}

// TestPolicyBundleOfOPA: what the real opa build makes is what is decided by.
func TestPolicyBundleOfOPA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"authz.rego":      "package agentidp.authz\n\nallow := data.lib.answer\n",
		"authz_test.rego": "package agentidp.authz_test\n\ntest_it if true\n",
		"lib/data.json":   `{"answer": true}`,
		".manifest":       `{"roots": ["agentidp", "lib"]}`,
	} {
		path := filepath.Join(dir, "src", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "bundle.tar.gz")
	build := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../../../internal/tools/go.mod", "opa", "build", "-b", filepath.Join(dir, "src"), "--revision", "r8", "-o", out)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("opa build: %v: %s", err, text)
	}
	doc, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	b := newBundle(t)
	b.source.set(string(doc), `"1"`)
	f := newPolicyBundle(b)
	f.refresh(t.Context())
	if b.decision(t) != true || b.log.count(`"bundle_revision":"r8"`) == 0 {
		t.Errorf("not in force: %v", b.log.lines)
	}
	b.Store.Load().Policy.Close()
}

func TestPolicyBundleIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBundle(t)
		var used []*policy.Policy
		b.UsePolicy = func(p *policy.Policy) { used = append(used, p) }
		first := string(pack(t, file{name: "a.rego", text: allowAll}))
		b.source.fail(errors.New("unreachable"))
		run(t, newPolicyBundle(b))
		if b.Store.Ready() == nil || b.decision(t) != nil {
			t.Error("ready without a policy")
		}
		b.source.set(first, `"1"`)
		wait(2 * time.Second) // the second try
		if b.decision(t) != true {
			t.Fatalf("not in force: %v", b.log.lines)
		}
		reads := b.source.count()
		wait(time.Minute)
		if n := b.source.count() - reads; n < 5 || n > 7 || len(used) != 1 || b.source.etag() != `"1"` {
			t.Errorf("asked %d times in a minute, %d policies, ETag %q", n, len(used), b.source.etag())
		}

		for want, doc := range map[string][]byte{
			`"file":"a.rego","line":3`: pack(t, file{name: "a.rego", text: "package agentidp.authz\n\nallow := nowhere(1)\n"}),
			"not gzip":                 []byte("<html>"),
			"no rule at decision path": pack(t, file{name: "a.rego", text: "package other\n\nallow := true\n"}),
			`"file":"b.rego","line":2,"err":"package other is outside of the roots`:  pack(t, file{name: ".manifest", text: `{"roots":["agentidp"]}`}, file{name: "a.rego", text: allowAll}, file{name: "b.rego", text: "\npackage other\n"}),
			`"file":"data.json","line":0,"err":"data at \"other/..%2Fx\" is outside`: pack(t, file{name: ".manifest", text: `{"roots":["agentidp","other/x"]}`}, file{name: "a.rego", text: allowAll}, file{name: "data.json", text: `{"other":{"../x":1}}`}),
			"another rego_version": pack(t, file{name: ".manifest", text: `{"rego_version":0}`}, file{name: "a.rego", text: allowAll}),
		} {
			b.source.set(string(doc), `"broken"`)
			wait(12 * time.Second)
			if b.decision(t) != true || len(used) != 1 || b.log.count(want) == 0 {
				t.Errorf("%s: decision %v, %d policies, log %s", want, b.decision(t), len(used), b.log.lines)
			}
			wait(12 * time.Second)
			if b.source.etag() != `"broken"` {
				t.Errorf("a bundle that was refused is fetched again and again: ETag %q", b.source.etag())
			}
			b.source.set(first, `"1"`) // back again
			wait(12 * time.Second)
			used = used[:1]
		}
		b.source.set(string(pack(t, file{name: "a.rego", text: strings.Replace(allowAll, "true", "false", 1)})), `"2"`)
		wait(12 * time.Second)
		if b.decision(t) != false {
			t.Errorf("the new bundle is not in force: %v", b.log.lines)
		}
	})
}

// TestPolicyBundleFromDisk: the last good bundle is what a process begins with, and a broken one is never kept.
func TestPolicyBundleFromDisk(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.source.set(string(pack(t, file{name: "a.rego", text: allowAll})), `"1"`)
	f := newPolicyBundle(b)
	f.refresh(t.Context())
	b.source.set("broken", `"2"`)
	f.refresh(t.Context())
	b.Store.Load().Policy.Close()

	b.Env = b.env()
	b.source.fail(errors.New("unreachable"))
	again := newPolicyBundle(b)
	if err := again.Load(t.Context()); err != nil || b.decision(t) != true {
		t.Errorf("after a restart: %v, %v", err, b.decision(t))
	}
	again.refresh(t.Context())
	if b.source.etag() != `"1"` || b.decision(t) != true {
		t.Errorf("asked with ETag %q, decision %v", b.source.etag(), b.decision(t))
	}
	b.Store.Load().Policy.Close()

	b.Env = b.env()
	elsewhere := NewPolicyBundle(b.Env, testURL+"/other", b.source, b.disk, time.Second, policy.Config{Path: "agentidp/authz/allow"})
	if err := elsewhere.Load(t.Context()); err != nil || b.Store.Load().Policy != nil {
		t.Errorf("the bundle of another URL is in force: %v", err)
	}
}
