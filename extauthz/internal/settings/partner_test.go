package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigOfPartnersIsRefused(t *testing.T) {
	t.Parallel()
	second := func(lines string) string {
		return strings.Replace(minimal, "policy:", "  - issuer: b\n    jwks: {file: keys.json}\n    audiences: [a]\n"+lines+"policy:", 1)
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"empty":     {second("    organizationId: o\n    partner: {}\n"), []string{"10: issuers[1].partner.id: is required", "10: issuers[1].partner.of: is required: the issuer whose partner it is"}},
		"of nobody": {second("    organizationId: o\n    partner: {id: p, of: c}\n"), []string{"10: issuers[1].partner.of: is none of the issuers of this file"}},
		"of itself": {second("    organizationId: o\n    partner: {id: p, of: b}\n"), []string{"10: issuers[1].partner.of: is a partner's issuer: partners of partners are not trusted"}},
		"id":        {second("    organizationId: o\n    partner: {id: \"p p\", of: https://issuer.example/org/a}\n"), []string{"10: issuers[1].partner.id: want visible ASCII without spaces"}},
		"for any organization": {second("    partner: {id: p, of: https://issuer.example/org/a}\n"), []string{
			"6: issuers[1].organizationId: is required for a partner's issuer: without it, it could speak for organizations that are not the partner's",
		}},
		"no time":     {second("    tokensNotBefore: yesterday\n"), []string{`9: issuers[1].tokensNotBefore: want a time such as "2026-11-23T09:00:00Z"`}},
		"no zone":     {second("    tokensNotBefore: \"2026-11-23T09:00:00\"\n"), []string{`9: issuers[1].tokensNotBefore: want a time such as "2026-11-23T09:00:00Z"`}},
		"a date":      {second("    tokensNotBefore: 2026-11-23T09:00:00Z\n"), []string{"9: issuers[1].tokensNotBefore: want a string, got a date"}},
		"before time": {second("    tokensNotBefore: \"1969-01-01T00:00:00Z\"\n"), []string{`9: issuers[1].tokensNotBefore: want a time such as "2026-11-23T09:00:00Z"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := configDir(t)
			_, err := loadConfig(t, dir, tc.text)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), dir+"/extauthz.yaml:", ""), "\n")
			for i := range min(len(got), len(tc.want)) {
				if strings.HasPrefix(got[i], tc.want[i]) {
					got[i] = tc.want[i]
				}
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
