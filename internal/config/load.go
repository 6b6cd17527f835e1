package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileBytesMax bounds the config file; one that is larger is not a config file.
const fileBytesMax = 1 << 20

// Loader loads config files with a given environment. The zero value has an empty environment.
type Loader struct {
	LookupEnv func(name string) (value string, ok bool)
}

// Load decodes the file at path into the struct that into points to, with the environment of the process. The error is an
// [Errors]. After an error the struct is not fit for use.
func Load(path string, into any) error {
	return Loader{LookupEnv: os.LookupEnv}.Load(path, into)
}

// Load is the package's [Load] with the loader's environment.
func (l Loader) Load(path string, into any) error {
	root := reflect.ValueOf(into)
	if root.Kind() != reflect.Pointer || root.Elem().Kind() != reflect.Struct {
		panic("config: Load needs a pointer to a struct")
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Errors{{File: path, Message: oneLine(err.Error())}}
	}
	r := newReport(path)
	setDefaults(root.Elem())
	if doc := r.parse(path); doc != nil {
		d := &decoder{report: r, folder: folder, lookupEnv: l.LookupEnv}
		d.value("", doc, root.Elem())
	}
	// Validation needs a decoded file; what it finds at a field already reported is dropped by Errorf.
	if v, ok := into.(interface{ Validate(*Report) }); ok && r.parsed {
		v.Validate(r)
	}
	return r.Err()
}

// parse reads the file's only document; nil when there is nothing to decode, which is then reported.
func (r *Report) parse(path string) *yaml.Node {
	data, err := readFile(path, fileBytesMax)
	if err != nil {
		r.add(0, "", "%v", err)
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.add(0, "", "the file is empty")
		return nil
	case err != nil:
		r.addSyntax(err)
		return nil
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.addSyntax(err)
		return nil
	default:
		r.add(second.Line, "", "a second document starts here; one file holds one document")
		return nil
	}
	if len(doc.Content) != 1 {
		r.add(0, "", "the file is empty")
		return nil
	}
	r.parsed = true
	return doc.Content[0]
}

var yamlErrorLine = regexp.MustCompile(`^yaml: line (\d+): (.*)`)

// addSyntax reports an error of the YAML parser at the line it names.
func (r *Report) addSyntax(err error) {
	text, line := oneLine(err.Error()), 0
	if m := yamlErrorLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	r.add(line, "", "not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// readFile reads a regular file of at most limit bytes. Its errors do not repeat the path and are one line.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, cause(err)
	} else if info.IsDir() {
		return nil, errors.New("is a directory, want a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, cause(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return data, nil
}

// cause strips operation and path from a file error: the caller names the file.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no such file")
	}
	return errors.New(oneLine(err.Error()))
}
