package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/agentidp/agentidp/internal/heap"
)

func TestWhatIsSaidOfMemory(t *testing.T) {
	t.Parallel()
	const resident = 336 << 20
	for name, c := range map[string]struct {
		limit heap.Limit
		check []string
		log   map[string]any
		tight bool
	}{
		"configuration": {heap.Limit{Bytes: 288 << 20, From: heap.FromConfiguration}, []string{"limit of the runtime 288 MiB, by configuration\n"}, map[string]any{"from": "configuration", "bytes": 288.0 * (1 << 20)}, false},
		"container": {
			heap.Limit{Bytes: 180 << 20, From: heap.FromCgroup, Cgroup: 200 << 20},
			[]string{"limit of the runtime 180 MiB, by cgroup\n", "WARNING: the control group allows 200 MiB, and this configuration may take 336 MiB"},
			map[string]any{"from": "cgroup", "bytes": 180.0 * (1 << 20)},
			true,
		},
		"environment": {heap.Limit{Bytes: 1 << 30, From: heap.FromEnvironment, Cgroup: 1 << 30}, []string{"limit of the runtime 1024 MiB, by GOMEMLIMIT\n"}, map[string]any{"from": "GOMEMLIMIT", "bytes": 1.0 * (1 << 30)}, false},
	} {
		var said, logged bytes.Buffer
		describeLimit(&said, c.limit, resident)
		for _, want := range c.check {
			if !strings.Contains(said.String(), "memory: "+want) {
				t.Errorf("%s: %s", name, said.String())
			}
		}
		logLimit(slog.New(slog.NewJSONHandler(&logged, nil)), c.limit, resident)
		var line map[string]any
		if err := json.NewDecoder(bytes.NewReader(logged.Bytes())).Decode(&line); err != nil || line["from"] != c.log["from"] || line["bytes"] != c.log["bytes"] {
			t.Errorf("%s: %v, %v", name, line, err)
		}
		if warned := strings.Contains(logged.String(), "WARN"); warned != c.tight || strings.Contains(said.String(), "WARNING") != c.tight {
			t.Errorf("%s: warned %v: %s", name, warned, said.String())
		}
	}
}
