package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/agentidp/agentidp/internal/heap"
)

// describeLimit says for -check what the runtime would be told about memory, and warns of a container that is too small.
func describeLimit(w io.Writer, l heap.Limit, resident int64) {
	fmt.Fprintf(w, "memory: limit of the runtime %d MiB, by %s\n", l.Bytes>>20, l.From)
	if isTight(l, resident) {
		fmt.Fprintf(w, "memory: WARNING: %s\n", tight(l, resident))
	}
}

// logLimit is describeLimit for a process that runs.
func logLimit(log *slog.Logger, l heap.Limit, resident int64) {
	log.Info("memory limit of the runtime", "from", l.From, "bytes", l.Bytes)
	if isTight(l, resident) {
		log.Warn(tight(l, resident))
	}
}

func isTight(l heap.Limit, resident int64) bool { return l.Cgroup > 0 && l.Cgroup < resident }

func tight(l heap.Limit, resident int64) string {
	return fmt.Sprintf("the control group allows %d MiB, and this configuration may take %d MiB: make its caches smaller, or the container larger", l.Cgroup>>20, resident>>20)
}
