package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodConfig = `listen: unix://SOCKET
identity: policy
policy: {dir: policies}
`

func folder(t *testing.T, text string) (config, socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "s")
	for name, content := range map[string]string{
		"extauthz.yaml":       strings.ReplaceAll(text, "SOCKET", socket),
		"policies/authz.rego": "package agentidp.authz\n\nallow := false\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "extauthz.yaml"), socket
}

func exec(t *testing.T, ctx context.Context, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"-version"}, ok, "extauthz ", ""},
		{[]string{"-help"}, ok, "", "-check"},
		{[]string{"-nonsense"}, wrongUsage, "", "flag provided but not defined"},
		{[]string{"run"}, wrongUsage, "", `unexpected argument "run"`},
		{[]string{"-config", "/none.yaml"}, failed, "", "/none.yaml: no such file\n"},
		{nil, failed, "", "extauthz.yaml: no such file; name one with -config\n"},
	} {
		status, stdout, stderr := exec(t, t.Context(), tc.args...)
		if status != tc.status || !strings.Contains(stdout, tc.stdout) || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%v: %d, %q, %q", tc.args, status, stdout, stderr)
		}
	}
}

func TestCheckOpensNoSocket(t *testing.T) {
	t.Parallel()
	config, socket := folder(t, goodConfig+"explain: {bytes: 1MiB}\nmetrics: {listen: \"127.0.0.1:0\"}\nshadow: {dir: candidate}\ndecisionLog: {stdout: true}\n")
	status, stdout, stderr := exec(t, t.Context(), "-check", "-config", config)
	if status != ok || !strings.HasPrefix(stdout, config+": good\n") || stderr != "" {
		t.Errorf("%d, %q, %q", status, stdout, stderr)
	}
	for _, want := range []string{
		"listen: unix://" + socket + ", mode 0660: free\n", "identity: policy\n", "policy: agentidp/authz/allow of ", "decisions: remembered for 1m0s by ",
		"/candidate is not asked: ", "decision log: to standard output, 100 % of what is allowed", "metrics: on http://127.0.0.1:0\n", " 64 MiB tokenCache.bytes\n", " 5 MiB explain\n", "MiB resident at most, with GOMEMLIMIT=", "memory: limit of the runtime ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("-check does not say %q: %s", want, stdout)
		}
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("a socket was opened")
	}
}

// What is open to others than the machine itself is said before it is opened.
func TestCheckWarnsOfOpenPorts(t *testing.T) {
	t.Parallel()
	const open, scraped, local = "WARNING: whoever reaches this address can ask for decisions", "WARNING: whoever reaches this address reads them", "/debug/ is answered over loopback only\n"
	for listen, warned := range map[string]bool{"0.0.0.0": true, "10.0.0.1": true, "pod.example": true, "127.0.0.1": false, "localhost": false, "127.1.2.3": false} {
		text := strings.Replace(goodConfig, "listen: ", "listen: [\"tcp://"+listen+":9191\", ", 1)
		first, rest, _ := strings.Cut(text, "\n")
		config, _ := folder(t, first+"]\n"+rest+"explain: {bytes: 1MiB}\nmetrics: {listen: \""+listen+":9103\"}\n")
		status, stdout, stderr := exec(t, t.Context(), "-check", "-config", config)
		if status != ok || strings.Contains(stdout, open) != warned || strings.Contains(stdout, scraped) != warned || !strings.Contains(stdout, local) {
			t.Errorf("%s: %d, %s%s", listen, status, stdout, stderr)
		}
	}
}

func TestCheckCompilesEveryOrganization(t *testing.T) {
	t.Parallel()
	text := strings.Replace(goodConfig, "identity: policy", "identity: optional\nissuers: [{issuer: a, jwks: {file: keys.json}, audiences: [b]}]", 1)
	config, socket := folder(t, strings.Replace(text, "{dir: policies}", "{dir: policies, organizations: {dir: orgs}}", 1))
	write := func(name, content string) {
		path := filepath.Join(filepath.Dir(config), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keys.json", `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`) // RFC 7515 A.3.1
	write("orgs/org_a/a.rego", "package agentidp.org\n\ndecision := true\n")
	status, stdout, stderr := exec(t, t.Context(), "-check", "-config", config)
	if status != ok || stderr != "" || !strings.Contains(stdout, "organizations: agentidp/org/decision of ") || !strings.Contains(stdout, ": 1 with a policy of their own, 100 compiled at a time\n") || !strings.Contains(stdout, " 64 MiB policy.organizations.bytes\n") {
		t.Errorf("%d, %q, %q", status, stdout, stderr)
	}
	write("orgs/org_b/b.rego", "package agentidp.org\n\ndecision := nowhere(1)\n")
	status, stdout, stderr = exec(t, t.Context(), "-check", "-config", config)
	if want := "policy.organizations: " + filepath.Join(filepath.Dir(config), "orgs/org_b/b.rego") + ":3: undefined function nowhere\n"; status != failed || stdout != "" || stderr != want {
		t.Errorf("%d, %q, %q, want %q", status, stdout, stderr, want)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("a socket was opened")
	}
}

func TestBadConfigIsOneLineEach(t *testing.T) {
	t.Parallel()
	config, socket := folder(t, goodConfig+"identiti: x\nmetrics: 1\n")
	for _, args := range [][]string{{"-config", config}, {"-check", "-config", config}} {
		status, stdout, stderr := exec(t, t.Context(), args...)
		want := config + ":4: identiti: unknown key; did you mean \"identity\"?\n" + config + ":5: metrics: want keys and values, got the number 1\n"
		if status != failed || stdout != "" || stderr != want {
			t.Errorf("%d, %q, %q", status, stdout, stderr)
		}
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("a socket was opened")
	}
}

func TestRunsUntilTheEnd(t *testing.T) {
	t.Parallel()
	config, socket := folder(t, goodConfig)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := os.Stat(socket); err == nil || ctx.Err() != nil {
				return
			}
		}
	}()
	status, _, stderr := exec(t, ctx, "-config", config)
	if status != ok || !strings.Contains(stderr, `"msg":"listening"`) || !strings.Contains(stderr, `"msg":"stopped"`) {
		t.Errorf("%d, %s", status, stderr)
	}
}

// -check says what would be in the way of the socket, and so does the start.
func TestFolderOfTheSocketIsMissing(t *testing.T) {
	t.Parallel()
	config, socket := folder(t, strings.Replace(goodConfig, "SOCKET", "SOCKET/nowhere/s", 1))
	want := socket + "/nowhere: there is no such folder"
	if status, stdout, _ := exec(t, t.Context(), "-check", "-config", config); status != ok || !strings.Contains(stdout, ", mode 0660: WARNING: "+want) {
		t.Errorf("-check: %d, %q", status, stdout)
	}
	if status, _, stderr := exec(t, t.Context(), "-config", config); status != failed || !strings.Contains(stderr, want) {
		t.Errorf("%d, %q", status, stderr)
	}
}

func TestFailureIsLogged(t *testing.T) {
	t.Parallel()
	config, socket := folder(t, goodConfig)
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := exec(t, t.Context(), "-config", config)
	if status != failed || !strings.Contains(stderr, "is not a socket") {
		t.Errorf("%d, %s", status, stderr)
	}
}
