package adminapi

import (
	"encoding/json"

	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/credentials"
)

// registration reads what a credential is checked against. kind is the one that is meant when the request does not say.
func (a *API) registration(kind string, asked *CredentialKind, in *Registration) (string, credentials.Registration, error) {
	if asked != nil {
		kind = string(*asked)
	}
	if kind == credentials.KindClientSecret {
		if in != nil {
			return "", credentials.Registration{}, &problem.Error{
				Kind: problem.Invalid, Code: "registration_unexpected", Field: "/registration", Detail: "A client secret has none: we make it.",
			}
		}
		return kind, credentials.Registration{}, nil
	}
	if in == nil {
		return "", credentials.Registration{}, &problem.Error{
			Kind: problem.Invalid, Code: "registration_missing", Field: "/registration", Detail: "A credential of this kind needs one.",
		}
	}
	r := credentials.Registration{
		KeysURL: value(in.JwksUri), SubjectDN: value(in.SubjectDn), SANDNS: value(in.SanDns), SANURI: value(in.SanUri), SANIP: value(in.SanIp), SANEmail: value(in.SanEmail),
		CertificateThumbprint: value(in.CertificateThumbprint), SPIFFEID: value(in.SpiffeId),
	}
	if in.Algorithms != nil {
		r.Algorithms = mapped(*in.Algorithms, func(alg RegistrationAlgorithms) string { return string(alg) })
	}
	if in.Jwks != nil {
		text, err := json.Marshal(in.Jwks) // of what was read: a member that we do not know was refused
		if err != nil {
			return "", credentials.Registration{}, err
		}
		r.Keys = text
	}
	return kind, r, a.Methods.Admits(kind, r)
}

// registrationBody is nil for a client secret.
func registrationBody(kind string, r credentials.Registration) *Registration {
	if kind == credentials.KindClientSecret {
		return nil
	}
	body := &Registration{
		JwksUri: present(r.KeysURL), SubjectDn: present(r.SubjectDN), SanDns: present(r.SANDNS), SanUri: present(r.SANURI), SanIp: present(r.SANIP), SanEmail: present(r.SANEmail),
		CertificateThumbprint: present(r.CertificateThumbprint), SpiffeId: present(r.SPIFFEID),
	}
	if r.Algorithms != nil {
		algorithms := mapped(r.Algorithms, func(alg string) RegistrationAlgorithms { return RegistrationAlgorithms(alg) })
		body.Algorithms = &algorithms
	}
	var keys ClientKeySet
	if len(r.Keys) > 0 && json.Unmarshal(r.Keys, &keys) == nil { // we wrote it
		body.Jwks = &keys
	}
	return body
}
