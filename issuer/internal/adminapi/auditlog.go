package adminapi

import (
	"net/http"
	"regexp"

	"github.com/agentidp/agentidp/internal/agentid"
	"github.com/agentidp/agentidp/internal/problem"
	"github.com/agentidp/agentidp/internal/web"
	"github.com/agentidp/agentidp/issuer/internal/audit"
)

// Forms of the filters, as the contract has them.
var (
	actionForm = regexp.MustCompile(`^[a-z_]{1,31}\.[a-z_]{1,32}$`)
	targetForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// ListAuditRecords implements GET /audit.
func (a *API) ListAuditRecords(w http.ResponseWriter, r *http.Request) {
	web.JSON(a.listAuditRecords)(w, r)
}

func (a *API) listAuditRecords(r *http.Request, _ web.None) (reply web.Reply[AuditRecordList], err error) {
	q, err := web.ParseQuery(r, organizationIDParam, "action", "target", "since", "until", pageSizeParam, pageTokenParam)
	if err != nil {
		return reply, err
	}
	var org agentid.Organization // zero: the instance's own log
	if q.Has(organizationIDParam) {
		if org, err = web.ID(q, organizationIDParam, agentid.Parse[agentid.Organization]); err != nil {
			return reply, err
		}
	}
	filter, err := auditFilter(q)
	if err != nil {
		return reply, err
	}
	page, err := a.Pages.Read(r, q)
	if err != nil {
		return reply, err
	}
	before, err := cursor(page, agentid.Parse[agentid.Event])
	if err != nil {
		return reply, err
	}
	found, err := a.Audit.AuditRecords(r.Context(), org, filter, before, page.Limit())
	if err != nil {
		return reply, err
	}
	if len(found) == 0 && !org.IsZero() { // an empty log would say that the organization exists; a deleted one's log stays readable
		if _, err := a.Organizations.Get(r.Context(), org); err != nil {
			return reply, err
		}
	}
	found, next := web.Cut(page, found, func(v audit.Record) string { return v.ID.String() })
	reply.Body = AuditRecordList{Records: mapped(found, auditBody), NextPageToken: next}
	return reply, nil
}

func auditFilter(q *web.Query) (f audit.Filter, err error) {
	f.Action, f.Target = audit.Action(q.Get("action")), q.Get("target")
	if q.Has("action") && !actionForm.MatchString(string(f.Action)) {
		return f, invalidFilter("action")
	}
	if q.Has("target") && !targetForm.MatchString(f.Target) {
		return f, invalidFilter("target")
	}
	if f.Since, err = q.Time("since"); err != nil {
		return f, err
	}
	f.Until, err = q.Time("until")
	return f, err
}

func invalidFilter(name string) error {
	return &problem.Error{Kind: problem.Invalid, Code: "invalid_parameter", Field: name, Detail: "The value does not have the form of this filter."}
}

func auditBody(v audit.Record) AuditRecord {
	details := v.Details
	if details == nil {
		details = map[string]any{}
	}
	return AuditRecord{
		Id: v.ID, OrganizationId: present(v.OrganizationID), Time: v.Time.UTC(), Action: string(v.Action), Target: v.Target, Details: details,
		Actor: AuditActor{Kind: AuditActorKind(v.Actor.Kind), Id: present(v.Actor.ID), RequestId: present(v.Actor.RequestID), Source: present(v.Actor.Source)},
	}
}
