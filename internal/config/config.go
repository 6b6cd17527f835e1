// Package config reads a daemon's one YAML file strictly: unknown keys, duplicate keys, wrong types, a second document
// and failed validation are each one line "file:line: field: what is wrong and what is expected".
package config

import "time"

// Load decodes the file at path into the struct into points to. Fields are named by `yaml:"name"` tags. Relative paths (type Path)
// are resolved against the file's folder. If *into has Validate(*Report), it is called after decoding.
func Load(path string, into any) error { panic("contract") }

// Errors is every problem found, one line each.
type Errors []Problem

func (e Errors) Error() string { panic("contract") }

// Problem is one finding.
type Problem struct {
	File    string
	Line    int
	Field   string // issuers[0].jwks.file
	Message string
}

// Report collects problems during validation.
type Report struct{}

// Errorf records a problem at a field path as written in the file ("issuers[1].audiences"); the line is found by the path, or its nearest parent.
func (r *Report) Errorf(field, format string, args ...any) { panic("contract") }

// Path is a file name, made absolute by Load against the config file's folder.
type Path string

// Duration accepts "250ms", "1h"; Bytes accepts 65536, "64KiB", "1MiB".
type Duration struct{ time.Duration }
type Bytes int64

// Secret is a reference in the file, {file: path} or {env: NAME}, resolved by Load; trailing newline trimmed; an unreadable or empty secret is a problem.
// It prints as "[secret]" everywhere.
type Secret struct{ value string }

func (s Secret) Reveal() string { panic("contract") }
func (s Secret) IsSet() bool    { panic("contract") }

// OneOrMany is a YAML scalar or a list of scalars.
type OneOrMany []string
