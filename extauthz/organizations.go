package extauthz

import (
	"context"
	"errors"

	"github.com/agentidp/agentidp/extauthz/internal/checkresp"
	"github.com/agentidp/agentidp/extauthz/internal/decide"
	"github.com/agentidp/agentidp/extauthz/internal/decisionlog"
	"github.com/agentidp/agentidp/extauthz/internal/orgpolicy"
)

// Reasons of the policies of organizations. They are not those of the mesh policy: whoever is called at night must know whose it is.
const (
	reasonOrgDenied     = "organization_denied"
	reasonOrgLoading    = "organization_policy_loading"
	reasonOrgBroken     = "organization_policy_broken"
	reasonOrgTimeout    = "organization_policy_timeout"
	reasonOrgOverloaded = "organization_policy_overloaded"
	reasonOrgUndefined  = "organization_policy_undefined"
	reasonOrgFailed     = "organization_policy_failed"
	reasonOrgDecision   = "organization_policy_decision"
	reasonOrgInput      = "organization_policy_input"
)

// orgFaults are the reasons of decide as they are called here.
var orgFaults = map[decide.Reason]string{
	decide.ReasonTimeout: reasonOrgTimeout, decide.ReasonOverloaded: reasonOrgOverloaded, decide.ReasonUndefined: reasonOrgUndefined,
	decide.ReasonFailed: reasonOrgFailed, decide.ReasonDecision: reasonOrgDecision, decide.ReasonInput: reasonOrgInput,
}

// narrowing is what the policy of the caller's organization made of a request that the mesh policy allows.
type narrowing struct {
	asked    bool
	policy   *orgpolicy.InForce // nil: there was none to ask
	decision *decide.Decision   // nil: it had none
	result   string
}

// registerOrganizations makes the metrics of the policies of organizations known.
func (s *Server) registerOrganizations() error {
	if s.options.Organizations == nil {
		return nil
	}
	return registerAll(s.options.Registerer, s.options.Organizations)
}

// settle concludes with the decision of the mesh policy and, where that allows, with the one of the caller's organization. Both must
// allow; an organization without a policy narrows nothing.
func (s *Server) settle(ctx context.Context, c *call, d *decide.Decision) {
	if d.Allowed && c.identity != nil {
		if o := s.options.Organizations.Find(c.identity.OrganizationID); o != nil {
			s.narrow(ctx, c, d, o)
			return
		}
	}
	c.conclude(d, s.options.Identity)
}

func (s *Server) narrow(ctx context.Context, c *call, mesh *decide.Decision, o *orgpolicy.Organization) {
	p, err := o.InForce(c.started)
	if p == nil && err == nil {
		if c.postponed = c.atOnce; c.postponed {
			return // waiting is work
		}
		p, err = o.Await(ctx)
	}
	c.decision = mesh
	c.org = narrowing{asked: true, policy: p, result: resultUndecided}
	if err != nil {
		c.giveUp(orgMissing(err), err)
		return
	}
	d, fault := s.askOrganization(ctx, c, p)
	switch {
	case d != nil:
		s.combine(c, mesh, d)
	case fault != nil:
		c.giveUp(orgFaults[fault.Reason], fault.Err)
	}
}

func orgMissing(err error) string {
	if errors.Is(err, orgpolicy.ErrBroken) {
		return reasonOrgBroken
	}
	return reasonOrgLoading
}

// askOrganization asks a policy of an organization, or what is remembered of it. It returns neither a decision nor a fault when the call
// is postponed, or was concluded as a request nobody can read.
func (s *Server) askOrganization(ctx context.Context, c *call, p *orgpolicy.InForce) (*decide.Decision, *decide.Fault) {
	subject := s.organizationSubject(c)
	if c.atOnce {
		var known *decide.Decision
		if s.decisions != nil {
			known = s.decisions.Recall(p.Evaluator(), subject)
		}
		c.postponed = known == nil
		return known, nil
	}
	d, refusal, fault := s.stages.decide(ctx, p.Evaluator(), subject)
	if refusal != nil {
		c.org.result = resultDenied
		c.refuseRequest(refusal)
	}
	return d, fault
}

// organizationSubject is what policies of organizations are asked about.
func (s *Server) organizationSubject(c *call) decide.Subject {
	subject := s.subject(c)
	subject.ShowAuth = false // whatever the mesh policy is shown: a token is good at other services, too
	return subject
}

// combine answers by two decisions of which the first allows. A policy that asks for a change it may not make has no decision.
func (s *Server) combine(c *call, mesh, org *decide.Decision) {
	c.org.decision = org
	if !org.Allowed {
		denial := *org
		var err error
		if denial.Changes, err = org.Changes.Apart(); err != nil {
			c.giveUp(reasonOrgDecision, err)
			return
		}
		c.org.result = resultDenied
		c.refuse(&denial, s.options.Identity, reasonOrgDenied)
		return
	}
	changes, err := mesh.Changes.Narrowed(org.Changes, s.options.OrganizationHeaders)
	if err != nil {
		c.giveUp(reasonOrgDecision, err)
		return
	}
	c.org.result = resultAllowed
	c.allow(changes)
}

// record is what a decision log is told of it; nil when no organization was asked.
func (n *narrowing) record(c *call, path string) *decisionlog.Organization {
	if !n.asked {
		return nil
	}
	r := &decisionlog.Organization{ID: c.identity.OrganizationID, Path: path, Result: n.result}
	if n.policy != nil {
		r.Revision = n.policy.Revision()
	}
	if n.decision != nil {
		r.Decision, r.Code = n.decision.Result, n.decision.Reason.Code
	}
	return r
}

// ofMesh is the record as it would be if no organization had been asked: what a candidate for the mesh policy is compared with.
func ofMesh(r decisionlog.Record) decisionlog.Record {
	if r.Organization != nil {
		r.Result, r.Reason, r.Code, r.Status, r.Err, r.Organization = resultAllowed, reasonAllowed, "", 0, "", nil
	}
	return r
}

// ofOrganization is the record with the organization's decision as what a candidate for its policy is compared with.
func ofOrganization(r decisionlog.Record) decisionlog.Record {
	r.Result = r.Organization.Result
	return r
}

// allow concludes that the request may pass, with these changes.
func (c *call) allow(changes checkresp.Changes) checkresp.Answer {
	c.answer = checkresp.Allow(checkresp.Grant{DecisionID: c.id, Caller: c.identity.Caller(), Strip: c.request.Strip, Changes: changes, Quotas: c.quotas, Nonce: c.nonce})
	c.result, c.reason, c.status = resultAllowed, reasonAllowed, 0
	return c.answer
}
