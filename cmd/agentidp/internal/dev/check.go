package dev

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// programs are the paths of everything that will be started.
type programs struct {
	issuer, extauthz, envoy, postgresBin string
	redis                                string // empty: not installed
}

// findPrograms looks for all of them before anything is started, and names every one that is missing.
func findPrograms(s Settings) (programs, error) {
	var p programs
	var missing []error
	note := func(err error) {
		if err != nil {
			missing = append(missing, err)
		}
	}
	var err error
	p.issuer, err = ourProgram(s.BinDir, "issuer")
	note(err)
	p.extauthz, err = ourProgram(s.BinDir, "extauthz")
	note(err)
	p.envoy, err = localsvc.FindEnvoy(s.Envoy, s.EnvoyFromEnv, ".", s.BinDir)
	note(err)
	p.postgresBin, err = localsvc.FindPostgres(s.PostgresBin)
	note(err)
	p.redis, err = localsvc.FindRedis(s.Redis)
	if s.Redis != "" { // one that was asked for must be there
		note(err)
	}
	return p, errors.Join(missing...)
}

func ourProgram(dir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", fmt.Errorf("%s not found in %s: build it with `make build`, or name its folder with -bin", name, filepath.Dir(path))
	}
	return path, nil
}

// checkPorts names every port that is taken, and the flag that chooses another.
func checkPorts(p Ports) error {
	var taken []error
	for _, n := range p.named() {
		switch err := tryPort(*n.port); {
		case errors.Is(err, syscall.EADDRINUSE):
			taken = append(taken, fmt.Errorf("port %d is in use, and %s wants it: stop what listens there (`ss -ltnp 'sport = :%[1]d'` shows it), or choose another with -%[3]s, or -ports free",
				*n.port, n.use, n.flag))
		case err != nil:
			taken = append(taken, fmt.Errorf("port %d, for %s: %w: choose another with -%s", *n.port, n.use, err, n.flag))
		}
	}
	return errors.Join(taken...)
}

// tryPort listens on the port for a moment. Clients say localhost, which is also ::1: somebody who listens there would get their requests, and their tokens.
func tryPort(port int) error {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return err
	}
	l.Close()
	six, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", port))
	if err == nil {
		six.Close()
	} else if errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	return nil // a machine without IPv6 is fine
}
