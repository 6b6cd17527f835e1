package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forwardedMax is how many addresses of X-Forwarded-For are looked at, from its end: more proxies stand in no row.
const forwardedMax = 16

// source is where a request came from, without the port: the peer, unless that is a proxy we were told to trust. Such a proxy appends the address it was called
// from to X-Forwarded-For; so the last address that is not a trusted proxy's is as true as the proxies are, and whatever stands before it was said by somebody else.
func (c *Config) source(r *http.Request) string {
	peer := withoutPort(r.RemoteAddr)
	if len(c.TrustedProxies) == 0 || !c.trusts(peer) {
		return peer
	}
	listed := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	last := peer
	for n := range min(len(listed), forwardedMax) {
		address, err := netip.ParseAddr(strings.TrimSpace(listed[len(listed)-1-n]))
		if err != nil {
			return last // whatever it is, a trusted proxy said it
		}
		last = address.Unmap().WithZone("").String()
		if !c.trusts(last) {
			return last
		}
	}
	return last
}

func (c *Config) trusts(address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range c.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func withoutPort(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}
