package grants

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/clientdocument"
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

// ofRelyingParty reports whether a relying party had the token, or one that it was made from.
func (t *ownToken) ofRelyingParty() bool {
	return namesRelyingParty(t.ClientID) || slices.ContainsFunc(t.Actors, func(a tokens.Actor) bool { return a.Issuer == "" && namesRelyingParty(a.Subject) })
}

func namesRelyingParty(clientID string) bool {
	_, err := agentid.Parse[agentid.Client](clientID)
	return err == nil || clientdocument.Names(clientID)
}

// ownClaims are the claims of ours that count here. A token that we signed has them in these types.
type ownClaims struct {
	Scope        string        `json:"scope"`
	CredentialID string        `json:"credential_id"`
	Actor        *tokens.Actor `json:"act"`
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
	if t.ofRelyingParty() && t.SignIn.IsZero() {
		return nil, errors.New("sid: a relying party's token that does not say by which sign-in")
	}
	t.Confirmation, err = readConfirmation(judged.Claims.Extra)
	return t, err
}

// readConfirmation reads what a token is bound to. What is not known here is refused: nobody could ask for the proof of it.
func readConfirmation(claims map[string]any) (tokens.Confirmation, error) {
	var c tokens.Confirmation
	cnf, bound := claims["cnf"]
	if !bound {
		return c, nil
	}
	members, ok := cnf.(map[string]any)
	if !ok || len(members) == 0 {
		return c, errors.New("cnf: the token is bound to something that is not said")
	}
	for member, value := range members {
		text, _ := value.(string)
		switch {
		case text == "":
			return c, errors.New("cnf: empty")
		case member == "jkt":
			c.KeyThumbprint = text
		case member == "x5t#S256":
			c.CertificateSHA256 = text
		default:
			return c, errors.New("cnf: the token is bound to something that cannot be checked here")
		}
	}
	return c, nil
}
