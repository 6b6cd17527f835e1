package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/keys"
)

// ListSigningKeys implements GET /signing-keys.
func (a *API) ListSigningKeys(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listSigningKeys)(w, r)
}

func (a *API) listSigningKeys(r *http.Request, _ web.None) (reply web.Reply[SigningKeyList], err error) {
	q, err := web.ParseQuery(r, organizationIDParam)
	if err != nil {
		return reply, err
	}
	var org agentid.Organization // zero: the instance's issuer
	if q.Has(organizationIDParam) {
		if org, err = web.ID(q, organizationIDParam, agentid.Parse[agentid.Organization]); err != nil {
			return reply, err
		}
	}
	return a.signingKeys(r.Context(), org)
}

// RotateSigningKeys implements POST /signing-keys/rotate.
func (a *API) RotateSigningKeys(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.rotateSigningKeys)(w, r)
}

func (a *API) rotateSigningKeys(r *http.Request, in RotateSigningKeys) (reply web.Reply[SigningKeyList], err error) {
	if err := noQuery(r); err != nil {
		return reply, err
	}
	var org agentid.Organization
	if in.OrganizationId != nil {
		org = *in.OrganizationId
	}
	if err := a.hasIssuer(r.Context(), org); err != nil {
		return reply, err
	}
	switch {
	case (in.Use == nil) == (in.RevokeKeyId == nil):
		return reply, &problem.Error{Kind: problem.Invalid, Code: "signing_key_request", Field: "/use", Detail: "Exactly one of use (a planned rotation) and revokeKeyId (an emergency) is required."}
	case in.RevokeKeyId != nil && in.Algorithm != nil:
		return reply, &problem.Error{Kind: problem.Invalid, Code: "signing_key_request", Field: "/algorithm", Detail: "An algorithm is chosen with a planned rotation."}
	case in.RevokeKeyId != nil:
		err = a.SigningKeys.Rotator().Revoke(r.Context(), actor(r), org, *in.RevokeKeyId)
	default:
		var algorithm jose.Algorithm
		if in.Algorithm != nil {
			algorithm = jose.Algorithm(*in.Algorithm)
		}
		err = a.SigningKeys.Rotator().Rotate(r.Context(), actor(r), org, keys.Use(*in.Use), algorithm)
	}
	if err != nil {
		return reply, err
	}
	_ = a.SigningKeys.Refresh(r.Context()) // so that this process is the first to know; when it fails it is tried again within a second, as in every process
	return a.signingKeys(r.Context(), org)
}

// hasIssuer is NotFound for an organization that does not exist, also when it was deleted.
func (a *API) hasIssuer(ctx context.Context, org agentid.Organization) error {
	if org.IsZero() {
		return nil
	}
	_, err := a.Organizations.Get(ctx, org)
	return err
}

// signingKeys of an issuer; none for one that has signed nothing yet.
func (a *API) signingKeys(ctx context.Context, org agentid.Organization) (reply web.Reply[SigningKeyList], err error) {
	issuer := a.Issuers.Instance().ID
	if !org.IsZero() {
		o, err := a.Organizations.Get(ctx, org)
		if err != nil {
			return reply, err
		}
		issuer = a.Issuers.ID(o.Slug)
	}
	set, err := a.SigningKeys.Rotator().Keys(ctx, org)
	if err != nil {
		return reply, err
	}
	reply.Body = SigningKeyList{Issuer: issuer, SigningKeys: mapped(set.Keys, a.signingKeyBody)}
	return reply, nil
}

func (a *API) signingKeyBody(k keys.Stored) SigningKey {
	return SigningKey{
		Id: k.ID, Use: SigningKeyUse(k.Use), Algorithm: SigningKeyAlgorithm(k.Algorithm), State: SigningKeyState(k.State), CreatedAt: k.CreatedAt.UTC(),
		KnownAt: a.SigningKeys.Rotator().Known(k).UTC(), ActivatedAt: presentTime(k.ActivatedAt), RetiredAt: presentTime(k.RetiredAt), RevokedAt: presentTime(k.RevokedAt), DestroyedAt: presentTime(k.DestroyedAt),
	}
}

func presentTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}
