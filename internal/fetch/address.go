package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrAddress is wrapped by Get when the address behind a URL is not one the client may dial.
var ErrAddress = errors.New("address is not allowed")

// addressGuard judges one address right before connect(2).
type addressGuard func(netip.AddrPort) error

// publicPorts are the only ports on strangers' hosts: whatever else listens there is not for us to touch.
var publicPorts = []uint16{443, 8443}

// The address space that is routed and assigned to hosts: everything inside global, outside special. The standard library's
// predicates are not enough: IsPrivate and IsGlobalUnicast let 100.64.0.0/10, 198.18.0.0/15, 240.0.0.0/4, NAT64 and 6to4 through.
var (
	global = prefixes("0.0.0.0/0", "2000::/3")
	// IANA IPv4 and IPv6 Special-Purpose Address Registries; multicast; prefixes that carry an IPv4 address inside.
	special = prefixes(
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
	)
)

func prefixes(cidrs ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(cidrs))
	for i, c := range cidrs {
		out[i] = netip.MustParsePrefix(c)
	}
	return out
}

func publicAddress(a netip.AddrPort) error {
	if !isPublic(a.Addr()) {
		return fmt.Errorf("%w: %s is not public", ErrAddress, a.Addr())
	}
	if !slices.Contains(publicPorts, a.Port()) {
		return fmt.Errorf("%w: port %d, want one of %d", ErrAddress, a.Port(), publicPorts)
	}
	return nil
}

func isPublic(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap() // ::ffff:127.0.0.1 is 127.0.0.1 to the kernel
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(global, contains) && !slices.ContainsFunc(special, contains)
}

func loopbackAddress(a netip.AddrPort) error {
	if !a.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%w: %s is not loopback, and http:// is accepted for nothing else", ErrAddress, a.Addr())
	}
	return nil
}

func anyAddress(netip.AddrPort) error { return nil }

// isLoopbackName reports whether a URL's host can only mean this machine; the guard checks again what it resolves to.
func isLoopbackName(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// dialer connects only where guard agrees; a nil resolver is the system's. Control runs after name resolution with the very address that connect gets.
func dialer(guard addressGuard, resolver *net.Resolver) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout:   TimeoutDefault,
		KeepAlive: 15 * time.Second,
		Resolver:  resolver,
		Control: func(network, address string, _ syscall.RawConn) error {
			if network != "tcp4" && network != "tcp6" {
				return fmt.Errorf("%w: network %s", ErrAddress, network)
			}
			a, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrAddress, address)
			}
			return guard(a)
		},
	}
	return d.DialContext
}
