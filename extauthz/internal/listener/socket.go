package listener

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// staleDialTimeout is how long a socket has to answer before it counts as somebody's, which is the careful reading of silence.
	staleDialTimeout = time.Second

	folderLockMax   = 2 * time.Second // a process that holds it longer than this is not one of ours
	folderLockPause = 10 * time.Millisecond

	// A socket has a name of its own in the same folder before it is at its path.
	unfinishedPrefix = ".new-"
	unfinishedBytes  = len(unfinishedPrefix) + unfinishedRandom
	unfinishedRandom = 6
)

// socket is a unix socket that comes to its path in one step and with its mode, and goes from there only while the path is still its own.
// Whoever connects to the path meets the old process or the new one, never nobody.
type socket struct {
	*net.UnixListener
	path   string
	self   fs.FileInfo
	ending sync.Once
	err    error // of Close
}

// bindSocket listens at a path. A socket that a dead process left there is replaced. One that somebody answers on is replaced
// only when takeOver says so: its process keeps the connections it has, and gets no new ones. A file that is no socket never is.
func bindSocket(path string, mode SocketMode, takeOver bool) (*socket, error) {
	lock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := CheckPlace(path, takeOver); err != nil {
		return nil, err
	}
	unfinished := filepath.Join(filepath.Dir(path), unfinishedPrefix+rand.Text()[:unfinishedRandom])
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: unfinished, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err = os.Chmod(unfinished, fs.FileMode(mode)); err == nil {
		if s.self, err = os.Lstat(unfinished); err == nil {
			err = os.Rename(unfinished, path)
		}
	}
	if err != nil {
		l.Close()
		_ = os.Remove(unfinished)
		return nil, err
	}
	return s, nil
}

// CheckPlace says why a socket must not be put at a path.
func CheckPlace(path string, takeOver bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkFolder(filepath.Dir(path))
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it, or listen elsewhere", path)
	case takeOver:
		return nil
	}
	conn, err := net.DialTimeout("unix", path, staleDialTimeout)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another process listens there; socketTakeover: true would take its place", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s exists and cannot be tried: %w", path, err)
	}
	return nil
}

func checkFolder(folder string) error {
	switch info, err := os.Stat(folder); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such folder: make it, or listen elsewhere", folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder: listen elsewhere", folder)
	}
	return nil
}

// IsAnswered reports whether a process answers at a path, as far as can be told.
func IsAnswered(path string) bool {
	conn, err := net.DialTimeout("unix", path, staleDialTimeout)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// Addr is the path, not the name the socket was born with.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close ends the socket. The path is removed if it still leads here: a successor's never is.
func (s *socket) Close() error {
	s.ending.Do(func() {
		if lock, err := lockFolder(s.path); err == nil { // else it is left as a killed process leaves it, which the next one replaces
			if s.isMine() {
				_ = os.Remove(s.path)
			}
			lock.Close()
		}
		s.err = s.UnixListener.Close()
	})
	return s.err
}

// isMine reports whether the path leads to this socket. While the socket is open no other file can have its inode.
func (s *socket) isMine() bool {
	info, err := os.Lstat(s.path)
	return err == nil && os.SameFile(info, s.self)
}

// lockFolder keeps two of our processes from looking at a path and changing it at the same time. Closing the file ends it, as does the
// end of the process.
func lockFolder(path string) (*os.File, error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	tick, patience := time.NewTicker(folderLockPause), time.NewTimer(folderLockMax)
	defer tick.Stop()
	defer patience.Stop()
	for {
		err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return folder, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			select {
			case <-tick.C:
				continue
			case <-patience.C:
			}
		}
		folder.Close()
		return nil, fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
	}
}
