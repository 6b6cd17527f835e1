package agents

import (
	"errors"
	"testing"
	"time"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/audit"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	for kind, r := range map[string]credentials.Registration{
		credentials.KindPrivateKeyJWT: {KeysURL: "https://client.example:8443/jwks?x=y"},
		credentials.KindTLS:           {SANDNS: "a.example"},
	} {
		f := &fake{}
		c, err := newService(t, f).RegisterCredential(t.Context(), audit.Actor{}, none, kind, r, time.Hour)
		if err != nil || c.Kind != kind || len(f.hashes) != 1 || f.hashes[0].Hash != nil || !c.ExpiresAt.Equal(at.Add(time.Hour)) {
			t.Errorf("%s: %+v, %v", kind, c, err)
		}
		if defaults := len(c.Registration.Algorithms) != 0; defaults != (kind == credentials.KindPrivateKeyJWT) {
			t.Errorf("%s: algorithms %v", kind, c.Registration.Algorithms)
		}
	}
}

// Nothing is stored of a registration that is not of its kind; what is wrong with one is tested in package credentials.
func TestRegistrationsRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		kind  string
		r     credentials.Registration
		field string
	}{
		"nothing":         {credentials.KindTLS, credentials.Registration{}, "/registration"},
		"a secret":        {credentials.KindClientSecret, credentials.Registration{}, "/kind"},
		"wildcard":        {credentials.KindTLS, credentials.Registration{SANDNS: "*.example"}, "/registration/sanDns"},
		"of another kind": {credentials.KindSPIFFEX509, credentials.Registration{SPIFFEID: "spiffe://example.org/a", SANDNS: "a.example"}, "/registration/sanDns"},
	} {
		f := &fake{}
		for what, do := range map[string]func(*Service) error{
			"register": func(s *Service) error {
				_, err := s.RegisterCredential(t.Context(), audit.Actor{}, none, tt.kind, tt.r, 0)
				return err
			},
			"replace": func(s *Service) error {
				_, err := s.ReplaceCredential(t.Context(), audit.Actor{}, none, Credential{}.ID, tt.kind, tt.r, 0)
				return err
			},
		} {
			p, ok := errors.AsType[*problem.Error](do(newService(t, f)))
			if !ok || p.Kind != problem.Invalid || p.Field != tt.field || len(f.hashes) != 0 {
				t.Errorf("%s, %s: %+v, want a problem at %s", name, what, p, tt.field)
			}
		}
	}
}
