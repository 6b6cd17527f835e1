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
	shown string // the same, as the user named it
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

func (s *step) elapsed() string { return fmt.Sprintf("%5.1f s", s.now().Sub(s.began).Seconds()) }

// started completes the line of a child process.
func (s *step) started(where string, p *localsvc.Process) {
	fmt.Fprintf(s.out, "%-44s %s  pid %-7d log %s\n", where, s.elapsed(), p.PID(), s.short(p.LogFile()))
}

// done completes the line of anything else.
func (s *step) done(format string, args ...any) {
	fmt.Fprintf(s.out, "%-44s %s\n", fmt.Sprintf(format, args...), s.elapsed())
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
