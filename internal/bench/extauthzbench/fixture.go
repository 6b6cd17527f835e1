package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/trust"
	"github.com/agentidp/agentidp/policies"
)

const (
	issuerName  = "https://issuer.example/org/a"
	audience    = "svc://orders"
	scopeHeld   = "orders:read orders:write items:read"
	scopeOther  = "reports:read reports:write prices:set" // as long, and not what the route asks for
	tokenLife   = 50 * time.Minute
	revokedMany = 1000 // agents on the revocation list, none of which calls
)

// meshData allows what the measured request asks for, among eight routes.
const meshData = `mesh:
  defaultService: orders
  principals: {"spiffe://mesh.example/ns/shop/sa/orders": orders}
  services:
    orders:
      organizations: [org_a, org_b]
      routes:
        orders:
          /: {GET: {scopes: [orders:read]}, POST: {scopes: [orders:read, orders:write]}}
          /*:
            /: {GET: {scopes: [orders:read]}, DELETE: {scopes: [orders:write]}}
            items:
              /: {GET: {scopes: [items:read]}}
          export:
            /: {GET: {scopes: [orders:export]}}
        prices:
          /*: {/: {PUT: {scopes: [prices:set]}}}
        reports:
          /**: {GET: {scopes: [reports:read]}}
`

// fixture is a small installation: an issuer on loopback with keys and a revocation list, as extauthz finds it in
// production, and the files of extauthz beside it.
type fixture struct {
	dir     string
	signer  *jose.SigningKey
	keys    []byte
	address string // of the issuer
	server  *http.Server
	reads   atomic.Int64 // of the keys
	issued  int
}

func newFixture(dir string) (*fixture, error) {
	signer, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		return nil, err
	}
	f := &fixture{dir: dir, signer: signer, keys: jose.MarshalKeySet([]json.RawMessage{signer.PublicJWK()})}
	if err := f.writePolicy(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f.address = l.Addr().String()
	f.server = &http.Server{Handler: f.issuer(), ReadHeaderTimeout: time.Second}
	go func() { _ = f.server.Serve(l) }()
	return f, nil
}

func (f *fixture) close() { _ = f.server.Close() }

const keysPath = "/keys"

// issuer serves what never changes.
func (f *fixture) issuer() http.Handler {
	list := trust.RevocationList{Issuer: issuerName, Sequence: 1, IssuedAt: time.Now().Unix()}
	for i := range revokedMany {
		list.Agents = append(list.Agents, trust.Agent{ID: "agt_revoked_" + strconv.Itoa(i)})
	}
	revoked, _ := json.Marshal(list) // names and numbers always marshal
	mux := http.NewServeMux()
	serve := func(path string, body []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if path == keysPath {
				f.reads.Add(1)
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write(body)
		})
	}
	serve(keysPath, f.keys)
	serve("/revoked", revoked)
	return mux
}

// writePolicy writes the mesh policy as shipped, with meshData for its data.
func (f *fixture) writePolicy() error {
	dir := filepath.Join(f.dir, "policies")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	mesh := policies.Mesh()
	names, err := fs.Glob(mesh, "*.rego")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(mesh, name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "data.yaml"), []byte(meshData), 0o600)
}

// writeConfig writes the configuration of one extauthz and returns the file. It is the usual one, but that the policy gets
// more time: on a busy machine some evaluation would be interrupted, and a run with a 503 in it is no measurement. State is kept below the name, so that two
// with one name find each other's.
func (f *fixture) writeConfig(name, socket, more string) (string, error) {
	text := fmt.Sprintf(`listen: unix://%s
stateDir: state-%s
policy: {dir: policies, path: agentidp/authz/decision, timeout: 200ms}
issuers:
  - issuer: %s
    audiences: [%q]
    jwks: {url: "http://%s/keys"}
    revocations: {url: "http://%s/revoked"}
%s`, socket, name, issuerName, audience, f.address, f.address, more)
	file := filepath.Join(f.dir, name+".yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// tokens signs n tokens that differ in agent and id, about 800 bytes each, and that no call before returned.
func (f *fixture) tokens(n int, scope string) ([]string, error) {
	first := f.next(n)
	tokens, errs := make([]string, n), make([]error, runtime.NumCPU())
	var done sync.WaitGroup
	for w := range errs {
		done.Go(func() {
			for i := w; i < n && errs[w] == nil; i += len(errs) {
				tokens[i], errs[w] = f.token(first+i, scope, nil)
			}
		})
	}
	done.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

// next is the first of n serial numbers that nobody has.
func (f *fixture) next(n int) int {
	first := f.issued
	f.issued += n
	return first
}

func (f *fixture) token(serial int, scope string, more map[string]any) (string, error) {
	now := time.Now()
	agent := fmt.Sprintf("agt_0199c2f04b1c7e09b2d4%08d", serial)
	all := map[string]any{
		"iss": issuerName, "sub": agent, "aud": []string{audience}, "client_id": agent, "scope": scope, "org_id": "org_a",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(), "jti": fmt.Sprintf("tok_0199c2f04b1c7e09b2d4%08d", serial),
		"agent": map[string]any{
			"name": "Order reader", "did": "did:web:issuer.example:agents:" + agent, "type": "service", "capabilities": []string{"orders", "items"},
		},
	}
	maps.Copy(all, more)
	claims, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	return f.signer.Sign("at+jwt", claims)
}
