package presented

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/issuer/internal/issuers"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
	"github.com/agentidp/agentidp/issuer/internal/tokenstate"
)

// read takes what the endpoints need from the claims of a token that was judged. A claim of another form than we write it in is no claim of ours.
func read(judged *tokenstate.Token, issuer issuers.Issuer) (*Token, error) {
	claims := judged.Claims
	if !slices.Contains(claims.Audience, issuer.ID) {
		return nil, errors.New("for another audience")
	}
	t := &Token{ClientID: judged.ClientID, Scopes: strings.Fields(judged.Scope()), IssuedAt: time.Unix(claims.IssuedAt, 0).UTC()}
	var err error
	if t.Agent.ID, err = agentid.Parse[agentid.Agent](claims.Subject); err != nil {
		return nil, fmt.Errorf("sub: %w", err) // somebody who is no agent of ours: nothing here is about them
	}
	t.Agent.OrganizationID = judged.Organization
	credential, _ := claims.Extra["credential_id"].(string)
	if t.Credential, err = agentid.Parse[agentid.Credential](credential); err != nil {
		return nil, fmt.Errorf("credential_id: %w", err)
	}
	_, t.Delegated = claims.Extra["act"]
	t.confirmation, err = readConfirmation(claims.Extra["cnf"])
	return t, err
}

// readConfirmation refuses what it does not know: a binding that nobody checks would be none.
func readConfirmation(cnf any) (c tokens.Confirmation, err error) {
	if cnf == nil {
		return c, nil
	}
	members, ok := cnf.(map[string]any)
	if !ok || len(members) == 0 {
		return c, errors.New("cnf is no object, or empty")
	}
	for name, value := range members {
		text, ok := value.(string)
		if !ok || text == "" {
			return c, errors.New("cnf binds to nothing")
		}
		switch name {
		case "jkt":
			c.KeyThumbprint = text
		case "x5t#S256":
			c.CertificateSHA256 = text
		default:
			return c, errors.New("cnf binds to something unknown")
		}
	}
	return c, nil
}
