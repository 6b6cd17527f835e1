package web

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestSourceBehindProxies(t *testing.T) {
	t.Parallel()
	trusting := Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for name, tt := range map[string]struct {
		config    Config
		peer      string
		forwarded []string
		want      string
	}{
		"nobody is trusted":               {Config{}, "10.0.0.1:1", []string{"192.0.2.1"}, "10.0.0.1"},
		"a stranger":                      {trusting, "192.0.2.9:1", []string{"198.51.100.1"}, "192.0.2.9"},
		"a proxy":                         {trusting, "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		"a proxy by IPv6":                 {trusting, "[fd00::1]:1", []string{"2001:db8::7"}, "2001:db8::7"},
		"a proxy, IPv4 in IPv6":           {trusting, "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"two proxies":                     {trusting, "10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"two proxies, two headers":        {trusting, "10.0.0.1:1", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		"what the client says is nothing": {trusting, "10.0.0.1:1", []string{"203.0.113.1, 10.1.1.1, 192.0.2.1"}, "192.0.2.1"},
		"nothing said":                    {trusting, "10.0.0.1:1", nil, "10.0.0.1"},
		"an empty header":                 {trusting, "10.0.0.1:1", []string{""}, "10.0.0.1"},
		"no address":                      {trusting, "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		"no address further in":           {trusting, "10.0.0.1:1", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		"an address with a port":          {trusting, "10.0.0.1:1", []string{"192.0.2.1:80"}, "10.0.0.1"},
		"proxies only":                    {trusting, "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"more than there can be":          {trusting, "10.0.0.1:1", []string{"192.0.2.1" + strings.Repeat(",10.0.0.2", forwardedMax)}, "10.0.0.2"},
		"a zone":                          {trusting, "10.0.0.1:1", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
		for _, v := range tt.forwarded {
			r.Header.Add("X-Forwarded-For", v)
		}
		if got := tt.config.source(r); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
