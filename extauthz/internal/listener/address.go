// Package listener opens the addresses Envoy connects to: ports, and unix sockets that come to their path in one step, so that one
// process can take the place of another without a lost request.
package listener

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

// Address is one entry of listen.
type Address struct{ Network, Name string }

const (
	socketPathMax   = 107 // sun_path of Linux, less its NUL
	socketFolderMax = socketPathMax - 1 - unfinishedBytes
)

// ParseAddress reads unix:///absolute/path or tcp://host:port.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			return Address{}, errors.New("want unix:// and an absolute path, as in unix:///run/agentidp/extauthz.sock")
		case len(path) > socketPathMax:
			return Address{}, fmt.Errorf("the path has %d bytes, a unix socket can have %d", len(path), socketPathMax)
		case len(filepath.Dir(path)) > socketFolderMax:
			return Address{}, fmt.Errorf("the folder of the socket has %d bytes, at most %d leave room for its name", len(filepath.Dir(path)), socketFolderMax)
		}
		return Address{"unix", path}, nil
	}
	if hostPort, ok := strings.CutPrefix(s, "tcp://"); ok {
		if err := CheckHostPort(hostPort); err != nil {
			return Address{}, err
		}
		return Address{"tcp", hostPort}, nil
	}
	return Address{}, errors.New("want unix:///path or tcp://host:port")
}

// CheckHostPort accepts an address to bind: the host must be written, so that listening on every interface is a decision.
func CheckHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return errors.New("want host:port, as in 127.0.0.1:9191")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return errors.New("want a port between 0 and 65535")
	}
	return nil
}

// IsBeyondLoopback reports whether others than the machine or pod itself may reach an address. Of a name other than localhost that is not known.
func IsBeyondLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	return err != nil || !obs.IsLoopback(host)
}

// Listen opens the address; takeOver is for unix sockets, see bindSocket.
func (a Address) Listen(mode SocketMode, takeOver bool) (net.Listener, error) {
	if a.Network != "unix" {
		return net.Listen(a.Network, a.Name)
	}
	return bindSocket(a.Name, mode, takeOver)
}
