package measure

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine says in one line on what was measured. What cannot be read is left out.
func Machine() string {
	return fmt.Sprintf("%d CPUs%s, %s, Linux %s, load average %s",
		runtime.NumCPU(), cpuModel(), runtime.Version(), firstLine("/proc/sys/kernel/osrelease"), LoadAverage())
}

// LoadAverage is that of the last 1, 5 and 15 minutes.
func LoadAverage() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}

func firstLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
