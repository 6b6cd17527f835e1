package checkreq

// Reason is the closed set of causes for which a request is refused before anybody looks at its credential: metric label,
// decision log, problem code.
type Reason string

const (
	ReasonEmpty      Reason = "request_empty"      // no HTTP attributes at all
	ReasonMethod     Reason = "request_method"     // not a method token
	ReasonTarget     Reason = "request_target"     // not an origin-form path: CONNECT, "*", absolute form, too long
	ReasonPath       Reason = "request_path"       // a path two parsers could read differently
	ReasonQuery      Reason = "request_query"      // a query that does not decode
	ReasonHost       Reason = "request_host"       // not a host with an optional port
	ReasonHeader     Reason = "request_header"     // a name or value that is not a legal header
	ReasonLimit      Reason = "request_limit"      // more or longer headers than are read
	ReasonDuplicate  Reason = "request_duplicate"  // a header that must be single came more than once
	ReasonConflict   Reason = "request_conflict"   // two places that must agree do not
	ReasonBody       Reason = "request_body"       // a body that does not parse as the type it says it is
	ReasonAttributes Reason = "request_attributes" // attributes Envoy never sends: over-long, or not text
)

// Refusal says why a request is refused. Detail is fixed text: it never carries bytes of the request.
type Refusal struct {
	Reason Reason
	Detail string
}

func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, detail string) *Refusal { return &Refusal{Reason: reason, Detail: detail} }

// Unread refuses a check that was not received as one whole message: too large, or no message at all.
func Unread(tooLarge bool) *Refusal {
	if tooLarge {
		return refuseSize()
	}
	return refuse(ReasonAttributes, "the check is not one that Envoy sends")
}

func refuseSize() *Refusal { return refuse(ReasonLimit, "the check is larger than 256 KiB") }
