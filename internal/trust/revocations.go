package trust

// What a revocation names. These are metric labels and log values.
const (
	RevokedToken        = "token"
	RevokedAgent        = "agent"
	RevokedOrganization = "organization"
	RevokedKey          = "key"
)

// always is the watermark of something revoked whenever its tokens were issued.
const always = int64(1<<63 - 1)

// Revocations is the immutable, indexed form of a list, safe for concurrent use.
type Revocations struct {
	sequence      int64
	agents        map[string]int64 // tokens issued before this second are dead
	organizations map[string]int64
	keys          map[string]struct{}
	tokens        map[string]struct{}
}

// Index builds the set. Where a list names one thing twice the stricter entry counts. A nil list gives an empty set.
func Index(l *RevocationList) *Revocations {
	if l == nil {
		l = &RevocationList{}
	}
	r := &Revocations{
		sequence:      l.Sequence,
		agents:        make(map[string]int64, len(l.Agents)),
		organizations: make(map[string]int64, len(l.Organizations)),
		keys:          make(map[string]struct{}, len(l.Keys)),
		tokens:        make(map[string]struct{}, len(l.Tokens)),
	}
	for _, a := range l.Agents {
		r.agents[a.ID] = max(r.agents[a.ID], watermark(a.IssuedBefore))
	}
	for _, o := range l.Organizations {
		r.organizations[o.ID] = max(r.organizations[o.ID], watermark(o.IssuedBefore))
	}
	for _, k := range l.Keys {
		r.keys[k.ID] = struct{}{}
	}
	for _, t := range l.Tokens {
		r.tokens[t.ID] = struct{}{}
	}
	return r
}

// watermark turns "issued before" into the first second whose tokens live; 0 in a document means every token.
func watermark(issuedBefore int64) int64 {
	if issuedBefore <= 0 {
		return always
	}
	return issuedBefore
}

// Sequence of the list the set was built from.
func (r *Revocations) Sequence() int64 { return r.sequence }

// Check returns what revokes this token, RevokedToken, RevokedAgent, RevokedOrganization or RevokedKey, or "" when
// nothing does. It allocates nothing.
func (r *Revocations) Check(subject, organizationID, keyID, tokenID string, issuedAt int64) string {
	if _, dead := r.tokens[tokenID]; dead {
		return RevokedToken
	}
	if issuedAt < r.agents[subject] {
		return RevokedAgent
	}
	if issuedAt < r.organizations[organizationID] {
		return RevokedOrganization
	}
	if _, dead := r.keys[keyID]; dead {
		return RevokedKey
	}
	return ""
}
