package dev

import (
	"errors"
	"fmt"
	"slices"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// add notes a part for Stop, and watches its process. One that is started again takes its old place.
func (s *Stack) add(p *part) {
	s.mu.Lock()
	if i := slices.IndexFunc(s.parts, func(old *part) bool { return old.name == p.name }); i >= 0 {
		s.parts[i] = p
	} else {
		s.parts = append(s.parts, p)
	}
	s.mu.Unlock()
	if p.process == nil {
		return
	}
	go func() {
		<-p.process.Exited()
		if err := p.process.Err(); err != nil {
			select {
			case s.failed <- err:
			default: // one reason is enough
			}
		}
	}()
}

func (s *Stack) addProcess(p *localsvc.Process) {
	s.add(&part{name: p.Name(), process: p, stop: p.Stop, abort: p.Abort})
}

// Failed delivers the reason when a part has died by itself.
func (s *Stack) Failed() <-chan error { return s.failed }

// Process is the running child of a name, such as "issuer".
func (s *Stack) Process(name string) *localsvc.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.parts, func(p *part) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return s.parts[i].process
}

// Stop stops everything in the reverse order of its start, and lets go of the state directory.
func (s *Stack) Stop() error {
	s.mu.Lock()
	parts := slices.Clone(s.parts)
	s.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(parts) {
		if p.process != nil && hasExited(p.process) {
			continue
		}
		step := s.progress.begin(p.name)
		if err := p.stop(); err != nil {
			step.failed()
			errs = append(errs, fmt.Errorf("stop: %w", err))
			continue
		}
		step.done("stopped")
	}
	return errors.Join(append(errs, s.state.close())...)
}

// Abort ends all children at once, without waiting. A Stop under way then returns soon.
func (s *Stack) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		p.abort()
	}
}

func hasExited(p *localsvc.Process) bool {
	select {
	case <-p.Exited():
		return true
	default:
		return false
	}
}
