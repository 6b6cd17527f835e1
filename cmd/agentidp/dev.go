package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/dev"
	"github.com/agentidp/agentidp/cmd/agentidp/internal/issuerclient"
)

const stateDirDefault = ".agentidp"

// settings are what dev and demo have in common.
func settings(flags *flag.FlagSet, env environment) *dev.Settings {
	s := &dev.Settings{
		Ports:        dev.DefaultPorts(),
		EnvoyFromEnv: env.getenv("ENVOY"),
		CoverDir:     env.getenv("GOCOVERDIR"),
	}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} {
		s.ProxyFromEnv = s.ProxyFromEnv || env.getenv(name) != ""
	}
	flags.StringVar(&s.BinDir, "bin", filepath.Dir(env.executable), "`folder` of the programs issuer and extauthz")
	flags.StringVar(&s.Envoy, "envoy", "", "Envoy `program` (default: $ENVOY, PATH, .deps/venv)")
	flags.StringVar(&s.PostgresBin, "postgres-bin", "", "`folder` of initdb and postgres (default: PATH, /usr/lib/postgresql/*/bin, Homebrew)")
	flags.StringVar(&s.Redis, "redis", "", "redis-server `program` (default: PATH, else a stand-in)")
	return s
}

func runDev(env environment) int {
	flags := flag.NewFlagSet("dev", flag.ContinueOnError)
	s := settings(flags, env)
	flags.StringVar(&s.Dir, "dir", stateDirDefault, "state `folder`; made when missing")
	reset := flags.Bool("reset", false, "remove the state folder and exit")
	ports := flags.String("ports", "fixed", "`fixed`, or free for any that are not in use")
	flags.IntVar(&s.Ports.Issuer, "issuer-port", s.Ports.Issuer, "issuer (https)")
	flags.IntVar(&s.Ports.Envoy, "envoy-port", s.Ports.Envoy, "Envoy, with the demo service behind it")
	flags.IntVar(&s.Ports.Extauthz, "extauthz-port", s.Ports.Extauthz, "extauthz (gRPC)")
	flags.IntVar(&s.Ports.IssuerMetrics, "issuer-metrics-port", s.Ports.IssuerMetrics, "metrics and health of the issuer")
	flags.IntVar(&s.Ports.ExtauthzMetrics, "extauthz-metrics-port", s.Ports.ExtauthzMetrics, "metrics and health of extauthz")
	if status, done := parse(flags, env); done {
		return status
	}
	if *reset {
		if err := dev.Reset(s.Dir); err != nil {
			return fail(env, "dev -reset", err)
		}
		fmt.Fprintf(env.stdout, "removed %s\n", s.Dir)
		return exitOK
	}
	if err := choosePorts(*ports, s, flags); err != nil {
		return fail(env, "dev", err)
	}
	return dev.Run(*s, env.signals, env.stdout, env.stderr)
}

// choosePorts replaces the ports by free ones when asked to, but for those a flag names.
func choosePorts(mode string, s *dev.Settings, flags *flag.FlagSet) error {
	switch mode {
	case "fixed":
		return nil
	case "free":
	default:
		return fmt.Errorf("-ports is fixed or free, not %q", mode)
	}
	var named []string
	flags.Visit(func(f *flag.Flag) { named = append(named, f.Name) })
	return s.Ports.ChooseFree(named)
}

func runToken(env environment) int {
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	dir := flags.String("dir", stateDirDefault, "state `folder` of the running dev")
	scope := flags.String("scope", "", "`scopes` to ask for, separated by spaces (default: all the agent may have)")
	if status, done := parse(flags, env); done {
		return status
	}
	demo, endpoints, err := dev.LoadDemo(*dir)
	if err != nil {
		return fail(env, "token", err)
	}
	client, err := issuerclient.New(endpoints.Issuer, filepath.Join(*dir, "ca.pem"), "")
	if err != nil {
		return fail(env, "token", err)
	}
	secret := issuerclient.Secret{ClientID: demo.ClientID, ClientSecret: demo.ClientSecret}
	token, err := client.Token(context.Background(), secret, *scope, demo.Audience)
	if err != nil {
		return fail(env, "token", err)
	}
	fmt.Fprintln(env.stdout, token.AccessToken)
	return exitOK
}
