package dev

import (
	"fmt"
	"io"
	"strings"
)

// Command is a shell command that works as it is in another terminal.
type Command struct{ What, Line string }

// Commands are what to try first. Each is one line of POSIX shell with absolute paths.
func (s *Stack) Commands() []Command {
	around := ""
	if s.ProxyFromEnv {
		around = " --noproxy localhost"
	}
	curl := "curl -sS" + around
	token := fmt.Sprintf(`TOKEN=$(%s --cacert %s -K %s -d grant_type=client_credentials %s/oauth2/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')`,
		curl, shellQuote(s.Path(authorityFile)), shellQuote(s.Path(curlFile)), s.IssuerURL())
	return []Command{
		{"get a token for the demo agent (it lives five minutes)", token},
		{"call the demo service through Envoy: 200, and the service saw who called", fmt.Sprintf(`%s -i -H "Authorization: Bearer $TOKEN" %s/orders/42`, curl, s.EnvoyURL())},
		{"call it without a token: 401", fmt.Sprintf(`%s -i %s/orders/42`, curl, s.EnvoyURL())},
	}
}

// PrintCommands prints them under their meaning.
func (s *Stack) PrintCommands(w io.Writer) {
	for i, c := range s.Commands() {
		fmt.Fprintf(w, "\n  # %d. %s\n  %s\n", i+1, c.What, c.Line)
	}
}

// shellQuote leaves plain paths as they are, for the eye, and quotes the others.
func shellQuote(text string) string {
	plain := strings.IndexFunc(text, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%", r)
	}) < 0
	if plain {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
