// Package measure reads what a process cost from the operating system, and makes medians of it. It needs Linux's /proc.
package measure

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Median is the middle of the values, NaN of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Percentile is the smallest of the sorted values that at least the share q of them does not exceed; 0 of none.
func Percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// tick is the unit in which /proc tells time to programs, whatever the kernel's own rate (USER_HZ).
const tick = 10 * time.Millisecond

// CPU is what the process and its threads have used so far, in user and kernel mode.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// proc(5): the second field is a name in parentheses, which may hold anything; utime and stime are fields 14 and 15.
	rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(rest) < 13 {
		return 0, errors.New("/proc/PID/stat is shorter than proc(5) says")
	}
	used, err := sumTicks(rest[11:13])
	return time.Duration(used) * tick, err
}

// Family is what the process and its children have used so far, those that ended included: PostgreSQL has a process for each connection.
func Family(pid int) (time.Duration, error) {
	total, err := CPU(pid)
	if err != nil {
		return 0, err
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// proc(5): ppid is field 4; cutime and cstime, of children that were waited for, are 16 and 17.
		rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(rest) < 15 {
			continue
		}
		fields := rest[11:13]
		switch strconv.Itoa(pid) {
		case rest[1]:
		case strings.TrimPrefix(filepath.Dir(file), "/proc/"):
			fields = rest[13:15]
		default:
			continue
		}
		used, err := sumTicks(fields)
		if err != nil {
			return 0, err
		}
		total += time.Duration(used) * tick
	}
	return total, nil
}

func sumTicks(fields []string) (int64, error) {
	sum := int64(0)
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// RSS is the memory of the process that is in RAM, in bytes.
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory: it has ended", pid)
}

// Busy is what the whole machine has used so far, all CPUs together, without what they idled.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	if len(fields) < 9 {
		return 0, errors.New("/proc/stat is shorter than proc(5) says")
	}
	used, err := sumTicks(slices.Concat(fields[1:4], fields[6:9]))
	return time.Duration(used) * tick, err
}
