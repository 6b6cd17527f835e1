package agents

import (
	"time"

	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// Prepared is an agent with its first credential, checked, and stored nowhere yet: it is for whoever stores both together with something else.
type Prepared struct {
	Agent      Agent
	Credential Credential
	Secret     string // of a client_secret, never shown again; "" of any other kind
	SecretHash []byte // what is stored of it
}

// Prepare checks as Create, and CreateCredential or RegisterCredential, do.
func (s *Service) Prepare(in Create, kind string, r credentials.Registration, lifetime time.Duration) (Prepared, error) {
	a, err := s.newAgent(in)
	if err != nil {
		return Prepared{}, err
	}
	p := Prepared{Agent: a}
	if p.Credential, err = s.newCredential(a.ID, kind, lifetime); err != nil {
		return Prepared{}, err
	}
	if kind == credentials.KindClientSecret {
		p.Secret, p.SecretHash = s.secrets.New()
		return p, nil
	}
	if err := r.Validate(kind); err != nil {
		return Prepared{}, err
	}
	p.Credential.Registration = r
	return p, nil
}
