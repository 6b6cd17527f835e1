package listener

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/testkit"
)

func bind(t *testing.T, path string, mode SocketMode, takeOver bool) *socket {
	t.Helper()
	s, err := bindSocket(path, mode, takeOver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// answersWith reports whether who connects to the path meets s, which nobody else may accept from.
func answersWith(t *testing.T, s *socket) bool {
	t.Helper()
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := s.SetDeadline(time.Now().Add(time.Second)); err != nil { // it is there, or it is not
		t.Fatal(err)
	}
	accepted, err := s.Accept()
	if err == nil {
		accepted.Close()
	}
	return err == nil
}

func TestTakenOverSocketIsTheSuccessors(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testkit.SocketDir(t), "a.sock")
	first := bind(t, path, 0o660, true)
	second := bind(t, path, 0o600, true)
	if first.isMine() || !second.isMine() || !answersWith(t, second) {
		t.Error("the path does not lead to the successor")
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	first.Close()
	first.Close() // gRPC does, too
	if !answersWith(t, second) {
		t.Error("the end of the one before took the successor's socket")
	}
	third := bind(t, path, 0o600, true)
	second.Close()
	third.Close()
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSocketModes(t *testing.T) {
	t.Parallel()
	dir := testkit.SocketDir(t)
	for text, want := range map[string]fs.FileMode{"0600": 0o600, "0660": 0o660, "0666": 0o666, "0000": 0} {
		var mode SocketMode
		if err := mode.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		s := bind(t, filepath.Join(dir, text), mode, false)
		if info, err := os.Stat(s.path); err != nil || info.Mode().Perm() != want { // whatever the umask is
			t.Errorf("%s: mode %v, %v", text, info.Mode(), err)
		}
		if got := s.Addr().String(); got != s.path {
			t.Errorf("address %s", got)
		}
	}
	for _, text := range []string{"", "660x", "1777", "-1", "0o660", "rw"} {
		if err := new(SocketMode).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("mode %q is accepted", text)
		}
	}
}

// A takeover is for sockets: it never takes anything else away, nor follows a link.
func TestTakeoverReplacesNothingButSockets(t *testing.T) {
	t.Parallel()
	dir := testkit.SocketDir(t)
	other := bind(t, filepath.Join(dir, "other.sock"), 0o600, false)
	link, file, folder := filepath.Join(dir, "link"), filepath.Join(dir, "file"), filepath.Join(dir, "folder")
	if err := os.Symlink(other.path, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, file, folder} {
		if s, err := bindSocket(path, 0o600, true); err == nil || !strings.Contains(err.Error(), "is not a socket") {
			t.Errorf("%s: %v, %v", path, s, err)
		}
	}
	if !answersWith(t, other) {
		t.Error("the linked socket was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Whoever holds the folder for long is not one of us; the start fails and names it, the end leaves the socket for the next start.
func TestLockedFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testkit.SocketDir(t), "a.sock")
	s := bind(t, path, 0o600, false)
	lock, err := lockFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bindSocket(path, 0o600, true); err == nil || !strings.Contains(err.Error(), "lock "+filepath.Dir(path)) {
		t.Errorf("bound in a folder that is locked: %v", err)
	}
	s.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("removed without the lock: %v", err)
	}
	lock.Close()
	bind(t, path, 0o600, false) // stale, as after kill -9
}
