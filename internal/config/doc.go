// Package config reads a daemon's one YAML file strictly. Unknown keys, duplicate keys, wrong types, a second document, unreadable
// secrets and failed validation are each one line, "file:line: field: what is wrong and what is expected", and one run reports all of
// them: an operator fixes a file once, not once per mistake.
//
// A config struct names its keys by `yaml:"name"` tags. Two optional methods take part:
//
//	SetDefaults()      // on any struct: called before its keys are decoded, so what the file leaves out keeps its default
//	Validate(*Report)  // on the struct handed to Load: called after decoding, with line numbers at hand
//
// The environment is read only where the file says {env: NAME}: there is one precedence and nothing to guess.
package config
