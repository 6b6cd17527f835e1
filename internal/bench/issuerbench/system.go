package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/localca"
	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/seal"
)

const (
	readyMax     = 2 * time.Minute // of a server that starts; a machine may be very busy
	databaseName = "bench"
)

// bench is everything one run of the program shares.
type bench struct {
	options  options
	dir      string
	files    localca.Folder
	adminKey string
	postgres *localsvc.Postgres
	running  []*localsvc.Process
	targets  []*target
	peerNote string    // why there is no peer, "" when there is one
	shares   []float64 // of the machine, used by others while a point was measured
}

// target is a server that gives tokens.
type target struct {
	name     string
	address  string
	pid      int
	requests [][]byte // sent in turn
}

// open starts everything.
func (b *bench) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	err := os.Chmod(b.dir, 0o711) // PostgreSQL's user walks through it when we are root; what is secret in it has modes of its own
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(b.dir, "ca"), 0o700); err != nil {
		return err
	}
	if b.files, err = localca.Ensure(filepath.Join(b.dir, "ca"), time.Now(), localca.Loopback()...); err != nil {
		return err
	}
	if b.postgres, err = localsvc.StartPostgres(ctx, localsvc.PostgresConfig{Dir: filepath.Join(b.dir, "pg")}); err != nil { // durable: each commit is on disk
		return err
	}
	if err := b.postgres.EnsureDatabase(ctx, databaseName); err != nil {
		return err
	}
	if err := b.startIssuer(ctx); err != nil {
		return err
	}
	if err := b.startFloor(ctx); err != nil {
		return err
	}
	return b.startPeer(ctx)
}

// close ends every server, the last one first.
func (b *bench) close() {
	for i := range b.running {
		_ = b.running[len(b.running)-1-i].Stop()
	}
	if b.postgres != nil {
		_ = b.postgres.Stop()
	}
}

// logs are the ends of what the running servers wrote, for an error message.
func (b *bench) logs() string {
	var all strings.Builder
	for _, p := range b.running {
		if tail := p.Tail(); tail != "" {
			fmt.Fprintf(&all, "\nthe log of %s ends:\n%s", p.Name(), tail)
		}
	}
	return all.String()
}

// start runs a server and waits until it answers at its address.
func (b *bench) start(ctx context.Context, name, address, program string, args ...string) (*localsvc.Process, error) {
	p, err := localsvc.Start(localsvc.Command{Name: name, Path: program, Args: args, Dir: b.dir, LogFile: filepath.Join(b.dir, name+".log")})
	if err != nil {
		return nil, err
	}
	b.running = append(b.running, p)
	return p, p.Await(ctx, func(ctx context.Context) error {
		c, err := b.dial(ctx, address)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port), l.Close()
}

func (b *bench) write(name, text string) error {
	return os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600)
}

// startIssuer migrates, starts bin/issuer with audit on and limits out of the way, and registers the clients.
func (b *bench) startIssuer(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	kek, err := seal.GenerateKEK()
	if err != nil {
		return err
	}
	b.adminKey = rand.Text() + rand.Text()
	const much = "{perMinute: 6000000, burst: 1000000}"
	for name, text := range map[string]string{
		"app": b.postgres.DSN("agentidp_app", databaseName), "platform": b.postgres.DSN("agentidp_platform", databaseName),
		"owner": b.postgres.DSN(localsvc.Superuser, databaseName), "kek": string(kek), "token": b.adminKey, "hash": rand.Text() + rand.Text(),
		"issuer.yaml": "issuer: https://" + address + "\nlisten: " + address + "\ntls: {cert: " + b.files.CertificateFile() + ", key: " + b.files.KeyFile() + `}
database: {app: {file: app}, platform: {file: platform}, owner: {file: owner}}
bootstrapToken: {file: token}
credentialHashKey: {file: hash}
kek: {file: kek}
log: {level: WARN}
limits: {client: ` + much + ", source: " + much + ", organization: " + much + ", instance: " + much + "}\n",
	} {
		if err := b.write(name, text); err != nil {
			return err
		}
	}
	config := filepath.Join(b.dir, "issuer.yaml")
	if out, err := exec.CommandContext(ctx, b.options.issuer, "-migrate", "-config", config).CombinedOutput(); err != nil {
		return fmt.Errorf("%s -migrate: %w\n%s", b.options.issuer, err, out)
	}
	p, err := b.start(ctx, "issuer", address, b.options.issuer, "-config", config)
	if err != nil {
		return err
	}
	t := &target{name: "issuer", address: address, pid: p.PID()}
	if t.requests, err = b.register(ctx, address); err != nil {
		return err
	}
	b.targets = append(b.targets, t)
	return nil
}

func (b *bench) startFloor(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := b.start(ctx, "floor", address, self, floorCommand, address, filepath.Join(b.dir, "ca"))
	if err != nil {
		return err
	}
	b.targets = append(b.targets, &target{name: "floor", address: address, pid: p.PID(), requests: [][]byte{tokenRequest(address, "agt_0199f6c3d5e67f108a2b3c4d5e6f7081", "aidp_secret")}})
	return nil
}
