package tokens

import (
	"encoding/json"
	"strconv"

	"github.com/agentidp/agentidp/internal/plainjson"
)

// encode writes the claims as encoding/json would, byte for byte, in a tenth of the time. A claim that is added to accessClaims is added here: TestEncode
// compares the two.
func (c *accessClaims) encode() ([]byte, error) {
	b := make([]byte, 0, 1024)
	b = member(b, `{"iss":`, c.Issuer)
	b = member(b, `,"sub":`, c.Subject)
	b = append(b, `,"aud":`...)
	if len(c.Audience) == 1 {
		b = plainjson.AppendString(b, c.Audience[0], true)
	} else {
		b = list(b, c.Audience)
	}
	b = number(b, `,"exp":`, c.ExpiresAt)
	b = number(b, `,"iat":`, c.IssuedAt)
	b = number(b, `,"nbf":`, c.NotBefore)
	b = member(b, `,"jti":`, c.ID)
	b = member(b, `,"client_id":`, c.ClientID)
	if c.Scope != "" {
		b = member(b, `,"scope":`, c.Scope)
	}
	b = member(b, `,"org_id":`, c.OrganizationID)
	b = member(b, `,"credential_id":`, c.CredentialID)
	if c.SignIn != "" {
		b = member(b, `,"sid":`, c.SignIn)
	}
	if c.Agent != nil {
		b = c.Agent.encode(append(b, `,"agent":`...))
	}
	if c.Actor != nil {
		b = c.Actor.encode(append(b, `,"act":`...))
	}
	if c.Confirmation != nil {
		b = c.Confirmation.encode(append(b, `,"cnf":`...))
	}
	if len(c.Details) > 0 {
		details, err := json.Marshal(c.Details) // somebody else's JSON
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"authorization_details":`...), details...)
	}
	return append(b, '}'), nil
}

func (a *agentClaims) encode(b []byte) []byte {
	b = member(b, `{"name":`, a.Name)
	b = member(b, `,"did":`, a.DID)
	b = member(b, `,"type":`, a.Type)
	return append(list(append(b, `,"capabilities":`...), a.Capabilities), '}')
}

func (a *Actor) encode(b []byte) []byte {
	b = member(b, `{"sub":`, a.Subject)
	for _, m := range []struct{ name, value string }{
		{`,"iss":`, a.Issuer}, {`,"org_id":`, a.OrganizationID}, {`,"credential_id":`, a.CredentialID},
	} {
		if m.value != "" {
			b = member(b, m.name, m.value)
		}
	}
	if a.Actor != nil {
		b = a.Actor.encode(append(b, `,"act":`...))
	}
	return append(b, '}')
}

func (c *Confirmation) encode(b []byte) []byte {
	separator := "{"
	for _, m := range []struct{ name, value string }{{`"jkt":`, c.KeyThumbprint}, {`"x5t#S256":`, c.CertificateSHA256}} {
		if m.value != "" {
			b, separator = member(append(b, separator...), m.name, m.value), ","
		}
	}
	if separator == "{" {
		b = append(b, '{')
	}
	return append(b, '}')
}

func member(b []byte, name, value string) []byte {
	return plainjson.AppendString(append(b, name...), value, true)
}

func number(b []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(b, name...), value, 10)
}

func list(b []byte, values []string) []byte {
	if values == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = plainjson.AppendString(b, v, true)
	}
	return append(b, ']')
}
