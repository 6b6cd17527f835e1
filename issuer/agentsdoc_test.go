package issuer_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	jose4 "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/agentidp/agentidp/internal/testkit"
)

// codeBlock is a piece of docs/agents.md with its language.
var codeBlock = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// snippets are the pieces of one language, in their order.
func snippets(t *testing.T, language string) []string {
	t.Helper()
	doc, err := os.ReadFile("../docs/agents.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range codeBlock.FindAllStringSubmatch(string(doc), -1) {
		switch {
		case strings.Contains(m[2], ".agentidp/demo.json"): // run where there is one: cmd/agentidp
		case m[1] == language:
			all = append(all, m[2])
		case slices.Contains([]string{"sh", "python", "ts", "go"}, m[1]):
		default:
			t.Errorf("docs/agents.md: nobody runs %s", m[1])
		}
	}
	if len(all) == 0 {
		t.Fatalf("docs/agents.md has no %s", language)
	}
	return all
}

// agentEnvironment is what docs/agents.md tells its reader to have: one agent with all kinds of credentials.
func (i *instance) agentEnvironment(e *edge) (agent, caller string, env []string) {
	t := i.t
	t.Helper()
	organization := i.organization("acme")
	agent, secret, _ := i.signer(organization, "reader")
	i.must(i.admin("PATCH", "/agents/"+agent, map[string]any{"serves": []string{"svc://reader"}}), 200)

	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := newHolder(t, jose4.ES256)
	i.register(agent, "private_key_jwt", map[string]any{"jwks": jwks(t, key)})
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	if err != nil {
		t.Fatal(err)
	}
	own := certify(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "reader"} })
	i.register(agent, "self_signed_tls_client_auth", map[string]any{"certificateThumbprint": own.thumbprint()})
	chain, private := own.pem(t)

	caller = i.must(i.admin("POST", "/agents", map[string]any{
		"organizationId": organization, "name": "caller", "scopes": []string{"invoices:read"}, "audiences": []string{"svc://reader", "svc://payments"},
	}), 201).field("id")
	_, callerSecret := i.credential(caller)
	p := i.relyingParty(organization, nil)

	roots := write("roots.pem", e.authorities(i.authority))
	env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "ISSUER=" + i.url, "CLIENT_ID=" + agent, "CLIENT_SECRET=" + secret, "AUDIENCE=svc://payments", "SCOPE=invoices:read", "SERVICE_URL=" + e.url,
		"SSL_CERT_FILE=" + roots, "REQUESTS_CA_BUNDLE=" + roots, "NODE_EXTRA_CA_CERTS=" + roots, "CURL_CA_BUNDLE=" + roots,
		"AGENT_KEY=" + write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))),
		"AGENT_CERT=" + write("cert.pem", chain), "AGENT_CERT_KEY=" + write("cert-key.pem", private),
		"RECEIVED=" + i.token(caller, callerSecret),
		"SIGN_IN_URL=" + p.oauth.AuthCodeURL("state", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())),
	}
	return agent, caller, env
}

// runs a piece, which must reach the service with a token of this subject.
func (e *edge) runs(what, subject string, env []string, program string, args ...string) string {
	e.t.Helper()
	before := e.reached.Load()
	cmd := exec.CommandContext(e.t.Context(), program, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Errorf("%s: %v\n%s", what, err, out)
		return ""
	}
	if e.reached.Load() == before || e.seen.Load() != subject || !strings.Contains(string(out), "accounts") {
		e.t.Errorf("%s: the service was not reached as %s, but as %v\n%s", what, subject, e.seen.Load(), out)
	}
	return string(out)
}

// Every piece of code in docs/agents.md works as it stands there.
func TestDocumentationForAgents(t *testing.T) {
	t.Parallel()
	i := start(t)
	e := i.edge("")
	agent, caller, env := i.agentEnvironment(e)
	dir := t.TempDir()
	if err := os.Symlink(testkit.NodeModules(t), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Those for the shell are one session: each uses what the ones before it made. The last call is for the agent's caller.
	shell := snippets(t, "sh")
	out := e.runs("curl", caller, env, "sh", "-euc", strings.Join(shell, "\n"))
	link := regexp.MustCompile(`https://party\.example/\S+`).FindString(out)
	if back, err := url.Parse(link); err != nil || back.Query().Get("code") == "" || back.Query().Get("iss") != i.url {
		t.Errorf("signing in led to %q\n%s", link, out)
	}
	if n := strings.Count(out, "accounts"); n != 3 {
		t.Errorf("the service answered %d times\n%s", n, out)
	}
	// The session renews an expired token, for the same audience: not the agent's first one.
	const renewed = "\nsession.token['expires_at'] = 1\nsession.get(os.environ['SERVICE_URL'], timeout=10).raise_for_status()\n"
	for _, python := range snippets(t, "python") {
		e.runs(python, agent, env, testkit.Python(t), file("agent.py", python+renewed))
	}
	for _, ts := range snippets(t, "ts") { // without types of its own it is JavaScript as well
		e.runs(ts, agent, env, testkit.Node(t), file("agent.mjs", ts))
	}
	for _, source := range snippets(t, "go") {
		program := filepath.Join(dir, "agent")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", program, file("agent.go", source))
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, source)
			continue
		}
		e.runs(source, agent, env, program)
	}
}
