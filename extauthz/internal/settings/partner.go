package settings

import (
	"errors"
	"fmt"
	"time"

	"github.com/agentidp/agentidp/internal/config"
)

// Partner says that an issuer is not ours but a partner's: its identities are federated, and the issuer we federate by can revoke it.
type Partner struct {
	ID string `yaml:"id"` // as in the revocation list of Of
	Of string `yaml:"of"` // the issuer of this file that the partner is a partner of
}

// Instant is a moment in a config file.
type Instant struct{ time.Time }

// UnmarshalText reads RFC 3339.
func (i *Instant) UnmarshalText(text []byte) error {
	t, err := time.Parse(time.RFC3339, string(text))
	if err != nil || t.Unix() <= 0 {
		return errors.New(`want a time such as "2026-11-23T09:00:00Z"`)
	}
	i.Time = t
	return nil
}

// Seconds is the first whole second that is not before the moment, 0 when there is none: iat is compared with it.
func (i Instant) Seconds() int64 {
	if i.IsZero() {
		return 0
	}
	s := i.Unix()
	if i.Nanosecond() > 0 {
		s++
	}
	return s
}

// validatePartners looks at each issuer together with the one it is a partner of.
func (c *Config) validatePartners(r *config.Report) {
	for n := range c.Issuers {
		i := &c.Issuers[n]
		if i.Partner == nil {
			continue
		}
		field := fmt.Sprintf("issuers[%d].partner", n)
		if err := checkIdentifier(i.Partner.ID); err != nil {
			r.Errorf(field+".id", "%v", err)
		}
		switch home := c.issuer(i.Partner.Of); {
		case i.Partner.Of == "":
			r.Errorf(field+".of", "is required: the issuer whose partner it is")
		case home == nil:
			r.Errorf(field+".of", "is none of the issuers of this file")
		case home.Partner != nil: // itself, too
			r.Errorf(field+".of", "is a partner's issuer: partners of partners are not trusted")
		}
		if i.OrganizationID == "" {
			r.Errorf(fmt.Sprintf("issuers[%d].organizationId", n), "is required for a partner's issuer: without it, it could speak for organizations that are not the partner's")
		}
	}
}

func (c *Config) issuer(name string) *Issuer {
	for n := range c.Issuers {
		if c.Issuers[n].Issuer == name {
			return &c.Issuers[n]
		}
	}
	return nil
}
