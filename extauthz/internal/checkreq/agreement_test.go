package checkreq

import (
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// What only a header says is what the policy is shown; two headers must still agree, and the rules for hosts and schemes hold.
func TestAttributesLeftOut(t *testing.T) {
	t.Parallel()
	without := with(func(h *authv3.AttributeContext_HttpRequest) { h.Host, h.Scheme = "", "" })
	r, refusal := parse(t, get(without))
	if refusal != nil || r.Host != "shop.example" || r.Scheme != "https" {
		t.Fatalf("%+v, %v", r, refusal)
	}
	r, refusal = parse(t, get(without, with(func(h *authv3.AttributeContext_HttpRequest) {
		delete(h.Headers, ":authority")
		h.Headers["host"] = "inner.example"
	})))
	if refusal != nil || r.Host != "inner.example" {
		t.Fatalf("%+v, %v", r, refusal)
	}
	for name, tt := range map[string]struct {
		header [2]string
		want   Reason
	}{
		"two hosts":    {[2]string{"host", "evil.example"}, ReasonConflict},
		"no host":      {[2]string{":authority", "user@shop.example"}, ReasonHost},
		"other scheme": {[2]string{":scheme", "gopher"}, ReasonTarget},
	} {
		if _, refusal := parse(t, get(without, header(tt.header[0], tt.header[1]))); refusal == nil || refusal.Reason != tt.want {
			t.Errorf("%s: %v, want %s", name, refusal, tt.want)
		}
	}
}
