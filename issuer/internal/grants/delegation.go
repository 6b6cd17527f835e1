package grants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/issuer/internal/agents"
	"github.com/agentidp/agentidp/issuer/internal/oauth"
	"github.com/agentidp/agentidp/issuer/internal/tokens"
)

// speakFor makes the token one about the subject, in which the client acts.
func (x *exchange) speakFor(ctx context.Context, r *Request, subject *ownToken, a *tokens.Authorization) error {
	client := r.Agent.ID.String()
	if subject.Claims.Subject == client {
		if len(subject.Actors) > 0 { // somebody acts for the client, and the client would act through them
			return unacceptable("subject_token", errors.New("the client would act for itself"))
		}
		if subject.Credential != r.Agent.Credential { // the token would die with one of the two
			return unacceptable("subject_token", errors.New("got with another credential of the client's"))
		}
		if subject.ofRelyingParty() { // in a token of its own nothing would say that it is the relying party's
			return unacceptable("subject_token", errors.New("a relying party's token about the client itself"))
		}
		a.Subject = &tokens.Subject{ID: client, Agent: &a.Agent, Credential: subject.Credential}
		return nil
	}
	chain, err := x.extend(r, subject)
	if err != nil {
		return unacceptable("subject_token", err)
	}
	a.Actor = link(chain)
	a.Subject = &tokens.Subject{ID: subject.Claims.Subject}
	id, err := agentid.Parse[agentid.Agent](subject.Claims.Subject)
	if err == nil {
		agent, err := x.live(ctx, r, id)
		if err != nil {
			return err
		}
		a.Subject.Agent, a.Subject.Credential = &agent, subject.Credential
	}
	r.Issuance.Details = map[string]any{"subject": subject.Claims.Subject, "subjectTokenId": subject.Claims.ID, "actors": len(chain)}
	if !subject.SignIn.IsZero() {
		a.SignIn, r.Issuance.MadeOf, r.Issuance.Details["signInId"] = subject.SignIn, subject.SignIn, subject.SignIn.String()
	}
	return nil
}

// live is the record of the subject as it is now: the token speaks of what the agent is, and not of what it was.
func (x *exchange) live(ctx context.Context, r *Request, id agentid.Agent) (agents.Agent, error) {
	agent, err := x.Agents.Get(ctx, id)
	switch {
	case problem.KindOf(err) == problem.NotFound:
		return agents.Agent{}, unacceptable("subject_token", err)
	case err != nil:
		return agents.Agent{}, oauth.From(err)
	case agent.OrganizationID != r.Agent.OrganizationID || agent.Status != agents.Active:
		return agents.Agent{}, unacceptable("subject_token", errors.New("the subject is not active"))
	}
	return agent, nil
}

// extend puts the client in front of those who act already, nearest first (RFC 8693 s4.1); a relying party to which the subject token was issued is one of them. A client that is the nearest already stays where it is. Whoever would come a second time, or acts for
// itself, is a circle, in which nobody could say any more who asked whom.
func (x *exchange) extend(r *Request, subject *ownToken) ([]tokens.Actor, error) {
	client := tokens.Actor{
		Subject: r.Agent.ID.String(), OrganizationID: r.Agent.OrganizationID.String(), CredentialID: r.Agent.Credential.String(),
	}
	before := subject.Actors
	if namesRelyingParty(subject.ClientID) { // such a token has no other actor
		before = append(before, tokens.Actor{Subject: subject.ClientID, OrganizationID: client.OrganizationID, CredentialID: subject.SignIn.String()})
	}
	if len(before) > 0 && before[0].Issuer == "" && before[0].Subject == client.Subject {
		if before[0].CredentialID != client.CredentialID {
			return nil, errors.New("the client acts in it by another credential")
		}
		before = before[1:]
	}
	chain := append([]tokens.Actor{client}, before...)
	if len(chain) > x.ActorsMax {
		return nil, errors.New("too many actors")
	}
	type who struct{ issuer, subject string }
	seen := map[who]bool{{"", subject.Claims.Subject}: true}
	for _, actor := range chain {
		w := who{actor.Issuer, actor.Subject}
		if seen[w] {
			return nil, errors.New("an actor would come twice")
		}
		seen[w] = true
	}
	return chain, nil
}

// link nests a chain.
func link(chain []tokens.Actor) *tokens.Actor {
	var head *tokens.Actor
	for _, actor := range slices.Backward(chain) {
		actor.Actor = head
		head = &actor
	}
	return head
}

// narrow leaves of what the client may ask for what the subject and its token allow: no audience, no scope, no detail and no second more. What was asked for by name is refused when it would be more.
func narrow(r *Request, subject *ownToken, a *tokens.Authorization) error {
	if err := narrowTargets(r, subject, a); err != nil {
		return err
	}
	more := func(s string) bool { return !slices.Contains(subject.Scopes, s) }
	switch {
	case r.Form.Get("scope") == "":
		a.Scopes = slices.DeleteFunc(slices.Clone(a.Scopes), more)
	case slices.ContainsFunc(a.Scopes, more):
		return &oauth.Error{Code: oauth.InvalidScope, Description: "The subject_token does not allow one of these scopes."}
	}
	if end := subject.expires(); a.NotAfter.IsZero() || end.Before(a.NotAfter) {
		a.NotAfter = end
	}
	if issued := subject.issued(); issued.After(a.NotBefore) {
		a.NotBefore = issued
	}
	if subject.Confirmation.CertificateSHA256 != "" {
		a.Confirmation.CertificateSHA256 = r.Certificate // what was bound stays bound
	}
	allowed, _ := subject.Claims.Extra["authorization_details"].([]any)
	return narrowDetails(allowed, a)
}

// narrowTargets leaves of the client's audiences those that the subject may be spoken of at: an agent's where its record lets it ask for tokens itself, as the record is now. Nothing like it is
// known of somebody else's subject, and a relying party was granted no more than its token is for: what comes of their tokens stays with the audiences of those. Without a target it is the first
// that is left.
func narrowTargets(r *Request, subject *ownToken, a *tokens.Authorization) error {
	agent := a.Subject.Agent
	more := func(audience string) bool {
		return agent != nil && !slices.Contains(agent.Audiences, audience) ||
			(agent == nil || subject.ofRelyingParty()) && !slices.Contains(subject.Claims.Audience, audience)
	}
	if len(exchangeTargets(r.Form)) == 0 {
		a.Audience = slices.DeleteFunc(slices.Clone(r.Agent.Audiences), more)
		a.Audience = a.Audience[:min(len(a.Audience), 1)]
	}
	if len(a.Audience) == 0 || slices.ContainsFunc(a.Audience, more) {
		return &oauth.Error{Code: oauth.InvalidTarget, Description: "Tokens about the subject of the subject_token may not be asked for this resource."}
	}
	return nil
}

// narrowDetails takes the details of what the token is made from when none are asked for. Which of two objects allows less only their resource could say, so those that are asked for must be among them.
func narrowDetails(allowed []any, a *tokens.Authorization) error {
	if a.Details == nil {
		if len(allowed) == 0 {
			return nil
		}
		var err error
		a.Details, err = json.Marshal(allowed)
		return err
	}
	asked, err := detailsList(a.Details)
	if err != nil {
		return err
	}
	for _, detail := range asked {
		if !slices.ContainsFunc(allowed, func(d any) bool { return reflect.DeepEqual(d, detail) }) {
			return &oauth.Error{Code: oauth.InvalidAuthorizationDetails, Description: "What the token is made from does not have one of these authorization_details."}
		}
	}
	return nil
}

// detailsList is what authorization_details list, with numbers as they were written. nil lists nothing.
func detailsList(details json.RawMessage) (list []any, err error) {
	if details == nil {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(details))
	decoder.UseNumber()
	return list, decoder.Decode(&list)
}
