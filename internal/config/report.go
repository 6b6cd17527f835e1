package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one finding.
type Problem struct {
	File    string
	Line    int    // 0 when the finding is about the file as a whole
	Field   string // issuers[0].jwks.file; empty for the whole document
	Message string
}

// String is the one line an operator sees: "extauthz.yaml:12: issuers[0].audiences: at least one is required".
func (p Problem) String() string {
	parts := make([]string, 0, 3)
	switch {
	case p.File != "" && p.Line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", p.File, p.Line))
	case p.File != "":
		parts = append(parts, p.File)
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	return strings.Join(append(parts, p.Message), ": ")
}

// Errors is every problem found, in the order of the file, one line each.
type Errors []Problem

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Report collects problems. The zero value works for a config that was built in Go: its problems have no line.
type Report struct {
	file     string
	parsed   bool
	lines    map[string]int  // field path → line of its key
	failed   map[string]bool // fields that could not be decoded
	problems []Problem
}

func newReport(file string) *Report {
	return &Report{file: file, lines: map[string]int{"": 1}, failed: map[string]bool{}}
}

// File is the config file, as Load was given it; "" for a config built in Go.
func (r *Report) File() string { return r.file }

// Errorf records a problem at a field path as written in the file, "issuers[1].audiences". Its line is the field's, or its nearest
// parent's when the file leaves the field out. A field (or a parent of it) that already could not be decoded is not reported again.
func (r *Report) Errorf(field, format string, args ...any) {
	at := field
	for {
		if r.failed[at] {
			return
		}
		if at == "" {
			break
		}
		at = parent(at)
	}
	r.add(r.line(field), field, format, args...)
}

// Err is nil, or every problem reported so far as [Errors]. Load returns it; code that validates a config built in Go asks for it.
func (r *Report) Err() error {
	if len(r.problems) == 0 {
		return nil
	}
	sorted := slices.Clone(r.problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return Errors(sorted)
}

func (r *Report) add(line int, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Field: oneLine(field), Message: oneLine(fmt.Sprintf(format, args...))})
}

func (r *Report) line(field string) int {
	for {
		if line, ok := r.lines[field]; ok || field == "" {
			return line
		}
		field = parent(field)
	}
}

// parent of a[0].b is a[0], of a[0] is a, of a is the document.
func parent(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// oneLine keeps a message, and any bytes of the file quoted in it, from breaking or colouring the operator's terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.TrimSpace(s))
}
