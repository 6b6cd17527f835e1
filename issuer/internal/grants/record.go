package grants

import (
	"context"
	"maps"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// record makes the issuance a fact before the token is one. The token was signed before: its iat must not be later than a suspension that waits for
// the record.
func (e *Endpoint) record(ctx context.Context, r *Request, grant Grant, a tokens.Authorization, t tokens.AccessToken) error {
	actor := r.actor()
	actor.RequestID, actor.Source = web.RequestID(ctx), web.Source(ctx)
	record := r.Issuance
	record.Token = issuance.Token{ID: t.ID, IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt}
	record.Details = details(r, grant, a, t)
	err := e.cfg.Recorder.RecordTokenIssued(ctx, actor, record)
	if used, ok := issuance.AsUsed(err); ok {
		if used.Purpose == issuance.UseProof {
			return usedProof(err)
		}
		grant.used(ctx, r, used)
		return &oauth.Error{Code: oauth.InvalidGrant, Description: "The grant was used before.", Err: err}
	}
	if _, ok := issuance.AsOutdated(err); ok {
		return err
	}
	switch {
	case err == nil:
		return nil
	case problem.KindOf(err) == problem.NotFound: // suspended, or credential deleted, since it was authenticated
		return r.dead(err)
	}
	return oauth.From(err)
}

// details of the record: everything about the token but the token. What a grant adds never replaces what the template says.
func details(r *Request, grant Grant, a tokens.Authorization, t tokens.AccessToken) map[string]any {
	all := make(map[string]any)
	maps.Copy(all, r.Issuance.Details)
	maps.Copy(all, map[string]any{
		"tokenId": t.ID, "keyId": t.KeyID, "issuer": r.Issuer.ID, "grantType": grant.Type, "clientAuthentication": string(r.Method),
		"credentialId": r.Agent.Credential.String(), "audience": audience(a.Audience), "scope": t.Scope,
		"issuedAt": t.IssuedAt.Format(time.RFC3339), "expiresAt": t.ExpiresAt.Format(time.RFC3339),
	})
	if r.RelyingParty != nil {
		all["clientId"] = r.RelyingParty.Client.ClientID()
	}
	if a.Details != nil {
		all["authorizationDetails"] = a.Details
	}
	if a.Confirmation.KeyThumbprint != "" {
		all["keyThumbprint"] = a.Confirmation.KeyThumbprint
	}
	if a.Confirmation.CertificateSHA256 != "" {
		all["certificateThumbprint"] = a.Confirmation.CertificateSHA256
	}
	return all
}

// audience is written as in the token: one as a string, several as a list.
func audience(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}
