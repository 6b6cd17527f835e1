# METADATA
# title: A rule of one's own beside the mesh policy
# description: |
#   Everything the mesh policy allows, except that a change needs a token bound to its sender, and that nobody writes
#   during a freeze. Put this file beside the mesh policy's and set the decision path to acme/authz/decision.
package acme.authz

import data.agentidp.authz

decision := authz.decision if {
	not authz.allow
} else := forbidden("sender_binding_required", "changes need a DPoP or mTLS bound token") if {
	changes
	not bound
} else := forbidden("change_freeze", "changes are frozen") if {
	changes
	data.acme.freeze
} else := authz.decision

changes if not input.attributes.request.http.method in {"GET", "HEAD", "OPTIONS"}

bound if input.identity.confirmation in {"dpop", "mtls", "spiffe"}

forbidden(code, detail) := {
	"allowed": false,
	"http_status": 403,
	"reason": {"code": code, "detail": detail},
}
