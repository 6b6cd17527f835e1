package issuer

import (
	"context"
	"net/http"

	"github.com/agentidp/agentidp/issuer/internal/adminapi"
	"github.com/agentidp/agentidp/issuer/internal/ratelimit"
)

// administrators lets the holder of the admin token in. A wrong token is a failure of its source; a request without one tries nothing.
func administrators(guard *adminapi.Guard, gate *ratelimit.Gate) func(*http.Request) (context.Context, error) {
	return func(r *http.Request) (context.Context, error) {
		if err := gate.Admit(r.Context(), ""); err != nil {
			return nil, ratelimit.Problem(err)
		}
		ctx, err := guard.Authenticate(r)
		if err != nil && len(r.Header.Values("Authorization")) != 0 {
			gate.Failed(r.Context(), "")
		}
		return ctx, err
	}
}
