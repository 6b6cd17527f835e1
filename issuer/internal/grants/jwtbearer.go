package grants

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/federation"
	"github.com/agentidp/agentidp/issuer/internal/issuance"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// assertionLifetimeMax bounds how long the use of an assertion is remembered. An assertion is redeemed at once; it needs no long life.
const assertionLifetimeMax = 15 * time.Minute

// typeIDJAG is the typ of an identity assertion authorization grant (draft-ietf-oauth-identity-assertion-authz-grant s3), as jose normalises it.
const typeIDJAG = "oauth-id-jag+jwt"

// foreignSubjectBytesMax keeps a sub made of a partner's within what sidecars accept.
const foreignSubjectBytesMax = 255

// JWTBearer is RFC 7523 s2.1: a client redeems what a partner says about somebody. The token speaks of that somebody, under the partner's name, and the client acts. An
// assertion counts once, whichever process it is sent to.
// An agent's DID is a name that an assertion may call it by, too.
func JWTBearer(partners *federation.Partners, dids func(agentid.Agent) string, actorsMax int) (Grant, error) {
	if partners == nil || dids == nil || actorsMax < 1 || actorsMax > tokens.ActorsMax {
		return Grant{}, errors.New("jwt-bearer: the configuration is not complete")
	}
	b := &bearer{partners, dids, actorsMax}
	return Grant{Type: "urn:ietf:params:oauth:grant-type:jwt-bearer", Authorize: b.authorize}, nil
}

type bearer struct {
	partners  *federation.Partners
	dids      func(agentid.Agent) string
	actorsMax int
}

// notGranted is RFC 7521 s4.1.1: one answer for every assertion that is not accepted.
func notGranted(err error) *oauth.Error {
	return &oauth.Error{Code: oauth.InvalidGrant, Description: "The assertion is not acceptable.", Err: err}
}

func (b *bearer) authorize(ctx context.Context, r *Request, a *tokens.Authorization) error {
	text := r.Form.Get("assertion")
	if text == "" {
		return &oauth.Error{Code: oauth.InvalidRequest, Description: "assertion is missing."}
	}
	// The audience is the issuer's identifier and nothing else: the URL of an endpoint could be that of another issuer's, too.
	claims, partner, err := b.partners.Verify(ctx, r.Agent.OrganizationID, text, federation.Expected{
		Audience: r.Issuer.ID, Types: []string{"jwt", typeIDJAG}, LifetimeMax: assertionLifetimeMax,
	})
	if errors.Is(err, federation.ErrRefused) {
		return notGranted(err)
	}
	if err != nil {
		return oauth.From(err)
	}
	if err := b.check(r, claims, a); err != nil {
		return notGranted(err)
	}
	subject, err := foreignSubject(claims)
	if err != nil {
		return notGranted(err)
	}
	a.Subject = &tokens.Subject{ID: subject}
	chain, err := b.chain(r, claims)
	if err != nil {
		return notGranted(err)
	}
	a.Actor = link(chain)
	a.NotAfter = time.Unix(claims.ExpiresAt, 0).UTC()
	r.Issuance.Uses = append(r.Issuance.Uses, assertionUse(claims))
	r.Issuance.Details = map[string]any{"subject": subject, "partner": partner.Issuer, "assertionId": claims.ID, "assertionType": claims.Type}
	return narrowForeign(r, claims, partner, a)
}

// check is what depends on the request: an ID-JAG is for one client, any assertion may say who may act (may_act), and may be bound to what the client holds.
func (b *bearer) check(r *Request, claims *jose.Claims, a *tokens.Authorization) error {
	if client, present := claims.Extra["client_id"]; (present || claims.Type == typeIDJAG) && client != r.Agent.ID.String() {
		return errors.New("the assertion is for another client")
	}
	if claims.Issuer == r.Issuer.ID {
		return errors.New("the assertion is our own, and for others")
	}
	if mayAct, present := claims.Extra["may_act"]; present {
		if err := named(r, mayAct, b.dids); err != nil {
			return err
		}
	}
	bound, err := readConfirmation(claims.Extra)
	if err != nil {
		return err
	}
	if bound.CertificateSHA256 != "" {
		a.Confirmation.CertificateSHA256 = r.Certificate // what was bound stays bound
	}
	return holds(r, bound)
}

// foreignSubject is a partner's name for somebody behind the name of the partner: a partner can speak of nobody but its own, and least of all of an agent of ours.
func foreignSubject(claims *jose.Claims) (string, error) {
	if len(claims.Subject) > foreignSubjectBytesMax || len(claims.Issuer) > foreignSubjectBytesMax {
		return "", errors.New("sub or iss is too long")
	}
	subject := claims.Issuer + "|" + claims.Subject
	for _, c := range []byte(subject) {
		if c <= ' ' || c >= 0x7f {
			return "", errors.New("sub is not visible ASCII")
		}
	}
	return subject, nil
}

// chain is the client, and behind it whoever acted at the partner's already. Those are the partner's, so nothing they say about an organization or a credential counts.
func (b *bearer) chain(r *Request, claims *jose.Claims) ([]tokens.Actor, error) {
	chain := []tokens.Actor{{
		Subject: r.Agent.ID.String(), OrganizationID: r.Agent.OrganizationID.String(), CredentialID: r.Agent.Credential.String(),
	}}
	seen := map[string]bool{claims.Subject: true}
	act, present := claims.Extra["act"]
	for present {
		members, _ := act.(map[string]any)
		subject, ok := members["sub"].(string)
		issuer, named := members["iss"]
		switch {
		case !ok || subject == "" || seen[subject] || len(subject) > foreignSubjectBytesMax || strings.ContainsFunc(subject, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
			return nil, errors.New("an actor without a name of its own")
		case named && issuer != claims.Issuer:
			return nil, errors.New("an actor of somebody else's")
		case len(chain) == b.actorsMax:
			return nil, errors.New("too many actors")
		}
		seen[subject] = true
		chain = append(chain, tokens.Actor{Subject: subject, Issuer: claims.Issuer})
		act, present = members["act"]
	}
	return chain, nil
}

// assertionUse is one of a partner and a jti.
func assertionUse(claims *jose.Claims) issuance.SingleUse {
	text := binary.BigEndian.AppendUint64(nil, uint64(len(claims.Issuer))) // so that no two pairs give one text
	text = append(append(text, claims.Issuer...), claims.ID...)
	return issuance.SingleUse{Purpose: issuance.UseAssertion, Key: sha256.Sum256(text), ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC()}
}

// narrowForeign leaves of what the client may ask for what the partner may grant, and what it did grant where it says so.
func narrowForeign(r *Request, claims *jose.Claims, partner federation.Partner, a *tokens.Authorization) error {
	scope, limited := claims.Extra["scope"].(string)
	if _, present := claims.Extra["scope"]; present && !limited {
		return notGranted(errors.New("scope is no string"))
	}
	granted := strings.Fields(scope)
	more := func(s string) bool {
		return !slices.Contains(partner.Scopes, s) || limited && !slices.Contains(granted, s)
	}
	switch {
	case r.Form.Get("scope") == "":
		a.Scopes = slices.DeleteFunc(slices.Clone(a.Scopes), more)
	case slices.ContainsFunc(a.Scopes, more):
		return &oauth.Error{Code: oauth.InvalidScope, Description: "The assertion does not allow one of these scopes."}
	}
	if details, present := claims.Extra["authorization_details"]; present || a.Details != nil {
		allowed, _ := details.([]any)
		if err := narrowDetails(allowed, a); err != nil {
			return err
		}
	}
	return narrowResource(r, claims, a)
}

// narrowResource reads resource of an ID-JAG: one or several, for which the token may be and no others.
func narrowResource(r *Request, claims *jose.Claims, a *tokens.Authorization) error {
	value, present := claims.Extra["resource"]
	if !present {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var resources []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return notGranted(errors.New("resource is neither a string nor a list of strings"))
		}
		resources = append(resources, s)
	}
	if len(r.Form.All("resource")) == 0 {
		audience, err := allowedAudience(r.Agent.Agent, resources)
		a.Audience = audience
		return err
	}
	if slices.ContainsFunc(a.Audience, func(s string) bool { return !slices.Contains(resources, s) }) {
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "The assertion is not for this resource."}
	}
	return nil
}
