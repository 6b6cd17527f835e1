package adminapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Challenge is the WWW-Authenticate of every refusal (RFC 6750 s3). It never says why: all refusals are the same.
const Challenge = `Bearer realm="agentidp"`

// Bounds of the bootstrap token. Shorter ones could be guessed; nothing longer is hashed.
const (
	BootstrapTokenBytesMin = 32
	BootstrapTokenBytesMax = 512
)

// Guard lets the holder of the bootstrap admin token in. It keeps a hash only, and compares hashes: equal lengths, constant time.
type Guard struct{ hash [sha256.Size]byte }

// NewGuard takes the token of the configuration.
func NewGuard(token string) (*Guard, error) {
	if len(token) < BootstrapTokenBytesMin || len(token) > BootstrapTokenBytesMax {
		return nil, errors.New("the bootstrap token must have 32 to 512 bytes")
	}
	return &Guard{sha256.Sum256([]byte(token))}, nil
}

type actorKey struct{}

// Authenticate is a web.Config.Authenticate. Missing, malformed and wrong tokens are one answer after the same comparison.
func (g *Guard) Authenticate(r *http.Request) (context.Context, error) {
	hash := sha256.Sum256([]byte(bearer(r)))
	if subtle.ConstantTimeCompare(hash[:], g.hash[:]) != 1 {
		return nil, &problem.Error{Kind: problem.Unauthenticated, Detail: "This operation needs the admin token."}
	}
	ctx := r.Context()
	who := audit.Actor{Kind: audit.KindBootstrap, RequestID: web.RequestID(ctx), Source: web.Source(ctx)}
	return context.WithValue(ctx, actorKey{}, who), nil
}

// bearer is the token of exactly one Authorization header (RFC 6750 s2.1), else "". The scheme is case-insensitive (RFC 9110 s11.1).
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 || len(values[0]) > len("Bearer ")+BootstrapTokenBytesMax {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// actor is who Authenticate let in; the zero Actor, which every mutation refuses, on a route that was not guarded.
func actor(r *http.Request) audit.Actor {
	who, _ := r.Context().Value(actorKey{}).(audit.Actor)
	return who
}
