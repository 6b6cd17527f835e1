package tokens

import "encoding/json"

// typeIDJAG is the typ header of an identity assertion authorization grant, draft-ietf-oauth-identity-assertion-authz-grant s3. No sidecar and no other endpoint
// takes it for an access token.
const typeIDJAG = "oauth-id-jag+jwt"

// Assertion makes a token one that is redeemed at another authorization server instead of used. Its audience is that server and nobody else.
type Assertion struct {
	ClientID  string   // the client's name there
	Resources []string // what the token it is redeemed for should be used at; may be empty
	// Authentication of the subject, when it is known how it signed in to the client.
	Authentication *Authentication
}

// assertionClaims are those of the draft's s3.1, how the subject authenticated, and act and cnf as in an access token. Resource is left out when there is none: then the other server decides. Scope never is.
type assertionClaims struct {
	Issuer       string          `json:"iss"`
	Subject      string          `json:"sub"`
	Audience     audience        `json:"aud"`
	ClientID     string          `json:"client_id"`
	ID           string          `json:"jti"`
	ExpiresAt    int64           `json:"exp"`
	IssuedAt     int64           `json:"iat"`
	Scope        string          `json:"scope"`
	Resource     audience        `json:"resource,omitempty"`
	AuthTime     int64           `json:"auth_time,omitempty"`
	Context      string          `json:"acr,omitempty"`
	Methods      []string        `json:"amr,omitempty"`
	Actor        *Actor          `json:"act,omitempty"`
	Confirmation *Confirmation   `json:"cnf,omitempty"`
	Details      json.RawMessage `json:"authorization_details,omitempty"`
}

func (a *Assertion) claims(c accessClaims) assertionClaims {
	all := assertionClaims{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: a.ClientID, ID: c.ID, ExpiresAt: c.ExpiresAt, IssuedAt: c.IssuedAt,
		Scope: c.Scope, Resource: a.Resources, Actor: c.Actor, Confirmation: c.Confirmation, Details: c.Details,
	}
	if signedIn := a.Authentication; signedIn != nil {
		all.AuthTime, all.Context, all.Methods = signedIn.At.Unix(), signedIn.Context, signedIn.Methods
	}
	return all
}
