package decisionlog

import (
	"errors"
	"strings"
)

const pointerBytesMax = 512

// pointer is a JSON pointer taken apart.
type pointer struct {
	text  string
	names []string // the first is input or result
}

// CheckPointer reports what is wrong with a pointer (RFC 6901) to what is left out of lines: it begins with /input or
// /result and goes through members of objects. Elements of lists have no name and cannot be left out alone.
func CheckPointer(text string) error {
	_, err := parsePointer(text)
	return err
}

func parsePointer(text string) (pointer, error) {
	if len(text) > pointerBytesMax {
		return pointer{}, errors.New("is longer than 512 bytes")
	}
	names := strings.Split(text, "/")
	if len(names) < 2 || names[0] != "" || names[1] != "input" && names[1] != "result" {
		return pointer{}, errors.New("want a JSON pointer that begins with /input or /result")
	}
	for i, name := range names {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(name), "~") {
			return pointer{}, errors.New("~ must be written ~0, and / in a name ~1")
		}
		names[i] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	return pointer{text, names[1:]}, nil
}

// pointers leaves out those that are wrong: the configuration has refused them.
func pointers(texts []string) []pointer {
	var list []pointer
	for _, text := range texts {
		if p, err := parsePointer(text); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// erase takes the member a pointer names out of document and reports whether there was one.
func (p pointer) erase(document map[string]any) bool {
	last := len(p.names) - 1
	for _, name := range p.names[:last] {
		inner, ok := document[name].(map[string]any)
		if !ok {
			return false
		}
		document = inner
	}
	value, present := document[p.names[last]]
	delete(document, p.names[last])
	return present && value != nil
}
