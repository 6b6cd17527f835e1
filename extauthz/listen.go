package extauthz

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SocketMode is the permission bits of a unix socket, written as "0660".
type SocketMode fs.FileMode

// UnmarshalText reads octal permission bits.
func (m *SocketMode) UnmarshalText(text []byte) error {
	bits, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || bits > 0o777 {
		return errors.New(`want permission bits in quotes, such as "0660"`)
	}
	*m = SocketMode(bits)
	return nil
}

// address is one entry of listen.
type address struct{ network, name string }

const socketPathMax = 107 // sun_path of Linux, less its NUL

// parseAddress reads unix:///absolute/path or tcp://host:port.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			return address{}, errors.New("want unix:// and an absolute path, as in unix:///run/agentidp/extauthz.sock")
		case len(path) > socketPathMax:
			return address{}, fmt.Errorf("the path has %d bytes, a unix socket can have %d", len(path), socketPathMax)
		}
		return address{"unix", path}, nil
	}
	if hostPort, ok := strings.CutPrefix(s, "tcp://"); ok {
		if err := checkHostPort(hostPort); err != nil {
			return address{}, err
		}
		return address{"tcp", hostPort}, nil
	}
	return address{}, errors.New("want unix:///path or tcp://host:port")
}

// checkHostPort accepts an address to bind: the host must be written, so that listening on every interface is a decision.
func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return errors.New("want host:port, as in 127.0.0.1:9191")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("want a port between 0 and 65535")
	}
	return nil
}

// listen opens the address. A unix socket that a dead process left behind is replaced; one that somebody answers on is not.
func (a address) listen(mode SocketMode) (net.Listener, error) {
	if a.network != "unix" {
		return net.Listen(a.network, a.name)
	}
	if err := removeStale(a.name); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", a.name)
	if err != nil {
		return nil, err
	}
	// Between bind and chmod the umask decides; a sidecar's umask never gives others more than the mode would.
	if err := os.Chmod(a.name, fs.FileMode(mode)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// staleDialTimeout is how long a socket has to answer before it counts as somebody's, which is the careful reading of silence.
const staleDialTimeout = time.Second

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket: remove it, or listen elsewhere", path)
	}
	conn, err := net.DialTimeout("unix", path, staleDialTimeout)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: another process listens there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s exists and cannot be tried: %w", path, err)
	}
	return os.Remove(path)
}
