package main

import (
	"flag"

	"github.com/agentidp/agentidp/cmd/agentidp/internal/demo"
)

func runDemo(env environment) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	s := settings(flags, env)
	keep := flags.Bool("keep", false, "leave configuration and logs behind")
	if status, done := parse(flags, env); done {
		return status
	}
	return demo.Run(demo.Options{Settings: *s, Keep: *keep}, env.signals, env.stdout, env.stderr)
}
