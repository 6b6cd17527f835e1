package grants

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// ownToken is a token of ours that was judged, read for what it allows.
type ownToken struct {
	*tokenstate.Token
	Credential   agentid.Credential
	Scopes       []string
	Confirmation tokens.Confirmation
	Actors       []tokens.Actor // nearest first; without the nesting
}

func (t *ownToken) issued() time.Time  { return time.Unix(t.Claims.IssuedAt, 0).UTC() }
func (t *ownToken) expires() time.Time { return time.Unix(t.Claims.ExpiresAt, 0).UTC() }

// ownClaims are the claims of ours that count here. A token that we signed has them in these types.
type ownClaims struct {
	Scope        string            `json:"scope"`
	CredentialID string            `json:"credential_id"`
	Actor        *tokens.Actor     `json:"act"`
	Confirmation map[string]string `json:"cnf"`
}

func readOwn(judged *tokenstate.Token) (*ownToken, error) {
	text, err := json.Marshal(judged.Claims.Extra) // strict already; this gives it types
	if err != nil {
		return nil, err
	}
	var own ownClaims
	if err := json.Unmarshal(text, &own); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	t := &ownToken{Token: judged, Scopes: strings.Fields(own.Scope)}
	if t.Credential, err = agentid.Parse[agentid.Credential](own.CredentialID); err != nil {
		return nil, fmt.Errorf("credential_id: %w", err)
	}
	for actor := own.Actor; actor != nil; actor = actor.Actor {
		link := *actor
		link.Actor = nil
		t.Actors = append(t.Actors, link)
	}
	for member, value := range own.Confirmation {
		switch member {
		case "jkt":
			t.Confirmation.KeyThumbprint = value
		case "x5t#S256":
			t.Confirmation.CertificateSHA256 = value
		default:
			return nil, errors.New("cnf: the token is bound to something that cannot be checked here")
		}
		if value == "" {
			return nil, errors.New("cnf: empty")
		}
	}
	if _, bound := judged.Claims.Extra["cnf"]; bound && len(own.Confirmation) == 0 {
		return nil, errors.New("cnf: the token is bound to something that is not said")
	}
	return t, nil
}
