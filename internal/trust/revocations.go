package trust

// What a revocation names. These are metric labels and log values.
const (
	RevokedToken        = "token"
	RevokedAgent        = "agent"
	RevokedOrganization = "organization"
	RevokedCredential   = "credential"
	RevokedKey          = "key"
	RevokedIssuer       = "issuer"
	RevokedPartner      = "partner"
)

// always is the watermark of something revoked whenever its tokens were issued.
const always = int64(1<<63 - 1)

// Revocations is the immutable, indexed form of a list, safe for concurrent use.
type Revocations struct {
	sequence      int64
	notUnderstood []string
	agents        watermarks
	organizations watermarks
	issuers       watermarks
	partners      watermarks
	credentials   map[string]struct{}
	keys          map[string]struct{}
	tokens        map[string]struct{}
}

// watermarks says of ids from which second on their tokens live.
type watermarks map[string]int64

// Index builds the set. Where a list names one thing twice the stricter entry counts. A nil list gives an empty set.
func Index(l *RevocationList) *Revocations {
	if l == nil {
		l = &RevocationList{}
	}
	return &Revocations{
		sequence:      l.Sequence,
		notUnderstood: l.NotUnderstood,
		agents:        mark(l.Agents, func(a Agent) (string, int64) { return a.ID, a.IssuedBefore }),
		organizations: mark(l.Organizations, func(o Organization) (string, int64) { return o.ID, o.IssuedBefore }),
		issuers:       mark(l.Issuers, func(i Issuer) (string, int64) { return i.ID, i.IssuedBefore }),
		partners:      mark(l.Partners, func(p Partner) (string, int64) { return p.ID, p.IssuedBefore }),
		credentials:   set(l.Credentials, func(c Credential) string { return c.ID }),
		keys:          set(l.Keys, func(k Key) string { return k.ID }),
		tokens:        set(l.Tokens, func(t Token) string { return t.ID }),
	}
}

// mark turns "issued before" into the first second whose tokens live; 0 in a document means every token.
func mark[T any](entries []T, read func(T) (id string, issuedBefore int64)) watermarks {
	w := make(watermarks, len(entries))
	for _, e := range entries {
		id, before := read(e)
		if before <= 0 {
			before = always
		}
		w[id] = max(w[id], before)
	}
	return w
}

func set[T any](entries []T, id func(T) string) map[string]struct{} {
	s := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		s[id(e)] = struct{}{}
	}
	return s
}

// Sequence of the list the set was built from.
func (r *Revocations) Sequence() int64 { return r.sequence }

// NotUnderstood is that of the list: while it is not empty, what Check does not find may be revoked all the same.
func (r *Revocations) NotUnderstood() []string { return r.notUnderstood }

// Facts are what a list can revoke a token by. What is empty is named by no list.
type Facts struct {
	TokenID        string // jti
	Agent          string // sub
	OrganizationID string
	CredentialID   string // what the token was got with
	KeyID          string // kid of the signing key
	Issuer         string // iss
	PartnerID      string // whose issuer it is
	IssuedAt       int64  // seconds
}

// Check returns what revokes such a token, one of the Revoked constants, or "" when nothing does. It allocates nothing.
func (r *Revocations) Check(f *Facts) string {
	if _, dead := r.tokens[f.TokenID]; dead {
		return RevokedToken
	}
	if f.IssuedAt < r.agents[f.Agent] {
		return RevokedAgent
	}
	if f.IssuedAt < r.organizations[f.OrganizationID] {
		return RevokedOrganization
	}
	if _, dead := r.credentials[f.CredentialID]; dead {
		return RevokedCredential
	}
	if _, dead := r.keys[f.KeyID]; dead {
		return RevokedKey
	}
	if f.IssuedAt < r.issuers[f.Issuer] {
		return RevokedIssuer
	}
	if f.IssuedAt < r.partners[f.PartnerID] {
		return RevokedPartner
	}
	return ""
}
