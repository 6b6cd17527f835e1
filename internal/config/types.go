package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentidp/agentidp/internal/smallfile"
)

// Path is a file name, made absolute by Load against the config file's folder.
type Path string

// Duration is a span of time, never negative, written as "250ms" or "1h".
type Duration struct{ time.Duration }

func parseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return Duration{}, errors.New(`want a duration with its unit, such as 250ms, 30s or 1h`)
	}
	if d < 0 {
		return Duration{}, errors.New("must not be negative")
	}
	return Duration{d}, nil
}

// Bytes is a size, never negative, written as 65536, "64KiB", "1MiB" or "1GiB".
type Bytes int64

func parseBytes(s string) (Bytes, error) {
	digits, unit := s, int64(1)
	for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = rest, factor
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil {
		return 0, errors.New("want a number of bytes, such as 65536, 64KiB or 1MiB")
	}
	if n < 0 || n > math.MaxInt64/unit {
		return 0, errors.New("is out of range")
	}
	return Bytes(n * unit), nil
}

// OneOrMany is a YAML scalar or a list of scalars.
type OneOrMany []string

// secretMask is all that is ever printed of a secret.
const secretMask = "[secret]"

// Secret is a reference in the file, {file: path} or {env: NAME}, resolved by Load: the value never stands in the config file
// itself. One trailing newline is trimmed. It prints as "[secret]" through fmt, slog, JSON and YAML alike.
type Secret struct {
	value string
	file  string // it was read from; "" when it was not
}

// NewSecret wraps a value that did not come from a config file.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal is the only way to the value.
func (s Secret) Reveal() string { return s.value }

// Follow returns what reveals the secret as it is at that moment, for one that somebody else renews: a file is read again each time. While it cannot be read or is
// empty, the value is the one before.
func (s Secret) Follow() func() string {
	if s.file == "" {
		return s.Reveal
	}
	var mu sync.Mutex
	last := s.value
	file := smallfile.Follow(s.file, func() ([]byte, error) { return smallfile.Read(s.file, secretBytesMax) })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if data, err := file.Read(context.Background()); err == nil && trimNewline(string(data)) != "" {
			last = trimNewline(string(data))
		}
		return last
	}
}

// IsSet reports whether there is a value; Load never leaves an empty one.
func (s Secret) IsSet() bool { return s.value != "" }

// Format implements fmt.Formatter, which covers every verb, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(secretMask)) }

func (s Secret) String() string               { return secretMask }
func (s Secret) GoString() string             { return secretMask }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(secretMask) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(secretMask), nil }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + secretMask + `"`), nil }
func (s Secret) MarshalYAML() (any, error)    { return secretMask, nil }
