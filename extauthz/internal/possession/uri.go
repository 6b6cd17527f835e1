package possession

import "github.com/agentidp/agentidp/extauthz/internal/checkreq"

// received is the URI Envoy received: its own scheme, the host the client named, the path that checkreq left one spelling of. "" names nothing: Envoy always says them.
func received(r *checkreq.Request) string {
	if r.Scheme == "" || r.Host == "" {
		return ""
	}
	return r.Scheme + "://" + r.Host + r.Path
}
