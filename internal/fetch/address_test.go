package fetch

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
)

func TestPublicAddress(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"} {
		if !isPublic(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused", a)
		}
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1",
		"fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1111%eth0",
	} {
		if isPublic(netip.MustParseAddr(a)) {
			t.Errorf("%s is taken for public", a)
		}
	}
	for _, port := range []uint16{22, 80, 6379, 0} {
		if err := publicAddress(netip.AddrPortFrom(netip.MustParseAddr("8.8.8.8"), port)); !errors.Is(err, ErrAddress) {
			t.Errorf("port %d: %v", port, err)
		}
	}
	if err := publicAddress(netip.MustParseAddrPort("8.8.8.8:443")); err != nil {
		t.Error(err)
	}
}

// Every spelling of this machine must end at the guard, or at a look-up that fails: nothing may be dialled.
func TestGetNeverReachesLoopback(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	s, ca := server(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached.Add(1); jsonAnswer(w, "{}") }))
	c := client(t, Config{CAFile: ca})
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "127.1", "2130706433", "0x7f000001", "017700000001", "127.0.0.1."} {
		if doc, err := c.Get(t.Context(), "https://"+host+":"+port+"/", ""); err == nil {
			t.Errorf("%s answered %+v", host, doc)
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"} {
		if _, err := c.Get(t.Context(), "https://"+host+":"+port+"/", ""); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v, want ErrAddress", host, err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the server was reached %d times", n)
	}
}

// A name whose answer turns from a public address to loopback between two look-ups is caught at the second dial.
func TestGetSurvivesRebinding(t *testing.T) {
	t.Parallel()
	dns := &rebindingDNS{}
	addr := dns.start(t)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", addr)
	}}
	dial := dialer(func(a netip.AddrPort) error {
		if isPublic(a.Addr()) {
			return errPublic // instead of leaving this machine
		}
		return publicAddress(a)
	}, resolver)
	if _, err := dial(t.Context(), "tcp", "rebind.example.:443"); !errors.Is(err, errPublic) {
		t.Fatalf("first look-up: %v", err)
	}
	dns.loopback.Store(true)
	if _, err := dial(t.Context(), "tcp", "rebind.example.:443"); !errors.Is(err, ErrAddress) {
		t.Errorf("after rebinding: %v, want ErrAddress", err)
	}
}

var errPublic = errors.New("the public address was about to be dialled")

// A plaintext URL is for loopback only, whatever its host resolves to.
func TestPlaintextNeverLeavesLoopback(t *testing.T) {
	t.Parallel()
	for _, a := range []string{"8.8.8.8:80", "10.0.0.1:80", "[::ffff:10.0.0.1]:80", "[fe80::1]:80"} {
		if err := loopbackAddress(netip.MustParseAddrPort(a)); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// rebindingDNS answers every A query with a public address, later with loopback.
type rebindingDNS struct{ loopback atomic.Bool }

func (d *rebindingDNS) start(t *testing.T) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(d.answer(buf[:n]), peer)
		}
	}()
	return conn.LocalAddr().String()
}

// answer builds a DNS response (RFC 1035 s4.1): header, the question as it came, one A record when A was asked for.
func (d *rebindingDNS) answer(query []byte) []byte {
	const headerBytes = 12
	end := headerBytes
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5 // root label, type, class
	isA := binary.BigEndian.Uint16(query[end-4:]) == 1
	out := append([]byte{query[0], query[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, query[headerBytes:end]...)
	if isA {
		out[7] = 1
		ip := []byte{8, 8, 8, 8}
		if d.loopback.Load() {
			ip = []byte{127, 0, 0, 1}
		}
		out = append(out, 0xc0, headerBytes, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		out = append(out, ip...)
	}
	return out
}
