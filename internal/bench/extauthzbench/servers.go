package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
)

const readyMax = time.Minute // of a server that starts; a machine may be very busy

// server is a running ext_authz server that answered a first request as it should.
type server struct {
	*localsvc.Process
	socket string
	ready  time.Duration // from before it was started until that answer was there
}

// launch describes a server to start.
type launch struct {
	name    string // also of its socket and log
	program string
	args    []string
	socket  string
	first   message
	want    outcome
}

func (l launch) start(ctx context.Context, dir string) (*server, error) {
	began := time.Now()
	p, err := localsvc.Start(localsvc.Command{
		Name: l.name, Path: l.program, Args: l.args, Dir: dir, LogFile: filepath.Join(dir, l.name+".log"),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyMax)
	defer cancel()
	go func() {
		select {
		case <-p.Exited():
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := awaitOutcome(ctx, l.socket, l.first, l.want); err != nil {
		failed := p.Err()
		return nil, errors.Join(failed, fmt.Errorf("%s: %w; its log ends:\n%s", l.name, err, p.Tail()), p.Stop())
	}
	return &server{Process: p, socket: l.socket, ready: time.Since(began)}, nil
}

// bench is everything one run of the program shares.
type bench struct {
	options options
	fixture *fixture
	dir     string
	running []*server
	first   map[headerForm]message // an allowed request, to find out whether a server is ready
	details string                 // more than the rows have room for
	again   int                    // points measured again
	shares  []float64              // of the machine, used by others while a point was measured
}

func newBench(o options, dir string) (*bench, error) {
	f, err := newFixture(dir)
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, fixture: f, dir: dir, first: map[headerForm]message{}}
	tokens, err := f.tokens(1, scopeHeld)
	if err != nil {
		return nil, err
	}
	for _, form := range []headerForm{rawHeaders, mappedHeaders} {
		if b.first[form], err = newMessage("Bearer "+tokens[0], form); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// close ends every server, and the issuer they read.
func (b *bench) close() {
	for _, s := range b.running {
		_ = s.Stop()
	}
	b.fixture.close()
}

// logs are the ends of what the running servers wrote, for an error message.
func (b *bench) logs() string {
	var all strings.Builder
	for _, s := range b.running {
		if tail := s.Tail(); tail != "" {
			fmt.Fprintf(&all, "\nthe log of %s ends:\n%s", s.Name(), tail)
		}
	}
	return all.String()
}

func (b *bench) start(ctx context.Context, l launch) (*server, error) {
	s, err := l.start(ctx, b.dir)
	if err == nil {
		b.running = append(b.running, s)
	}
	return s, err
}

func (b *bench) startFloor(ctx context.Context) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(b.dir, "floor.sock")
	return b.start(ctx, launch{name: "floor", program: self, args: []string{floorCommand, socket}, socket: socket, first: b.first[rawHeaders], want: allowed})
}

// startOurs starts bin/extauthz, with more lines of configuration; two under one name share what they keep on disk.
func (b *bench) startOurs(ctx context.Context, name string, more ...string) (*server, error) {
	socket := filepath.Join(b.dir, name+".sock")
	config, err := b.fixture.writeConfig(name, socket, strings.Join(more, ""))
	if err != nil {
		return nil, err
	}
	return b.start(ctx, launch{name: name, program: b.options.extauthz, args: []string{"-config", config}, socket: socket, first: b.first[rawHeaders], want: allowedAs})
}
