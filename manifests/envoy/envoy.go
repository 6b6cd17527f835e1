// Package envoy holds the Envoy configuration of a sidecar: sidecar.yaml, which an operator copies and edits by hand, and Render, which
// makes the same edits in code for `agentidp dev` and the tests. There is no second copy that could drift. tls.yaml is the part that makes its listener speak TLS.
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

// listenerTLS is what stands in place of shippedChain for TLS.
//
//go:embed tls.yaml
var listenerTLS string

// Params are the lines of sidecar.yaml that an installation changes. All but the last two are required.
type Params struct {
	Listen   string // host:port where clients arrive; port 0 picks one
	Admin    string // host:port of Envoy's admin interface, on loopback; port 0 picks one
	Socket   string // absolute path of the unix socket extauthz listens on
	Upstream string // host:port of the service; a literal address
	// BodyBytesMax, when it is not 0, has bodies sent to extauthz, for policies that read them. Larger ones are refused by Envoy.
	BodyBytesMax int
	// TLS, when it is not nil, is what clients are spoken to in.
	TLS *TLS
}

// TLS are the lines of tls.yaml that an installation changes: absolute paths of PEM files.
type TLS struct {
	Certificate string // with its intermediates
	Key         string
	ClientCA    string // roots of the clients' certificates; "" takes any certificate
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
	shippedChain    = "        - filters:\n"
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
	doc, err := p.TLS.render(sidecar)
	if err != nil {
		return nil, err
	}
	for _, change := range []struct{ shipped, value string }{
		{shippedListen, listen},
		{shippedAdmin, admin},
		{shippedUpstream, upstream},
		{shippedBody, body},
		{shippedSocket, "{ path: " + strconv.Quote(p.Socket) + " }"},
	} {
		if doc, err = replaceOnce(doc, change.shipped, change.value); err != nil {
			return nil, err
		}
	}
	return []byte(doc), nil
}

func replaceOnce(doc, shipped, value string) (string, error) {
	if n := strings.Count(doc, shipped); n != 1 {
		return "", fmt.Errorf("the configuration has %q %d times, want once", shipped, n)
	}
	return strings.Replace(doc, shipped, value, 1), nil
}

// The values tls.yaml ships with.
const (
	shippedCertificate = "/etc/envoy/tls/server.pem"
	shippedKey         = "/etc/envoy/tls/server-key.pem"
	shippedClients     = "{ trust_chain_verification: ACCEPT_UNTRUSTED }"
)

// render puts TLS into the listener; nil leaves it plain.
func (t *TLS) render(doc string) (string, error) {
	if t == nil {
		return doc, nil
	}
	clients := shippedClients
	if t.ClientCA != "" {
		if err := checkFile("client CA", t.ClientCA); err != nil {
			return "", err
		}
		clients = "{ trusted_ca: { filename: " + strconv.Quote(t.ClientCA) + " } }"
	}
	if err := errors.Join(checkFile("certificate", t.Certificate), checkFile("key", t.Key)); err != nil {
		return "", err
	}
	chain := listenerTLS
	var err error
	for _, change := range []struct{ shipped, value string }{
		{shippedCertificate, strconv.Quote(t.Certificate)}, {shippedKey, strconv.Quote(t.Key)}, {shippedClients, clients},
	} {
		if chain, err = replaceOnce(chain, change.shipped, change.value); err != nil {
			return "", err
		}
	}
	return replaceOnce(doc, shippedChain, chain)
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
	if len(path) > socketPathMax {
		return fmt.Errorf("socket: path has %d bytes, a unix socket can have %d", len(path), socketPathMax)
	}
	return checkFile("socket", path)
}

func checkFile(field, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s: want an absolute path", field)
	}
	for _, r := range path {
		if r < 0x20 || r == 0x7f {
			return fmt.Errorf("%s: path has control characters", field)
		}
	}
	return nil
}
