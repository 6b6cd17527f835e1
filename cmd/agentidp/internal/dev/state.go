package dev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/agentidp/agentidp/internal/localsvc"
)

const (
	lockName = "dev.lock" // also the mark by which a state directory is known
	// longestSocket is the longest unix socket path below the state directory; with it a path must fit 103 bytes (sockaddr_un on the BSDs; Linux: 107).
	longestSocket      = "/postgres/sock/.s.PGSQL.5432"
	socketPathBytesMax = 103
	lockTextBytesMax   = 32
)

// state is a state directory that this process alone uses.
type state struct {
	dir  string
	lock *os.File
}

// openState makes the directory when it is missing, refuses one that is not ours, and locks it. Each refusal says what to do.
func openState(dir string) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if n := len(dir) + len(longestSocket); n > socketPathBytesMax {
		return nil, fmt.Errorf("state directory %s: its name is %d bytes too long for unix sockets in it: choose a shorter one with -dir", dir, n-socketPathBytesMax)
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w: choose another place with -dir", err)
		}
	case err != nil:
		return nil, fmt.Errorf("state directory: %w: choose another place with -dir", err)
	default:
		if err := checkOurs(dir, info); err != nil {
			return nil, err
		}
	}
	if os.Geteuid() == 0 {
		// PostgreSQL will run as another user and must pass through; nothing in the directory can be listed, secrets have mode 0600.
		if err := os.Chmod(dir, 0o711); err != nil {
			return nil, err
		}
	}
	lock, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	return &state{dir, lock}, nil
}

func checkOurs(dir string, info os.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("state directory %s is not a directory: choose another with -dir", dir)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("state directory %s belongs to %s, and you are %s: run as %s, or choose another directory with -dir",
			dir, userName(int(owner)), userName(os.Geteuid()), userName(int(owner)))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w: choose another with -dir", err)
	}
	if _, err := os.Stat(filepath.Join(dir, lockName)); len(entries) > 0 && err != nil {
		return fmt.Errorf("%s holds files that are not the state of agentidp dev: choose another directory with -dir", dir)
	}
	return nil
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return "user " + u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// takeLock holds for the life of the process: the kernel lets go of it however we end.
func takeLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the state directory cannot be written: %w: choose another with -dir", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text := make([]byte, lockTextBytesMax)
		n, _ := f.Read(text) // who it is is a courtesy
		f.Close()
		return nil, fmt.Errorf("another agentidp dev (pid %s) runs in %s: stop it with Ctrl-C or `kill %[1]s`, or choose another directory with -dir (and -ports free)",
			strings.TrimSpace(string(text[:n])), filepath.Dir(name))
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (s *state) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

func (s *state) close() error { return s.lock.Close() }

// postgresDir is where the cluster lives; when that is elsewhere, a link in the state directory leads there.
func (s *state) postgresDir() (string, error) {
	preferred := s.path("postgres")
	if target, err := os.Readlink(preferred); err == nil {
		return target, nil
	}
	dir, err := localsvc.PostgresDir(preferred)
	if err != nil || dir == preferred {
		return dir, err
	}
	if err := os.RemoveAll(dir); err != nil { // of a state directory of this name that was removed by hand
		return "", err
	}
	return dir, os.Symlink(dir, preferred)
}

// Reset removes a state directory with all in it. A missing one is fine.
func Reset(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := openState(dir)
	if err != nil {
		return err
	}
	defer s.close()
	return s.remove()
}

func (s *state) remove() error {
	if target, err := os.Readlink(s.path("postgres")); err == nil && strings.HasPrefix(filepath.Base(target), "agentidp-") {
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.dir)
}

// writeFile replaces a file whole; a reader sees the old or the new text.
func writeFile(name string, text []byte, mode os.FileMode) error {
	unfinished := name + ".new"
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(unfinished, text, mode); err != nil {
		return err
	}
	return os.Rename(unfinished, name)
}
