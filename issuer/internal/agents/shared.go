package agents

import (
	"fmt"
	"time"
)

// The checks below are those of agents, for nouns that hold lists, or have credentials, of the same kind.

// CheckName says why s is no name.
func CheckName(field, s string) error {
	if err := checkText(field, s, 1, NameCharsMax, ""); err != nil {
		return err
	}
	return checkTrimmed(field, s)
}

// CheckScopes says why the list is not one of up to ScopesMax scope-tokens.
func CheckScopes(field string, list []string) error {
	return checkList(field, list, 0, ScopesMax, checkScope)
}

// CheckAudiences says why the list is not one of up to AudiencesMax resources.
func CheckAudiences(field string, list []string) error {
	return checkList(field, list, 0, AudiencesMax, checkAudience)
}

// CheckRegistration says what is wrong with a registration of a kind, and fills in what has a default.
func CheckRegistration(kind string, r *Registration) error { return r.check(kind) }

// CheckLifetime says why a credential cannot be made to work for so long. 0 means no expiry.
func CheckLifetime(d time.Duration) error {
	if d != 0 && (d < LifetimeMin || d > LifetimeMax) {
		return invalid("/lifetimeSeconds", "lifetime_range", fmt.Sprintf("must be 0 (no expiry) or %d to %d", LifetimeMin/time.Second, LifetimeMax/time.Second))
	}
	return nil
}

// CheckOverlap says why a credential that is replaced cannot keep working for so long.
func CheckOverlap(d time.Duration) error {
	if d < 0 || d > OverlapMax {
		return invalid("/overlapSeconds", "overlap_range", fmt.Sprintf("must be 0 to %d", OverlapMax/time.Second))
	}
	return nil
}
