// Package envoy holds the Envoy configuration of a sidecar: sidecar.yaml, which an operator copies and edits by hand, and Render, which
// makes the same edits in code for `agentidp dev` and the tests. There is no second copy that could drift.
package envoy

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// sidecar is the configuration as shipped.
//
//go:embed sidecar.yaml
var sidecar string

// Params are the lines of sidecar.yaml that an installation changes. All but the last are required.
type Params struct {
	Listen   string // host:port where clients arrive; port 0 picks one
	Admin    string // host:port of Envoy's admin interface, on loopback; port 0 picks one
	Socket   string // absolute path of the unix socket extauthz listens on
	Upstream string // host:port of the service; a literal address
	// BodyBytesMax, when it is not 0, has bodies sent to extauthz, for policies that read them. Larger ones are refused by Envoy.
	BodyBytesMax int
}

// bodyBytesMax leaves room for headers and a certificate in a check of 256 KiB, which is what extauthz takes.
const bodyBytesMax = 128 << 10

// socketPathMax is the longest path a unix socket can have on Linux.
const socketPathMax = 107

// The values sidecar.yaml ships with; each stands in it exactly once.
const (
	shippedListen   = "{ address: 0.0.0.0, port_value: 8080 }"
	shippedAdmin    = "{ address: 127.0.0.1, port_value: 9901 }"
	shippedSocket   = "{ path: /run/agentidp/extauthz.sock }"
	shippedUpstream = "{ address: 127.0.0.1, port_value: 8081 }"
	shippedBody     = "# with_request_body: { max_request_bytes: 65536,"
)

// Render returns sidecar.yaml with the parameters in place. Only checked values get into the document: none can add to it.
func Render(p Params) ([]byte, error) {
	listen, err := socketAddress("listen", p.Listen, true)
	if err != nil {
		return nil, err
	}
	admin, err := socketAddress("admin", p.Admin, true)
	if err != nil {
		return nil, err
	}
	upstream, err := socketAddress("upstream", p.Upstream, false)
	if err != nil {
		return nil, err
	}
	if err := checkSocket(p.Socket); err != nil {
		return nil, err
	}
	body := shippedBody
	switch {
	case p.BodyBytesMax < 0 || p.BodyBytesMax > bodyBytesMax:
		return nil, fmt.Errorf("bodies: want at most %d bytes", bodyBytesMax)
	case p.BodyBytesMax > 0:
		body = fmt.Sprintf("with_request_body: { max_request_bytes: %d,", p.BodyBytesMax)
	}
	doc := sidecar
	for _, change := range []struct{ shipped, value string }{
		{shippedListen, listen},
		{shippedAdmin, admin},
		{shippedUpstream, upstream},
		{shippedBody, body},
		{shippedSocket, "{ path: " + strconv.Quote(p.Socket) + " }"},
	} {
		if n := strings.Count(doc, change.shipped); n != 1 {
			return nil, fmt.Errorf("sidecar.yaml has %q %d times, want once", change.shipped, n)
		}
		doc = strings.Replace(doc, change.shipped, change.value, 1)
	}
	return []byte(doc), nil
}

// socketAddress turns host:port into Envoy's form. The host is a literal address: Envoy resolves no names in a static listener.
func socketAddress(field, hostPort string, portZero bool) (string, error) {
	host, portText, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", fmt.Errorf("%s: want host:port, got %q", field, hostPort)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return "", fmt.Errorf("%s: want an IP address and a port, got %q", field, hostPort)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || (port == 0 && !portZero) {
		return "", fmt.Errorf("%s: want a port between 1 and 65535, got %q", field, portText)
	}
	return fmt.Sprintf("{ address: %q, port_value: %d }", addr.String(), port), nil
}

func checkSocket(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("socket: want an absolute path")
	}
	if len(path) > socketPathMax {
		return fmt.Errorf("socket: path has %d bytes, a unix socket can have %d", len(path), socketPathMax)
	}
	for _, r := range path {
		if r < 0x20 || r == 0x7f {
			return errors.New("socket: path has control characters")
		}
	}
	return nil
}
