package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// profile writes a CPU profile of extauthz under the warm load of 16 callers, or with good requests beside a flood of forged tokens of one source, for `go tool
// pprof -top`. It measures nothing: a server that is profiled is slower.
func (b *bench) profile(ctx context.Context, file string) error {
	ports, err := localsvc.FreePorts(1)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	s, err := b.startOurs(ctx, "profile", fmt.Sprintf("metrics: {listen: %q, pprof: true}\n", address))
	if err != nil {
		return err
	}
	many, err := b.messages(b.options.tokens, scopeHeld)
	if err != nil {
		return err
	}
	l := load{socket: s.socket, pids: []int{s.PID()}, messages: many, want: allowedAs, callers: 16, conns: 2}
	if _, err := l.run(ctx, b.options.span, b.options.span); err != nil { // every token is remembered from here on
		return err
	}
	var profiled loader = &l
	if b.options.underFlood {
		floods, err := b.floods()
		if err != nil {
			return err
		}
		profiled = &goodLoad{bench: b, server: s, messages: many[:min(goodTokens, len(many))], flood: floods[0]}
	}
	b.progress("profile for %v", b.profileSpan())
	fetched := make(chan error, 1)
	go func() { fetched <- fetchProfile(ctx, address, b.profileSpan(), filepath.Clean(file)) }()
	_, err = profiled.run(ctx, 0, b.profileSpan())
	if failed := <-fetched; failed != nil {
		return failed
	}
	return err
}

// profileSpan is in whole seconds, which is what net/http/pprof takes.
func (b *bench) profileSpan() time.Duration {
	return max(time.Second, (time.Duration(b.options.repeats) * b.options.span).Round(time.Second))
}

func fetchProfile(ctx context.Context, address string, span time.Duration, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, int(span.Seconds()))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %w", url, response.Status, err)
	}
	return os.WriteFile(file, body, 0o600)
}
