package orgpolicy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentidp/agentidp/internal/smallfile"
)

const (
	foldersMax  = 10_000
	foldersPoll = 500 * time.Millisecond
	// foldersPollShare bounds the part of the time that goes into reading a slow directory.
	foldersPollShare = 50
	// goneAfter is how long a folder must be missing before its organization counts as one without a policy: a folder that is being
	// replaced is not one that was removed.
	goneAfter = 5 * time.Second
)

// listing is what Scan returns.
type listing struct{ ids, problems []string }

func scan(dir string) (l listing, err error) {
	l.ids, l.problems, err = Scan(dir)
	return l, err
}

// Scan lists the organizations that have a folder: its name is the organization's id, byte by byte. Names that begin with a dot are
// left out. What else lies there and looks like policy, or cannot be an id, is listed as a problem: whoever put it there expects
// something of it, and it concerns nobody.
func Scan(dir string) (ids, problems []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	if len(entries) > foldersMax {
		return nil, nil, fmt.Errorf("%s: more than %d entries", dir, foldersMax)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		folder := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 { // as Kubernetes mounts a volume
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", name, err))
				continue
			}
			folder = info.IsDir()
		}
		switch {
		case folder && isID(name):
			ids = append(ids, name)
		case folder:
			problems = append(problems, fmt.Sprintf("%q: no organization has such an id: want visible ASCII", name))
		case isPolicy(name):
			problems = append(problems, fmt.Sprintf("%s: is in no folder, and so the policy of no organization", name))
		}
	}
	return ids, problems, nil
}

func isID(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isPolicy(name string) bool {
	return strings.HasSuffix(name, ".rego") || slices.Contains([]string{"data.json", "data.yaml", "data.yml"}, name)
}

// Name implements feed.Feed.
func (s *Set) Name() string { return "organizations" }

// Load implements feed.Feed: it finds the folders, and compiles none of them.
func (s *Set) Load(ctx context.Context) error {
	found, err := s.directory.Read(ctx)
	if err != nil {
		return err
	}
	s.use(found.ids, s.cfg.Now())
	s.warn(ctx, found.problems)
	return nil
}

// Run implements feed.Feed: it follows which folders there are.
func (s *Set) Run(ctx context.Context) error {
	timer := time.NewTimer(foldersPoll)
	defer timer.Stop()
	var said string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		found, err := s.directory.Read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		problems := found.problems
		if err != nil {
			problems = []string{err.Error() + "; the organizations known stay so"}
		} else {
			s.use(found.ids, s.cfg.Now())
		}
		if say := strings.Join(problems, "\n"); say != said {
			said = say
			s.warn(ctx, problems)
		}
		next := foldersPoll
		if !errors.Is(err, smallfile.ErrNoAnswer) {
			next = max(next, foldersPollShare*time.Since(began))
		}
		timer.Reset(next)
	}
}

const problemsLogMax = 20

func (s *Set) warn(ctx context.Context, problems []string) {
	for _, p := range problems[:min(len(problems), problemsLogMax)] {
		s.cfg.Log.ErrorContext(ctx, "folder of organizations", "dir", s.cfg.Dir, "err", p)
	}
}

// use makes the organizations with these ids known, and forgets those that are missing for long.
func (s *Set) use(ids []string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.folders.Load()
	next := make(map[string]*Organization, len(ids))
	for _, id := range ids {
		if next[id] = known[id]; next[id] == nil {
			next[id] = s.newOrganization(id)
		}
		delete(s.missing, id)
	}
	for id, o := range known {
		if next[id] != nil {
			continue
		}
		since, ok := s.missing[id]
		if !ok {
			since, s.missing[id] = now, now
		}
		if now.Sub(since) < goneAfter {
			next[id] = o
			continue
		}
		delete(s.missing, id)
		o.gone = true
		if r := o.current.Load(); r != nil {
			s.remove(r)
		}
		s.cfg.Log.Warn("an organization has no policy any more: its folder is gone", "organization", id)
	}
	s.folders.Store(&next)
}
