package credentials

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/issuer/internal/dn"
	"github.com/agentidp/agentidp/issuer/internal/fields"
	"github.com/agentidp/agentidp/issuer/internal/spiffe"
)

// Registration is what a credential that is no secret is checked against. All of it is public. Which members a kind has is for Validate.
type Registration struct {
	Keys       json.RawMessage `json:"jwks,omitempty"`       // RFC 7517 key set
	KeysURL    string          `json:"jwksUri,omitempty"`    // where the key set is
	Algorithms []string        `json:"algorithms,omitempty"` // of assertions

	// Of the names exactly one, RFC 8705 s2.1.2.
	SubjectDN string `json:"subjectDn,omitempty"`
	SANDNS    string `json:"sanDns,omitempty"`
	SANURI    string `json:"sanUri,omitempty"`
	SANIP     string `json:"sanIp,omitempty"`
	SANEmail  string `json:"sanEmail,omitempty"`

	CertificateThumbprint string `json:"certificateThumbprint,omitempty"` // x5t#S256 of the one certificate
	SPIFFEID              string `json:"spiffeId,omitempty"`
}

// Facts are what the audit log says of a registration. Of inline keys it has the thumbprints (RFC 7638).
func (r Registration) Facts() map[string]any {
	facts := make(map[string]any)
	for name, v := range map[string]string{
		"jwksUri": r.KeysURL, "subjectDn": r.SubjectDN, "sanDns": r.SANDNS, "sanUri": r.SANURI, "sanIp": r.SANIP, "sanEmail": r.SANEmail,
		"certificateThumbprint": r.CertificateThumbprint, "spiffeId": r.SPIFFEID,
	} {
		if v != "" {
			facts[name] = v
		}
	}
	if len(r.Algorithms) > 0 {
		facts["algorithms"] = r.Algorithms
	}
	if set, _, err := jose.ParseKeySet(r.Keys); err == nil {
		thumbprints := make([]string, 0, set.Len())
		for _, k := range set.Keys() {
			thumbprints = append(thumbprints, k.Thumbprint())
		}
		facts["keyThumbprints"] = thumbprints
	}
	return facts
}

// Limits of a registration.
const (
	KeysBytesMax     = 32 << 10
	KeysMax          = 8 // enough for two of each algorithm
	KeysURLBytesMax  = 2 << 10
	NameBytesMax     = 512 // of a name in a certificate
	thumbprintLength = 43  // SHA-256 in base64url
)

// AssertionAlgorithms are the algorithms a private_key_jwt credential may be registered for.
func AssertionAlgorithms() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.PS256), string(jose.RS256)}
}

// assertionAlgorithmsDefault leaves RS256 out: FAPI 2.0 Security Profile s5.4.1 forbids it, so whoever needs it has to say so.
func assertionAlgorithmsDefault() []string {
	return []string{string(jose.ES256), string(jose.EdDSA), string(jose.PS256)}
}

// Validate says what is wrong with a registration of a kind, and fills in what has a default.
func (r *Registration) Validate(kind string) error {
	if err := r.checkMembers(kind); err != nil {
		return err
	}
	switch kind {
	case KindPrivateKeyJWT:
		return r.checkAssertion()
	case KindTLS:
		return r.checkNames()
	case KindSelfSignedTLS:
		if r.CertificateThumbprint != "" {
			return checkThumbprint(r.CertificateThumbprint)
		}
		_, err := r.checkKeys()
		return err
	}
	if _, err := spiffe.ParseID(r.SPIFFEID); err != nil {
		return fields.Invalid("/registration/spiffeId", "spiffe_id_format", "must be a SPIFFE ID with a path: "+err.Error())
	}
	return nil
}

// registrationField is where a registration is in the admin API.
const registrationField = "/registration/"

// members of a registration: the name in the admin API, and the kinds that have it.
func (r *Registration) members() []struct {
	field string
	given bool
	kinds []string
} {
	name := []string{KindTLS}
	return []struct {
		field string
		given bool
		kinds []string
	}{
		{"jwks", r.Keys != nil, []string{KindPrivateKeyJWT, KindSelfSignedTLS}},
		{"jwksUri", r.KeysURL != "", []string{KindPrivateKeyJWT, KindSelfSignedTLS}},
		{"algorithms", r.Algorithms != nil, []string{KindPrivateKeyJWT}},
		{"subjectDn", r.SubjectDN != "", name},
		{"sanDns", r.SANDNS != "", name},
		{"sanUri", r.SANURI != "", name},
		{"sanIp", r.SANIP != "", name},
		{"sanEmail", r.SANEmail != "", name},
		{"certificateThumbprint", r.CertificateThumbprint != "", []string{KindSelfSignedTLS}},
		{"spiffeId", r.SPIFFEID != "", []string{KindSPIFFEJWT, KindSPIFFEX509}},
	}
}

// checkMembers wants of each kind's alternatives exactly one, and nothing that belongs to another kind.
func (r *Registration) checkMembers(kind string) error {
	var alternatives []string
	given := 0
	for _, m := range r.members() {
		of := slices.Contains(m.kinds, kind)
		if m.given && !of {
			return fields.Invalid(registrationField+m.field, "other_kind", "does not belong to a credential of kind "+kind)
		}
		if of && m.field != "algorithms" {
			alternatives = append(alternatives, m.field)
			if m.given {
				given++
			}
		}
	}
	switch {
	case len(alternatives) == 0:
		return fields.Invalid("/kind", "kind_unknown", "there is no such kind of credential")
	case given != 1:
		return fields.Invalid("/registration", "registration_members", "give exactly one of "+strings.Join(alternatives, ", "))
	}
	return nil
}

func (r *Registration) checkAssertion() error {
	if r.Algorithms == nil {
		r.Algorithms = assertionAlgorithmsDefault()
	}
	if len(r.Algorithms) == 0 {
		return fields.Invalid("/registration/algorithms", "algorithms_count", "must name at least one")
	}
	for i, a := range r.Algorithms {
		if !slices.Contains(AssertionAlgorithms(), a) {
			return fields.Invalid(fmt.Sprintf("/registration/algorithms/%d", i), "algorithm_unknown", "must be one of "+strings.Join(AssertionAlgorithms(), ", "))
		}
	}
	keys, err := r.checkKeys()
	if err != nil {
		return err
	}
	for _, k := range keys.Keys() {
		if !slices.Contains(r.Algorithms, string(k.Algorithm())) {
			return fields.Invalid("/registration/jwks/keys", "key_algorithm",
				fmt.Sprintf("has a key for %s (an RSA key that does not say alg is for RS256), which algorithms does not have", k.Algorithm()))
		}
	}
	return nil
}

// checkKeys wants every key of a key set in order: what is left out silently today is an agent that cannot sign in tomorrow.
func (r *Registration) checkKeys() (*jose.KeySet, error) {
	if r.KeysURL != "" {
		return nil, checkKeysURL(r.KeysURL)
	}
	if len(r.Keys) > KeysBytesMax {
		return nil, fields.Invalid("/registration/jwks", "jwks_length", fmt.Sprintf("must have at most %d bytes", KeysBytesMax))
	}
	set, problems, err := jose.ParseKeySet(r.Keys)
	switch {
	case err != nil:
		return nil, fields.Invalid("/registration/jwks", "jwks_format", "is no key set")
	case len(problems) > 0:
		return nil, fields.Invalid(fmt.Sprintf("/registration/jwks/keys/%d", problems[0].Index), "key_refused", problems[0].Reason)
	case set.Len() == 0 || set.Len() > KeysMax:
		return nil, fields.Invalid("/registration/jwks/keys", "keys_count", fmt.Sprintf("must have 1 to %d keys", KeysMax))
	}
	return set, nil
}

// checkKeysURL is about the text alone; where it leads is judged when it is asked (internal/fetch).
func checkKeysURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > KeysURLBytesMax || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(text, "#") {
		return fields.Invalid("/registration/jwksUri", "jwks_uri_format", "must be an https URL without user information and fragment")
	}
	return nil
}

// checkNames wants the spelling that names are compared in.
func (r *Registration) checkNames() error {
	for _, n := range []struct{ field, name string }{
		{"subjectDn", r.SubjectDN}, {"sanDns", r.SANDNS}, {"sanUri", r.SANURI}, {"sanIp", r.SANIP}, {"sanEmail", r.SANEmail},
	} {
		if len(n.name) > NameBytesMax {
			return fields.Invalid(registrationField+n.field, "certificate_name_length", fmt.Sprintf("must have at most %d bytes", NameBytesMax))
		}
	}
	if r.SubjectDN != "" {
		if _, err := dn.Parse(r.SubjectDN); err != nil {
			return fields.Invalid("/registration/subjectDn", "subject_dn_format", err.Error())
		}
	}
	if r.SANIP != "" {
		if a, err := netip.ParseAddr(r.SANIP); err != nil || a.String() != r.SANIP || a.Zone() != "" {
			return fields.Invalid("/registration/sanIp", "san_ip_format", "must be an IP address in its shortest form")
		}
	}
	if r.SANDNS != strings.ToLower(r.SANDNS) || strings.ContainsAny(r.SANDNS, "* ") {
		return fields.Invalid("/registration/sanDns", "san_dns_format", "must be one name in lower case, without a wildcard")
	}
	if r.SANURI != "" {
		if u, err := url.Parse(r.SANURI); err != nil || !u.IsAbs() {
			return fields.Invalid("/registration/sanUri", "san_uri_format", "must be an absolute URI")
		}
	}
	return nil
}

func checkThumbprint(s string) error {
	if len(s) != thumbprintLength || strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) >= 0 {
		return fields.Invalid("/registration/certificateThumbprint", "thumbprint_format", "must be the SHA-256 of the certificate's DER in base64url, 43 characters")
	}
	return nil
}
