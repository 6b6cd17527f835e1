package policy

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/agentidp/agentidp/internal/strictjson"
	"github.com/open-policy-agent/opa/v1/ast"
)

// dataValuesMax bounds the values of one data file, after YAML aliases were expanded.
const dataValuesMax = 1_000_000

// loadData mounts every data file at its directory and merges them into one document. Objects merge; anything else that
// two files define at one path is a problem that names both files, whatever their values.
func loadData(sources []Source) (ast.Object, []Problem) {
	var problems []Problem
	root := map[string]any{}
	var mounted []mountedData
	for _, s := range sources {
		if !isData(s.Name) {
			continue
		}
		doc, problem := parseData(s)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		m := mountedData{name: s.Name, tree: mountAt(path.Dir(s.Name), doc)}
		if at, ok := merge(root, m.tree, nil); !ok {
			problems = append(problems, Problem{
				File:    s.Name,
				Message: fmt.Sprintf("data.%s is also defined by %s", strings.Join(at, "."), definer(mounted, at)),
			})
			continue
		}
		mounted = append(mounted, m)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	value, err := FromAny(root)
	if err != nil {
		return nil, []Problem{{Message: "data: " + err.Error()}}
	}
	return value.(ast.Object), nil
}

type mountedData struct {
	name string
	tree map[string]any
}

func parseData(s Source) (map[string]any, *Problem) {
	if strings.HasSuffix(s.Name, ".json") {
		return parseJSONData(s)
	}
	return parseYAMLData(s)
}

func parseJSONData(s Source) (map[string]any, *Problem) {
	doc, err := strictjson.ParseObject(s.Data, strictjson.Limits{
		Bytes: sourceBytesMax, Depth: anyDepthMax / 2, Values: dataValuesMax, Members: dataValuesMax,
	})
	if err == nil {
		_, err = FromAny(doc) // here the file is still known
		if err == nil {
			return doc, nil
		}
		return nil, &Problem{File: s.Name, Message: err.Error()}
	}
	p := &Problem{File: s.Name, Message: oneLine(err.Error())}
	var at *strictjson.Error
	if errors.As(err, &at) && at.Offset >= 0 && at.Offset <= len(s.Data) {
		p.Line = 1 + strings.Count(string(s.Data[:at.Offset]), "\n")
	}
	return nil, p
}

// mountAt wraps doc in one object for each directory on its way, "a/b" becoming {"a": {"b": doc}}.
func mountAt(dir string, doc map[string]any) map[string]any {
	for dir != "." {
		doc = map[string]any{path.Base(dir): doc}
		dir = path.Dir(dir)
	}
	return doc
}

// merge adds src to dst. It reports the path of the first conflict; dst may then be half changed. Objects of src are
// copied on the way, so that a later merge never changes an earlier file's tree.
func merge(dst, src map[string]any, at []string) ([]string, bool) {
	for name, value := range src {
		here := append(at[:len(at):len(at)], name)
		object, isObject := value.(map[string]any)
		existing, ok := dst[name]
		if !ok {
			if isObject {
				fresh := make(map[string]any, len(object))
				merge(fresh, object, here)
				value = fresh
			}
			dst[name] = value
			continue
		}
		into, alsoObject := existing.(map[string]any)
		if !isObject || !alsoObject {
			return here, false
		}
		if conflict, ok := merge(into, object, here); !ok {
			return conflict, false
		}
	}
	return nil, true
}

// definer names the first file whose tree has a value at the path, or at a parent of it.
func definer(mounted []mountedData, at []string) string {
	for _, m := range mounted {
		var here any = m.tree
		found := true
		for _, name := range at {
			object, ok := here.(map[string]any)
			if !ok {
				break
			}
			if here, found = object[name]; !found {
				break
			}
		}
		if found {
			return m.name
		}
	}
	return "another file"
}
