package agents

// The checks below are those of agents, for nouns that hold lists of the same kind.

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
