package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/localca"
	"github.com/agentidp/agentidp/internal/servertls"
	"github.com/agentidp/agentidp/internal/web"
)

// serveFloor is the least a token endpoint can do, as a program of its own: the same server and TLS, the body read, claims of the same size signed by the
// same signer. It authenticates, limits, remembers, records and logs nothing.
func serveFloor(ctx context.Context, address, dir string) error {
	files, err := localca.Ensure(dir, time.Now(), localca.Loopback()...)
	if err != nil {
		return err
	}
	certificate, err := servertls.Open(servertls.Files{Cert: files.CertificateFile(), Key: filepath.Clean(files.KeyFile())}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	key, err := jose.GenerateSigningKey(jose.ES256)
	if err != nil {
		return err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": "https://" + address, "sub": "agt_0199f6c3d5e67f108a2b3c4d5e6f7081", "aud": "svc://orders", "exp": 1795424760, "iat": 1795424460, "nbf": 1795424460,
		"jti": "VX4EOPEDCPOTTMJFAFAGGY2IHY", "client_id": "agt_0199f6c3d5e67f108a2b3c4d5e6f7081", "scope": "orders:read", "org_id": "org_0199f6c2a1b47d3e8c5f0a1b2c3d4e5f",
		"credential_id": "crd_0199f6c4aabb7ccd9eef001122334455", "agent": map[string]any{
			"name": "agent-1", "did": "did:web:localhost%3A8443:agents:agt_0199f6c3d5e67f108a2b3c4d5e6f7081", "type": "assistant", "capabilities": []string{"orders.read"},
		},
	})
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // the client is gone
		}
		token, err := key.Sign("at+jwt", claims)
		if err != nil {
			http.Error(w, "no token", http.StatusInternalServerError)
			return
		}
		text := `{"access_token":"` + token + `","token_type":"Bearer","expires_in":300,"scope":"orders:read"}`
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = io.WriteString(w, text)
	})
	server := &web.Server{Listen: address, Handler: handler, GetCertificate: certificate.Get, Log: slog.New(slog.DiscardHandler)}
	if err := server.Run(ctx); err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}
