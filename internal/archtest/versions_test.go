package archtest

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Modules whose older versions have an advisory that no test of ours could find in them: what is linked is newer. A subtest has the id of the
// advisory as its name.
func TestVersionsAfterAdvisories(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v(\S+)`).FindAllStringSubmatch(string(text), -1) {
		required[m[1]] = m[2]
	}
	for id, least := range map[string][2]string{
		"CVE-2026-33186":      {"google.golang.org/grpc", "1.82.1"},
		"GHSA-hrxh-6v49-42gf": {"google.golang.org/grpc", "1.82.1"},
		"CVE-2023-45288":      {"golang.org/x/net", "0.56.0"},
		"CVE-2025-46569":      {"github.com/open-policy-agent/opa", "1.4.0"},
		"CVE-2024-27304":      {"github.com/jackc/pgx/v5", "5.9.2"},
		"CVE-2026-33815":      {"github.com/jackc/pgx/v5", "5.9.2"},
		"CVE-2026-33816":      {"github.com/jackc/pgx/v5", "5.9.2"},
		"CVE-2026-41889":      {"github.com/jackc/pgx/v5", "5.9.2"},
		"CVE-2025-29923":      {"github.com/redis/go-redis/v9", "9.7.3"},
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			if got := required[least[0]]; !atLeast(got, least[1]) {
				t.Errorf("%s %q, want %s or newer", least[0], got, least[1])
			}
		})
	}
}

// atLeast compares versions of three numbers; anything else is older than all of them.
func atLeast(got, want string) bool {
	g, w := strings.Split(got, "."), strings.Split(want, ".")
	if len(g) != len(w) {
		return false
	}
	for i := range g {
		a, err1 := strconv.Atoi(g[i])
		b, err2 := strconv.Atoi(w[i])
		if err1 != nil || err2 != nil {
			return false
		}
		if a != b {
			return a > b
		}
	}
	return true
}
