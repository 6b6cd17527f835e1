// Package dev runs the whole system on one machine: real PostgreSQL, Redis, issuer, extauthz and Envoy as child processes, and a demo service behind them.
//
// Everything it makes lies in one state directory. Start brings the parts up in the order they need each other and says so line by line; Stop takes them
// down in the reverse order. A second start finds the data of the first.
package dev

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// Settings say what to run and where.
type Settings struct {
	Dir         string // the state directory
	Shown       string // what stands for Dir in progress lines; empty: file names count from Dir
	BinDir      string // where the programs issuer and extauthz are
	PostgresBin string // directory of initdb and postgres; empty: looked for
	Redis       string // redis-server; empty: PATH, else a stand-in within this process
	Envoy       string // empty: EnvoyFromEnv, PATH, .deps
	Ports       Ports

	EnvoyFromEnv string           // $ENVOY
	CoverDir     string           // $GOCOVERDIR, passed on to issuer and extauthz
	ProxyFromEnv bool             // the shell has a proxy set, which the printed commands must go around
	Now          func() time.Time // default time.Now
	Out          io.Writer        // progress; default none
}

// Ports are TCP ports on loopback.
type Ports struct {
	Issuer, Envoy, Extauthz, IssuerMetrics, ExtauthzMetrics int
}

// DefaultPorts are those of the quickstart.
func DefaultPorts() Ports {
	return Ports{Issuer: 8443, Envoy: 8080, Extauthz: 9191, IssuerMetrics: 9101, ExtauthzMetrics: 9103}
}

// named lists the ports with what they are for and the flag that changes them.
func (p *Ports) named() []struct {
	flag, use string
	port      *int
} {
	return []struct {
		flag, use string
		port      *int
	}{
		{"issuer-port", "the issuer (https)", &p.Issuer},
		{"envoy-port", "Envoy, with the demo service behind it", &p.Envoy},
		{"extauthz-port", "extauthz (gRPC)", &p.Extauthz},
		{"issuer-metrics-port", "metrics and health of the issuer", &p.IssuerMetrics},
		{"extauthz-metrics-port", "metrics and health of extauthz", &p.ExtauthzMetrics},
	}
}

// ChooseFree replaces the ports by some that nothing listens on, but for those whose flags are named.
func (p *Ports) ChooseFree(keep []string) error {
	ports := p.named()
	free, err := localsvc.FreePorts(len(ports))
	if err != nil {
		return err
	}
	for i, n := range ports {
		if !slices.Contains(keep, n.flag) {
			*n.port = free[i]
		}
	}
	return nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
