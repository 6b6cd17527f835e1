package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAMLData reads one YAML document as the JSON it stands for. Refused, with the line: names twice in one mapping,
// names that are not strings, merge keys, tags JSON does not have, a second document, and aliases that expand beyond
// dataValuesMax. A date stays the text it was written as.
func parseYAMLData(s Source) (map[string]any, *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(s.Data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return map[string]any{}, nil // an empty file, or comments only
		}
		return nil, yamlProblem(s.Name, err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, yamlProblem(s.Name, err)
		}
		return nil, &Problem{File: s.Name, Line: second.Line, Message: "more than one YAML document"}
	}
	c := yamlConverter{left: dataValuesMax}
	value, err := c.value(doc.Content[0], anyDepthMax/2)
	if err != nil {
		var at *yamlError
		errors.As(err, &at)
		return nil, &Problem{File: s.Name, Line: at.line, Message: at.reason}
	}
	if value == nil {
		return map[string]any{}, nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &Problem{File: s.Name, Line: doc.Content[0].Line, Message: "not an object"}
	}
	return object, nil
}

// yamlLine is how the YAML parser says where it stopped.
var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

func yamlProblem(name string, err error) *Problem {
	text := err.Error()
	p := &Problem{File: name, Message: oneLine(strings.TrimPrefix(text, "yaml: "))}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = oneLine(text[len(m[0]):])
	}
	return p
}

type yamlError struct {
	line   int
	reason string
}

func (e *yamlError) Error() string { return e.reason }

type yamlConverter struct{ left int }

func (c *yamlConverter) value(n *yaml.Node, depth int) (any, error) {
	if c.left--; c.left < 0 {
		return nil, &yamlError{n.Line, fmt.Sprintf("more than %d values", dataValuesMax)}
	}
	if depth == 0 {
		return nil, &yamlError{n.Line, fmt.Sprintf("nested deeper than %d", anyDepthMax/2)}
	}
	switch n.Kind {
	case yaml.AliasNode: // an alias inside its own anchor runs into the depth
		return c.value(n.Alias, depth-1)
	case yaml.SequenceNode:
		return c.sequence(n, depth)
	case yaml.MappingNode:
		return c.mapping(n, depth)
	case yaml.ScalarNode:
		return scalar(n)
	}
	return nil, &yamlError{n.Line, "not a value"}
}

func (c *yamlConverter) sequence(n *yaml.Node, depth int) (any, error) {
	list := make([]any, len(n.Content))
	for i, e := range n.Content {
		value, err := c.value(e, depth-1)
		if err != nil {
			return nil, err
		}
		list[i] = value
	}
	return list, nil
}

func (c *yamlConverter) mapping(n *yaml.Node, depth int) (any, error) {
	object := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			return nil, &yamlError{n.Content[i].Line, fmt.Sprintf("the name %q is not a string; quote it", oneLine(key.Value))}
		}
		if _, twice := object[key.Value]; twice {
			return nil, &yamlError{n.Content[i].Line, fmt.Sprintf("the name %q is given twice", oneLine(key.Value))}
		}
		value, err := c.value(n.Content[i+1], depth-1)
		if err != nil {
			return nil, err
		}
		object[key.Value] = value
	}
	return object, nil
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b, nil
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return json.Number(strconv.FormatInt(i, 10)), nil
		}
		var u uint64
		if n.Decode(&u) == nil {
			return json.Number(strconv.FormatUint(u, 10)), nil
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
		}
	}
	return nil, &yamlError{n.Line, fmt.Sprintf("%q is not a value JSON has", oneLine(n.Value))}
}
