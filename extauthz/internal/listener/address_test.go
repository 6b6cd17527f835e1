package listener

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/testkit"
)

func TestListenReplacesOnlyAStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testkit.SocketDir(t), "a.sock")
	a := Address{"unix", path}
	first, err := a.Listen(0o660, false)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := a.Listen(0o660, false); err == nil || !strings.Contains(err.Error(), "another process listens there") {
		t.Errorf("a socket in use: %v", err)
	}
	first.(*socket).UnixListener.Close() // as after kill -9
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test needs a stale socket: %v", err)
	}
	second, err := a.Listen(0o600, false)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	second.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

func TestListenNeverRemovesAFile(t *testing.T) {
	t.Parallel()
	dir := testkit.SocketDir(t)
	path := filepath.Join(dir, "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Address{"unix", path}).Listen(0o660, false); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("listen = %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("the file: %q, %v", data, err)
	}
	if _, err := (Address{"unix", filepath.Join(dir, "none", "a.sock")}).Listen(0o660, false); err == nil {
		t.Error("listened in a folder that does not exist")
	}
	if _, err := (Address{"unix", filepath.Join(path, "a.sock")}).Listen(0o660, false); err == nil {
		t.Error("listened below a file")
	}
}

func TestListenTCP(t *testing.T) {
	t.Parallel()
	l, err := Address{"tcp", "127.0.0.1:0"}.Listen(0, false)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}
