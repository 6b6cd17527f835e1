package checkresp

import (
	"encoding/json"
	"slices"
	"strconv"
)

// Limited says when to come again, and what limit was met.
type Limited struct {
	RetryAfter int    // seconds, at least 1
	Policy     string // name of the limit, a plain word; "" leaves out the RateLimit fields
	Quota      int    // requests at once
	Window     int    // seconds until all of them are there again
}

// appendTo appends Retry-After (RFC 9110 s10.2.3), and RateLimit-Policy and RateLimit as in draft-ietf-httpapi-ratelimit-headers-10
// section 3 and 4.
func (l *Limited) appendTo(denied []byte) []byte {
	seconds := strconv.Itoa(max(1, l.RetryAfter))
	denied = appendHeader(denied, fieldDeniedHeaders, "retry-after", seconds, actionOverwrite)
	if l.Policy == "" {
		return denied
	}
	denied = appendHeader(denied, fieldDeniedHeaders, "ratelimit-policy", `"`+l.Policy+`";q=`+strconv.Itoa(l.Quota)+";w="+strconv.Itoa(max(1, l.Window)), actionOverwrite)
	return appendHeader(denied, fieldDeniedHeaders, "ratelimit", `"`+l.Policy+`";r=0;t=`+seconds, actionOverwrite)
}

// Members of the dynamic metadata that hold limits.
const (
	metadataAgentLimit        = "agent_limit"
	metadataOrganizationLimit = "organization_limit"
)

// Quotas are limits as Envoy's rate limit filter takes them from dynamic metadata (the override of a route's rate limit), encoded
// once for all requests they apply to. nil says none.
type Quotas struct {
	members             []byte // fields of Struct
	agent, organization bool
}

// Quota is how many requests may be made in a unit of time. Without Requests there is none.
type Quota struct {
	Requests uint32
	Unit     string // SECOND, MINUTE, HOUR or DAY: envoy.type.v3.RateLimitUnit
}

// DescribeQuotas encodes the limits of an agent and of its organization.
func DescribeQuotas(agent, organization Quota) *Quotas {
	q := &Quotas{agent: agent.Requests > 0, organization: organization.Requests > 0}
	q.add(metadataAgentLimit, agent)
	q.add(metadataOrganizationLimit, organization)
	return q
}

func (q *Quotas) add(name string, quota Quota) {
	if quota.Requests == 0 {
		return
	}
	limit := map[string]any{"requests_per_unit": json.Number(strconv.FormatUint(uint64(quota.Requests), 10)), "unit": quota.Unit}
	entry, err := appendEntry(nil, name, limit, 2)
	if err != nil {
		return // a number and a plain word can be written
	}
	q.members = slices.Clip(appendBytes(q.members, fieldFields, entry))
}

// says reports whether the member of the metadata is one of these.
func (q *Quotas) says(name string) bool {
	return q != nil && (q.agent && name == metadataAgentLimit || q.organization && name == metadataOrganizationLimit)
}
