package dev

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// progress prints one line for each part: its name at once, where it is and how long it took when it is ready.
type progress struct {
	out   io.Writer
	dir   string // the state directory
	shown string // what stands for it in print
	now   func() time.Time
}

func (p *progress) begin(name string) *step {
	fmt.Fprintf(p.out, "  %-13s", name)
	return &step{p, p.now()}
}

type step struct {
	*progress
	began time.Time
}

// started completes the line of a child process: where it is, how long it took to get ready, and what to look at when it does not work.
func (s *step) started(where string, p *localsvc.Process, notes ...string) {
	s.finish(where, append([]string{fmt.Sprintf("pid %-7d log %s", p.PID(), s.short(p.LogFile()))}, notes...))
}

// done completes the line of anything else.
func (s *step) done(where string, notes ...string) { s.finish(where, notes) }

func (s *step) finish(where string, notes []string) {
	line := fmt.Sprintf("%-42s %5.1f s  %s", where, s.now().Sub(s.began).Seconds(), strings.Join(notes, "  "))
	fmt.Fprintln(s.out, strings.TrimRight(line, " "))
}

// failed ends the line; the reason follows elsewhere.
func (s *step) failed() { fmt.Fprintln(s.out, "failed") }

// short names a file of the state directory as the user named that directory, as in .agentidp/log/issuer.log.
func (p *progress) short(path string) string {
	if rest, found := strings.CutPrefix(path, p.dir+"/"); found {
		return filepath.Join(p.shown, rest)
	}
	return path
}
