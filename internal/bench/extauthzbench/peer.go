package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// peerPolicy is the measured request's rules as operators of opa-envoy-plugin write them: the token verified in Rego, then
// eight routes of method, prefix and scope.
const peerPolicy = `package envoy.authz

default allow := false

keys := ` + "`%s`" + `

token := substring(header, 7, -1) if {
	header := input.attributes.request.http.headers.authorization
	startswith(header, "Bearer ")
}

claims := payload if {
	[valid, _, payload] := io.jwt.decode_verify(token, {"cert": keys, "alg": "ES256", "iss": %q, "aud": %q})
	valid
}

routes := [
	{"method": "GET", "prefix": "/reports/", "scope": "reports:read"},
	{"method": "PUT", "prefix": "/prices/", "scope": "prices:set"},
	{"method": "GET", "prefix": "/orders/export", "scope": "orders:export"},
	{"method": "DELETE", "prefix": "/orders/", "scope": "orders:write"},
	{"method": "GET", "prefix": "/orders/", "scope": "orders:read"},
	{"method": "POST", "prefix": "/orders", "scope": "orders:write"},
	{"method": "GET", "prefix": "/items/", "scope": "items:read"},
	{"method": "GET", "prefix": "/orders", "scope": "orders:read"},
]

allow if {
	scopes := split(claims.scope, " ")
	some route in routes
	route.method == input.attributes.request.http.method
	startswith(input.attributes.request.http.path, route.prefix)
	route.scope in scopes
}
`

const peerConfig = `plugins:
  envoy_ext_authz_grpc:
    addr: unix://%s
    path: envoy/authz/allow
`

// startPeer starts opa-envoy-plugin, which does not log decisions unless it is told to.
func (b *bench) startPeer(ctx context.Context) (*server, error) {
	socket := filepath.Join(b.dir, "peer.sock")
	policy, config := filepath.Join(b.dir, "peer.rego"), filepath.Join(b.dir, "peer.yaml")
	if err := os.WriteFile(policy, fmt.Appendf(nil, peerPolicy, b.fixture.keys, issuerName, audience), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, peerConfig, socket), 0o600); err != nil {
		return nil, err
	}
	s, err := b.start(ctx, launch{
		name: "peer", program: b.options.peer, socket: socket, first: b.first[mappedHeaders], want: allowed,
		args: []string{"run", "--server", "--skip-version-check", "--addr", "unix://" + filepath.Join(b.dir, "peer-api.sock"), "--config-file", config, "--log-level", "error", policy},
	})
	if err != nil {
		return nil, err
	}
	tokens, err := b.fixture.tokens(1, scopeOther)
	if err != nil {
		return nil, err
	}
	other, err := newMessage("Bearer "+tokens[0], mappedHeaders)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	if err := awaitOutcome(ctx, socket, other, denied); err != nil { // what allows everything would be cheap
		return nil, fmt.Errorf("opa-envoy-plugin and a token without the scope: %w", err)
	}
	return s, nil
}
