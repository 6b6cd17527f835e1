package identity

import (
	"time"

	"github.com/agentidp/agentidp/extauthz/internal/state"
	"github.com/agentidp/agentidp/internal/trust"
)

// Forget drops the remembered tokens that would be refused for good now, so that what is dead takes up no memory, and returns how many they were.
// Nothing else depends on it: each use of what is remembered is checked.
func (v *Verifier) Forget(s *state.Snapshot, now time.Time) int {
	var dead []*verdict
	v.cache.each(func(d *verdict) {
		issuer := s.Issuers[d.identity.Issuer]
		if issuer == nil || !d.holdsUnder(issuer) {
			dead = append(dead, d)
		} else if refusal := d.identity.check(s, issuer, now); refusal != nil && !refusal.Undecided {
			dead = append(dead, d)
		}
	})
	for _, d := range dead {
		v.cache.drop(d)
	}
	return len(dead)
}

// link is what an actor of the act chain may say beside its sub, by the names the claims have in a token.
type link struct{ issuer, organization, credential string }

// readLink reads what an actor can be revoked by, and returns its issuer. It is called once for each of Actors, before it is added.
func (i *Identity) readLink(claims map[string]any) (string, *Refusal) {
	var l link
	for _, c := range []struct {
		into *string
		name string
	}{{&l.issuer, "iss"}, {&l.organization, claimOrganization}, {&l.credential, claimCredential}} {
		var ok bool
		if *c.into, ok = optionalIdentifier(claims, c.name); !ok {
			return "", refuse(ReasonClaims, "an actor whose iss, org_id or credential_id is not visible ASCII")
		}
	}
	if i.links == nil && l == (link{}) {
		return "", nil
	}
	for len(i.links) < len(i.Actors) {
		i.links = append(i.links, link{})
	}
	i.links = append(i.links, l)
	return l.issuer, nil
}

// optionalIdentifier is "" for a claim that is absent, and not ok for one that cannot be compared.
func optionalIdentifier(claims map[string]any, name string) (string, bool) {
	v, present := claims[name]
	if !present {
		return "", true
	}
	s, ok := v.(string)
	return s, ok && isIdentifier(s)
}

// checkRevoked asks what the issuer's list says about the token, what the list of the issuer it is a partner of says about issuer
// and partner, and what both say about each actor: a delegated token dies with whoever acts by it, not only with whom it
// speaks for. An actor of another issuer that is trusted here is asked about there as well.
//
// What is known to be revoked is refused for good, also by an old list; only then it counts that a list is missing or old.
func (i *Identity) checkRevoked(s *state.Snapshot, issuer *state.Issuer, now time.Time) *Refusal {
	worst := ask(s, issuer, &trust.Facts{
		TokenID: i.TokenID, Agent: i.Subject, OrganizationID: i.OrganizationID, CredentialID: i.CredentialID, KeyID: i.KeyID,
		Issuer: i.Issuer, IssuedAt: i.IssuedAt,
	}, now)
	for n, actor := range i.Actors {
		facts := trust.Facts{Agent: actor, Issuer: i.Issuer, IssuedAt: i.IssuedAt}
		if i.links != nil {
			l := &i.links[n]
			facts.OrganizationID, facts.CredentialID = l.organization, l.credential
			if l.issuer != "" {
				facts.Issuer = l.issuer
			}
		}
		worst = graver(worst, ask(s, issuer, &facts, now))
		if facts.Issuer == i.Issuer {
			continue
		}
		if elsewhere := s.Issuers[facts.Issuer]; elsewhere != nil {
			worst = graver(worst, ask(s, elsewhere, &facts, now))
		}
	}
	return worst
}

// ask asks the lists that speak about an issuer's tokens: its own, and for a partner's that of the issuer it is a partner of. The
// latter may speak about the issuer and the partner, and about nothing inside of them.
func ask(s *state.Snapshot, issuer *state.Issuer, facts *trust.Facts, now time.Time) *Refusal {
	if facts.IssuedAt < issuer.TokensNotBefore {
		return refuse(ReasonRevokedIssuer, "the issuer's tokens from before a time are not accepted here")
	}
	own := askList(issuer, facts, now)
	if issuer.PartnerOf == "" {
		return own
	}
	home := s.Issuers[issuer.PartnerOf]
	if home == nil {
		return graver(own, undecided(ReasonRevocationsMissing, "the issuer that speaks about the partner is not known"))
	}
	return graver(own, askList(home, &trust.Facts{Issuer: facts.Issuer, PartnerID: issuer.PartnerID, IssuedAt: facts.IssuedAt}, now))
}

func askList(issuer *state.Issuer, facts *trust.Facts, now time.Time) *Refusal {
	if issuer.Revocations == nil {
		if !issuer.HasRevocations {
			return nil
		}
		return undecided(ReasonRevocationsMissing, "the issuer's revocation list is not loaded yet")
	}
	if what := issuer.Revocations.Check(facts); what != "" {
		return revoked(what)
	}
	if stale(issuer.RevocationsUntil, now) {
		return undecided(ReasonRevocationsStale, "the issuer's revocation list is too old to be used")
	}
	return nil
}

// graver is the refusal that counts: one for good before one that is our ignorance.
func graver(a, b *Refusal) *Refusal {
	if a == nil || a.Undecided && b != nil && !b.Undecided {
		return b
	}
	return a
}
