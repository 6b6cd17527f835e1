package agents

import (
	"fmt"
	"strings"

	"github.com/agentidp/agentidp/issuer/internal/fields"
)

// Limits of the fields that only agents have, in characters and entries.
const (
	TypeCharsMax        = 40
	DescriptionCharsMax = 500
	CapabilitiesMax     = 50
	CapabilityCharsMax  = 100
	AudiencesMin        = 1
	ServesMax           = 8
)

// check says what is wrong with an agent's describable fields, the first problem only.
func check(a *Agent) error {
	if a.OrganizationID.IsZero() {
		return fields.Invalid("/organizationId", "organization_missing", "must name an organization")
	}
	if err := fields.CheckName("/name", a.Name); err != nil {
		return err
	}
	if len(a.Type) > TypeCharsMax || !only(a.Type, "-") {
		return fields.Invalid("/type", "type_format", fmt.Sprintf("must be up to %d lower-case letters, digits and hyphens", TypeCharsMax))
	}
	if err := fields.CheckText("/description", a.Description, 0, DescriptionCharsMax, "\n\t"); err != nil {
		return err
	}
	if err := fields.CheckList("/capabilities", a.Capabilities, 0, CapabilitiesMax, capabilityProblem); err != nil {
		return err
	}
	if err := fields.CheckScopes("/scopes", a.Scopes); err != nil {
		return err
	}
	if err := fields.CheckList("/audiences", a.Audiences, AudiencesMin, fields.AudiencesMax, fields.AudienceProblem); err != nil {
		return err
	}
	return fields.CheckList("/serves", a.Serves, 0, ServesMax, fields.AudienceProblem)
}

func capabilityProblem(s string) (code, detail string) {
	if s == "" || len(s) > CapabilityCharsMax || !only(s, "_.:-") {
		return "capability_format", fmt.Sprintf("must be 1 to %d of a-z, 0-9, _ . : -", CapabilityCharsMax)
	}
	return "", ""
}

// only reports whether s has nothing but lower-case letters, digits and the characters of extra.
func only(s, extra string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}
