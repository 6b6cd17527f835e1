package identity

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/internal/jose"
	"github.com/agentidp/agentidp/internal/policy"
)

const (
	identifierBytesMax = 512 // sub, iss, client_id, organization: what fits a header of its own
	scopesMax          = 256
	actorsMax          = 8 // links of an act chain
)

// The claims read here. Each other spelling of them in upper or lower case is refused: some reader takes it for the claim.
const (
	claimOrganization = "org_id"
	claimClient       = "client_id" // RFC 8693 s4.3, RFC 9068 s2.2
	claimScope        = "scope"     // RFC 8693 s4.2
	claimAgent        = "agent"
	claimActor        = "act"           // RFC 8693 s4.1
	claimConfirmation = "cnf"           // RFC 7800
	claimCredential   = "credential_id" // ours (docs/api.md); policies see it among the other claims
)

var ownClaims = []string{claimOrganization, claimClient, claimScope, claimAgent, claimActor, claimConfirmation}

// read makes an Identity of verified claims. pinned is the one organization the issuer speaks for, or ""; partner is whose issuer it is, or "".
func (i *Identity) read(c *jose.Claims, pinned, partner string) *Refusal {
	*i = Identity{
		Subject: c.Subject, Issuer: c.Issuer, Origin: OriginLocal, Confirmation: ConfirmationNone,
		TokenID: c.ID, KeyID: c.KeyID, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, NotBefore: c.NotBefore, PartnerID: partner,
	}
	if partner != "" {
		i.Origin = OriginFederated
	}
	for _, read := range []func(map[string]any) *Refusal{refuseSpellings, i.readConfirmation, i.readClient, i.readCredential, i.readScope} {
		if refusal := read(c.Extra); refusal != nil {
			return refusal
		}
	}
	if refusal := i.readOrganization(c.Extra, pinned); refusal != nil {
		return refusal
	}
	agent, refusal := i.readAgent(c.Extra)
	if refusal != nil {
		return refusal
	}
	actors, refusal := i.readActors(c.Extra)
	if refusal != nil {
		return refusal
	}
	var err error
	if i.document, err = i.pack(c, agent, actors); err != nil {
		return refuse(ReasonClaims, "a claim holds what a policy cannot be shown")
	}
	i.settle()
	i.caller = checkresp.Describe(checkresp.Agent{
		ID: i.Subject, Organization: i.OrganizationID, Issuer: i.Issuer, ClientID: i.ClientID,
		Name: i.AgentName, Origin: i.Origin, Scopes: i.Scopes,
	})
	return nil
}

func refuseSpellings(claims map[string]any) *Refusal {
	for name := range claims {
		for _, own := range ownClaims {
			if name != own && strings.EqualFold(name, own) {
				return refuse(ReasonClaims, "a claim name in the wrong case")
			}
		}
		if name != claimCredential && strings.EqualFold(name, claimCredential) {
			return refuse(ReasonClaims, "a claim name in the wrong case")
		}
	}
	return nil
}

func (i *Identity) readClient(claims map[string]any) *Refusal {
	v, ok := claims[claimClient]
	if !ok {
		return nil
	}
	if i.ClientID, ok = v.(string); !ok || !isIdentifier(i.ClientID) {
		return refuse(ReasonClaims, "client_id is not a visible ASCII string")
	}
	return nil
}

func (i *Identity) readCredential(claims map[string]any) *Refusal {
	var ok bool
	if i.CredentialID, ok = optionalIdentifier(claims, claimCredential); !ok {
		return refuse(ReasonClaims, "credential_id is not a visible ASCII string")
	}
	return nil
}

// readScope reads RFC 6749 s3.3: tokens separated by single spaces. The empty string is no scope at all.
func (i *Identity) readScope(claims map[string]any) *Refusal {
	v, ok := claims[claimScope]
	if !ok {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		return refuse(ReasonClaims, "scope is not a string")
	}
	if text == "" {
		return nil
	}
	i.Scopes = strings.Split(text, " ")
	if len(i.Scopes) > scopesMax {
		return refuse(ReasonClaims, "more than 256 scopes")
	}
	for _, s := range i.Scopes {
		if !isIdentifier(s) || strings.ContainsAny(s, `"\`) {
			return refuse(ReasonClaims, "scope is not a list of scope tokens")
		}
	}
	return nil
}

// readOrganization lets an issuer speak for the organization it is trusted for, and for no other.
func (i *Identity) readOrganization(claims map[string]any, pinned string) *Refusal {
	v, present := claims[claimOrganization]
	claimed, ok := v.(string)
	switch {
	case present && (!ok || !isIdentifier(claimed)):
		return refuse(ReasonClaims, "org_id is not a visible ASCII string")
	case pinned == "" && !present:
		return refuse(ReasonOrganization, "the token names no organization")
	case pinned != "" && present && claimed != pinned:
		return refuse(ReasonOrganization, "the issuer does not speak for this organization")
	case pinned != "":
		i.OrganizationID = pinned
	default:
		i.OrganizationID = claimed
	}
	return nil
}

func (i *Identity) readAgent(claims map[string]any) (map[string]any, *Refusal) {
	v, ok := claims[claimAgent]
	if !ok {
		return nil, nil
	}
	agent, ok := v.(map[string]any)
	if !ok {
		return nil, refuse(ReasonClaims, "agent is not an object")
	}
	name, ok := agent["name"]
	if !ok {
		return agent, nil
	}
	if i.AgentName, ok = name.(string); !ok {
		return nil, refuse(ReasonClaims, "agent.name is not a string")
	}
	return agent, nil
}

// readActors flattens the act chain (RFC 8693 s4.1), nearest actor first. An actor that comes again would let a chain say
// that somebody acts for himself.
func (i *Identity) readActors(claims map[string]any) ([]any, *Refusal) {
	var actors []any
	seen := make(map[[2]string]bool)
	for next, more := claims[claimActor]; more; {
		link, ok := next.(map[string]any)
		if !ok {
			return nil, refuse(ReasonClaims, "act is not an object")
		}
		if len(actors) == actorsMax {
			return nil, refuse(ReasonClaims, "more than 8 actors")
		}
		subject, ok := link["sub"].(string)
		if !ok || !isIdentifier(subject) {
			return nil, refuse(ReasonClaims, "an actor without a visible ASCII sub")
		}
		issuer, refusal := i.readLink(link)
		if refusal != nil {
			return nil, refusal
		}
		who := [2]string{issuer, subject}
		if seen[who] {
			return nil, refuse(ReasonClaims, "an actor comes twice")
		}
		seen[who] = true
		actor := maps.Clone(link)
		delete(actor, claimActor)
		actors = append(actors, actor)
		i.Actors = append(i.Actors, subject)
		next, more = link[claimActor]
	}
	return actors, nil
}

// pack makes the document. Its members are in the order of their names.
func (i *Identity) pack(c *jose.Claims, agent map[string]any, actors []any) (policy.Packed, error) {
	rest := maps.Clone(c.Extra)
	if rest == nil {
		rest = make(map[string]any, 2)
	}
	for _, own := range ownClaims {
		delete(rest, own)
	}
	audience := make([]any, len(c.Audience))
	for n, a := range c.Audience {
		audience[n] = a
	}
	rest["aud"] = audience
	if c.NotBefore != 0 {
		rest["nbf"] = json.Number(strconv.FormatInt(c.NotBefore, 10))
	}
	if actors == nil {
		actors = []any{}
	}
	var p policy.Packer
	text := func(name, value string) { p.Name(name); p.String(value) }
	p.Object(documentMembers)
	p.Name("actors")
	p.Any(actors)
	p.Name("agent")
	p.Any(orEmpty(agent))
	p.Name("claims")
	p.Any(rest)
	text("clientId", i.ClientID)
	text("confirmation", i.Confirmation)
	p.Name("expiresAt")
	p.Int(i.ExpiresAt)
	p.Name("issuedAt")
	p.Int(i.IssuedAt)
	text("issuer", i.Issuer)
	text("organizationId", i.OrganizationID)
	text("origin", i.Origin)
	p.Name("scopes")
	p.Strings(i.Scopes)
	text("subject", i.Subject)
	text("tokenId", i.TokenID)
	return p.Packed()
}

const documentMembers = 13

// settle lets go of the token's payload: what the identity says is part of the document, or a copy.
func (i *Identity) settle() {
	for _, s := range []*string{
		&i.Subject, &i.OrganizationID, &i.Issuer, &i.ClientID, &i.AgentName, &i.TokenID, &i.CredentialID,
		&i.Binding.KeyThumbprint, &i.Binding.CertificateSHA256, &i.Binding.SPIFFEID,
	} {
		*s = i.within(*s)
	}
	for _, list := range [][]string{i.Scopes, i.Actors} {
		for n := range list {
			list[n] = i.within(list[n])
		}
	}
	for n := range i.links {
		l := &i.links[n]
		l.issuer, l.organization, l.credential = i.within(l.issuer), i.within(l.organization), i.within(l.credential)
	}
}

func (i *Identity) within(s string) string {
	if at := strings.Index(i.document.Text(), s); at >= 0 {
		return i.document.Text()[at : at+len(s)]
	}
	return strings.Clone(s)
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// isIdentifier accepts what can stand in a header of its own without being changed: 1 to 512 visible ASCII characters.
func isIdentifier(s string) bool {
	if s == "" || len(s) > identifierBytesMax {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
