package heap

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// Limit is how much memory the Go runtime is to manage: beyond it the collector works harder rather than let the heap grow.
type Limit struct {
	Bytes  int64  // as GOMEMLIMIT
	From   string // who said so: one of those below
	Cgroup int64  // what the control group allows the process; 0 for no limit
}

// Where a Limit is from.
const (
	FromEnvironment   = "GOMEMLIMIT"
	FromConfiguration = "configuration"
	FromCgroup        = "cgroup"
)

// cgroupShare is the part of a control group's limit that is left to the runtime, in percent: program, kernel buffers and memory that is on its way
// back to the system count there too, and who is over the limit is killed.
const cgroupShare = 90

// LimitFor returns the limit for a process that keeps itself below configured bytes: that, or what its control group leaves it, where that is
// less. An operator who has set GOMEMLIMIT has decided.
//
// The runtime knows what the environment says; off is what it begins with, and counts as nothing said.
func LimitFor(configured int64) Limit {
	return limitFor(configured, debug.SetMemoryLimit(-1), "/")
}

// Apply puts the limit in force, unless the environment has. What it returns leaves the runtime as it was found.
func (l Limit) Apply() (restore func()) {
	if l.From == FromEnvironment {
		return func() {}
	}
	before := debug.SetMemoryLimit(l.Bytes)
	return func() { debug.SetMemoryLimit(before) }
}

func limitFor(configured, environment int64, root string) Limit {
	l := Limit{Bytes: configured, From: FromConfiguration, Cgroup: cgroupLimit(root)}
	switch left := l.Cgroup / 100 * cgroupShare; {
	case environment != math.MaxInt64:
		l.Bytes, l.From = environment, FromEnvironment
	case l.Cgroup > 0 && left < configured:
		l.Bytes, l.From = left, FromCgroup
	}
	return l
}

// cgroupLimit is the smallest limit of the control groups that the process is in; 0 for none, or where there are no control groups.
func cgroupLimit(root string) int64 {
	const mounted = "sys/fs/cgroup"
	var least int64
	take := func(file string) {
		text, err := os.ReadFile(filepath.Join(root, mounted, file))
		if err != nil {
			return
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // or "max"
		if err == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	groups, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	for line := range strings.Lines(string(groups)) {
		group, v2 := strings.CutPrefix(strings.TrimSpace(line), "0::")
		for v2 && strings.HasPrefix(group, "/") && group != "/" {
			take(filepath.Join(group, "memory.max"))
			group = filepath.Dir(group)
		}
	}
	take("memory.max")                   // of a container, which sees itself as the root
	take("memory/memory.limit_in_bytes") // cgroup v1
	if least >= 1<<62 {
		return 0 // v1 says so for none
	}
	return least
}
