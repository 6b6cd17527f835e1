package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/testkit"
)

// manual is docs/issuer.md from one heading to another.
func manual(t *testing.T, from, to string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/issuer.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(page), "\n"+from+"\n")
	part, _, ended := strings.Cut(part, "\n"+to+"\n")
	if !found || !ended {
		t.Fatalf("docs/issuer.md has no part from %q to %q", from, to)
	}
	return part
}

func blocks(part, language string) []string {
	var all []string
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```").FindAllStringSubmatch(part, -1) {
		all = append(all, m[1])
	}
	return all
}

// The first install of docs/issuer.md, typed as it stands there in one shell: only the names of hosts and folders are this test's.
func TestFirstInstallAsDocumented(t *testing.T) {
	t.Parallel()
	files, superuser := testkit.Certificates(t), database(t)
	address, operator := fmt.Sprintf("localhost:%d", testkit.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", testkit.FreePort(t))
	dir := filepath.Join(t.TempDir(), "agentidp")
	if out, err := exec.Command("go", "build", "-o", filepath.Join(filepath.Dir(dir), "issuer"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	server, err := pgx.ParseConfig(superuser)
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.NewReplacer(
		"@db.example/agentidp?$tls", "@/"+server.Database+"?host="+server.Host, "postgres://postgres:", "postgres://"+server.User+":", // trust over a socket of its own
		"/etc/agentidp", dir, "https://issuer.example:8443", "https://"+address, "0.0.0.0:8443", address, "127.0.0.1:9101", operator, "curl -sS", "curl -sS --cacert '"+files.AuthorityFile()+"'",
	)
	yaml := blocks(manual(t, "## A configuration to begin with", "## First install"), "yaml")
	steps := blocks(manual(t, "## First install", "## Flags"), "sh")
	if len(yaml) != 1 || len(steps) != 7 {
		t.Fatalf("docs/issuer.md has %d configurations and %d steps", len(yaml), len(steps))
	}
	certificate := fmt.Sprintf("cp '%s' server.pem\ncp '%s' server-key.pem\n", files.CertificateFile(), files.KeyFile())
	steps[1] = certificate + "cat > issuer.yaml <<'END'\n" + yaml[0] + "END\n" + steps[1]
	const serve = 5 // which is the only one that does not end
	steps[serve] = strings.TrimSpace(steps[serve]) + " 2> log & serves=$!\ntrap 'kill $serves || :; cat log' EXIT\n" +
		"until [ \"$(curl -s http://127.0.0.1:9101/readyz)\" = ready ]; do kill -0 $serves; sleep 0.05; done\n"
	steps = append(steps, "kill $serves\nwait $serves\n")
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", mine.Replace(strings.Join(steps, "\n")))
	cmd.Env = []string{"PATH=" + filepath.Dir(dir) + ":" + os.Getenv("PATH"), "PGPASSWORD=x"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"issuer.yaml: good\n", "migration applied", `"slug":"acme"`, `"msg":"stopped"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("nothing said %q:\n%s", want, out)
		}
	}
	for _, gone := range []string{"migrate.yaml", "secrets/owner.dsn"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), superuser)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var passwords int
	if err := conn.QueryRow(t.Context(), "select count(*) from pg_authid where rolname in ('agentidp_app', 'agentidp_platform') and rolpassword is not null").Scan(&passwords); err != nil || passwords != 2 {
		t.Errorf("%d roles have a password, %v", passwords, err)
	}
}

// Each flag is in the table of docs/issuer.md, and each of the table is a flag.
func TestEveryFlagIsDocumented(t *testing.T) {
	t.Parallel()
	_, _, help := try(t.Context(), "-help")
	table := manual(t, "## Flags", "## Every key")
	count := 0
	for _, m := range regexp.MustCompile(`(?m)^  (-[a-z-]+)`).FindAllStringSubmatch(help, -1) {
		count++
		if !regexp.MustCompile("(?m)^\\| `" + m[1] + "[ `]").MatchString(table) {
			t.Errorf("docs/issuer.md has no %s", m[1])
		}
	}
	if rows := strings.Count(table, "\n| `-"); count != rows || count < 7 {
		t.Errorf("%d flags, %d in docs/issuer.md", count, rows)
	}
}
