package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agentidp/agentidp/internal/localca"
	"github.com/agentidp/agentidp/internal/seal"
	"github.com/agentidp/agentidp/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func try(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, err lockedBuffer
	status = run(ctx, args, &out, &err)
	return status, out.String(), err.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		{[]string{"-version"}, 0, "issuer ", ""},
		{[]string{"-help"}, 0, "", "-migrate"},
		{[]string{"-nonsense"}, 2, "", "-nonsense"},
		{[]string{"serve"}, 2, "", `unexpected argument "serve"`},
		{[]string{"-check", "-config", "/does/not/exist.yaml"}, 1, "", "/does/not/exist.yaml: no such file\n"},
		{nil, 1, "", "issuer.yaml: no such file; name one with -config\n"},
	} {
		status, stdout, stderr := try(t.Context(), tt.args...)
		if status != tt.status || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) {
			t.Errorf("%v: %d %q %q", tt.args, status, stdout, stderr)
		}
	}
}

// Each mistake of a configuration is one line with file, line and field; nothing is listened on.
func TestBadConfigIsOneLineEach(t *testing.T) {
	t.Parallel()
	files := testkit.Certificates(t)
	address := fmt.Sprintf("localhost:%d", testkit.FreePort(t))
	complete := configuration(t, files, address)
	good, err := os.ReadFile(complete)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ from, to, want string }{
		"unknown key":    {"listen:", "lisen: x\nlisten:", `lisen: unknown key; did you mean "listen"?`},
		"wrong type":     {"listen:", "limits: 3\nlisten:", "limits: want keys and values, got the number 3"},
		"missing file":   {"bootstrapToken: {file: ", "bootstrapToken: {file: no-", "bootstrapToken.file: secret "},
		"empty secret":   {"bootstrapToken: {file: ", "bootstrapToken: {env: AGENTIDP_NOT_SET} #", "bootstrapToken: the secret is empty or not set"},
		"secret unknown": {"bootstrapToken: {file: ", "bootstrapToken: {files: ", `bootstrapToken.files: unknown key; did you mean "file"?`},
	} {
		if strings.Count(string(good), tt.from) != 1 {
			t.Fatalf("%s: the configuration is another:\n%s", name, good)
		}
		path := filepath.Join(filepath.Dir(complete), name+".yaml") // beside its secrets
		if err := os.WriteFile(path, []byte(strings.Replace(string(good), tt.from, tt.to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		status, stdout, stderr := try(t.Context(), "-config", path)
		if place, field, ok := strings.Cut(strings.TrimPrefix(stderr, path+":"), ": "); status != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !ok || !strings.HasPrefix(field, tt.want) || !onlyDigits(place) {
			t.Errorf("%s: %d, %q, %q", name, status, stdout, stderr)
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s: something listens", name)
		}
	}
}

func onlyDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// A secret that the process may not read is named with its line, as one mistake.
func TestUnreadableSecret(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "agentidp-issuer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "issuer")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := "issuer: https://localhost:1\nlisten: localhost:1\nbootstrapToken: {file: token}\n"
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{"issuer.yaml": {config, 0o644}, "token": {"secret", 0}} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(file.text), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", filepath.Join(dir, "issuer.yaml"))
	if os.Geteuid() == 0 { // who may read everything
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	if want := "issuer.yaml:3: bootstrapToken.file: secret "; !strings.Contains(string(out), want) || !strings.Contains(string(out), "permission denied") || strings.Count(string(out), "bootstrapToken") != 1 {
		t.Errorf("got %s", out)
	}
}

// From an empty database to a served document and back to nothing, by the command line alone.
func TestMigrateCheckServeStop(t *testing.T) {
	t.Parallel()
	files := testkit.Certificates(t)
	address := fmt.Sprintf("localhost:%d", testkit.FreePort(t))
	path := configuration(t, files, address)

	if status, _, stderr := try(t.Context(), "-config", path); status != 1 || !strings.Contains(stderr, `"msg":"cannot go on","service":"issuer","err":"database: `) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("served an empty database: %d %q", status, stderr)
	}
	if status, stdout, stderr := try(t.Context(), "-migrate", "-config", path); status != 0 || stdout != "" || !strings.Contains(stderr, "migration applied") {
		t.Fatalf("migrate: %d %q %q", status, stdout, stderr)
	}
	if status, _, stderr := try(t.Context(), "-migrate", "-config", path); status != 0 {
		t.Errorf("migrate again: %d %q", status, stderr)
	}
	if status, stdout, stderr := try(t.Context(), "-check", "-config", path); status != 0 || !strings.HasPrefix(stdout, path+": good\n") || stderr != "" {
		t.Errorf("check: %d %q %q", status, stdout, stderr)
	}

	ctx, stop := context.WithCancel(t.Context())
	var out, problems lockedBuffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"-config", path}, &out, &problems) }()
	if err := fetch(t, files, "https://"+address+"/.well-known/openid-configuration", ended); err != nil {
		t.Fatalf("not served: %v\n%s%s", err, problems.String(), out.String())
	}
	stop()
	if status := <-ended; status != 0 || out.String() != "" || !strings.Contains(problems.String(), `"msg":"stopped"`) {
		t.Errorf("ended with %d: %s\n%s", status, problems.String(), out.String())
	}
	rotateKEK(t, path)
	migrateWithoutRights(t, configuration(t, files, address))
}

// migrateWithoutRights is the way of an operator who is no superuser: what -migrate prints is given to one, and then it works.
func migrateWithoutRights(t *testing.T, path string) {
	t.Helper()
	owner := filepath.Join(filepath.Dir(path), "owner")
	dsn, err := os.ReadFile(owner)
	if err != nil {
		t.Fatal(err)
	}
	superuser, err := pgx.Connect(t.Context(), string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer superuser.Close(context.Background())
	run := func(sql string) {
		t.Helper()
		if _, err := superuser.Exec(context.Background(), sql); err != nil { // as psql would: several statements at once
			t.Fatal(err)
		}
	}
	role := "test_" + strings.ToLower(rand.Text())
	run("create role " + role + " login")
	defer run("drop role " + role)
	if err := os.WriteFile(owner, []byte(as(t, string(dsn), role)), 0o600); err != nil {
		t.Fatal(err)
	}
	status, sql, stderr := try(t.Context(), "-migrate", "-config", path)
	if want := "grant agentidp_owner to \"" + role + "\";\ncreate schema agentidp authorization agentidp_owner;\n"; status != 1 || sql != want || !strings.Contains(stderr, "run this as a superuser") {
		t.Fatalf("migrate without rights: %d %q %s", status, sql, stderr)
	}
	run(sql)
	if status, stdout, stderr := try(t.Context(), "-migrate", "-config", path); status != 0 || stdout != "" {
		t.Errorf("migrate with rights: %d %q %s", status, stdout, stderr)
	}
}

// rotateKEK does what docs/keys.md says: a new primary key, every data key wrapped with it.
func rotateKEK(t *testing.T, path string) {
	t.Helper()
	kek := filepath.Join(filepath.Dir(path), "kek")
	status, rotated, stderr := try(t.Context(), "-rotate-kek", kek)
	if status != 0 {
		t.Fatalf("rotate: %d %s", status, stderr)
	}
	if err := os.WriteFile(kek, []byte(rotated), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"rewrapped":1`, `"rewrapped":0`} {
		if status, stdout, stderr := try(t.Context(), "-rewrap", "-config", path); status != 0 || !strings.Contains(stderr, want) {
			t.Errorf("rewrap: %d %s %s, want %s", status, stdout, stderr, want)
		}
	}
	if status, stdout, _ := try(t.Context(), "-generate-kek"); status != 0 || stdout == rotated {
		t.Errorf("generate: %d", status)
	} else if _, err := seal.ParseWrapper([]byte(stdout)); err != nil {
		t.Error(err)
	}
	for _, file := range []string{"/does/not/exist", path} {
		if status, stdout, stderr := try(t.Context(), "-rotate-kek", file); status != 1 || stdout != "" || stderr == "" {
			t.Errorf("rotate %s: %d %q %q", file, status, stdout, stderr)
		}
	}
}

// configuration writes a complete config for a new, empty database.
func configuration(t *testing.T, files localca.Folder, address string) string {
	t.Helper()
	kek, err := seal.GenerateKEK()
	if err != nil {
		t.Fatal(err)
	}
	superuser := database(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"app": as(t, superuser, "agentidp_app"), "platform": as(t, superuser, "agentidp_platform"), "owner": superuser,
		"kek": string(kek), "token": rand.Text() + rand.Text(), "hash": rand.Text() + rand.Text(),
		"issuer.yaml": `issuer: https://` + address + `
listen: ` + address + `
tls: {cert: ` + files.CertificateFile() + `, key: ` + files.KeyFile() + `}
database: {app: {file: app}, platform: {file: platform}, owner: {file: owner}, connectionsMax: 2}
bootstrapToken: {file: token}
credentialHashKey: {file: hash}
kek: {file: kek}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "issuer.yaml")
}

// database makes an empty database, dropped when the test ends, and returns a superuser's DSN of it.
func database(t *testing.T) string {
	t.Helper()
	server := testkit.Postgres(t)
	conn, err := pgx.Connect(context.Background(), server)
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 8)
	rand.Read(random)
	name := "test_" + hex.EncodeToString(random)
	if _, err := conn.Exec(context.Background(), "create database "+name+" template template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "drop database "+name+" with (force)"); err != nil {
			t.Error(err)
		}
		conn.Close(context.Background())
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func as(t *testing.T, dsn, role string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("user", role) // goes before the user in front of the host
	u.RawQuery = query.Encode()
	return u.String()
}

// fetch asks until there is an answer or the issuer has ended.
func fetch(t *testing.T, files localca.Folder, address string, ended <-chan int) error {
	t.Helper()
	pem, err := os.ReadFile(files.AuthorityFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for {
		response, err := client.Get(address)
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return errors.New(response.Status)
			}
			return nil
		}
		select {
		case status := <-ended:
			return fmt.Errorf("ended with %d: %w", status, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockedBuffer may be written by the server while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
