package extauthz

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/internal/obs"
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

const (
	socketPathMax   = 107 // sun_path of Linux, less its NUL
	socketFolderMax = socketPathMax - 1 - unfinishedBytes
)

// parseAddress reads unix:///absolute/path or tcp://host:port.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			return address{}, errors.New("want unix:// and an absolute path, as in unix:///run/agentidp/extauthz.sock")
		case len(path) > socketPathMax:
			return address{}, fmt.Errorf("the path has %d bytes, a unix socket can have %d", len(path), socketPathMax)
		case len(filepath.Dir(path)) > socketFolderMax:
			return address{}, fmt.Errorf("the folder of the socket has %d bytes, at most %d leave room for its name", len(filepath.Dir(path)), socketFolderMax)
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

// isBeyondLoopback reports whether others than the machine or pod itself may reach an address. Of a name other than localhost that is not known.
func isBeyondLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	return err != nil || !obs.IsLoopback(host)
}

// listen opens the address; takeOver is for unix sockets, see bindSocket.
func (a address) listen(mode SocketMode, takeOver bool) (net.Listener, error) {
	if a.network != "unix" {
		return net.Listen(a.network, a.name)
	}
	return bindSocket(a.name, mode, takeOver)
}
