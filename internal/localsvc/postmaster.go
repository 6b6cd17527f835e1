package localsvc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const survivorWait = 10 * time.Second

// clearPredecessor deals with what a killed predecessor left: a postmaster that still runs on our data is stopped, a lock file that names a process which is
// gone, or has become something else, is removed. PostgreSQL itself cannot tell the latter from a rival and would refuse to start.
func (c *cluster) clearPredecessor(ctx context.Context) error {
	lock := filepath.Join(c.data(), "postmaster.pid")
	text, err := os.ReadFile(lock)
	if err == nil {
		first, _, _ := bytes.Cut(text, []byte("\n"))
		pid, err := strconv.Atoi(strings.TrimSpace(string(first)))
		if err == nil && pid > 1 && servesData(pid, c.data()) {
			if err := stopSurvivor(ctx, pid, c.data()); err != nil {
				return err
			}
		}
		if err := os.Remove(lock); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
	} else if !os.IsNotExist(err) {
		return fmt.Errorf("PostgreSQL: %w", err)
	}
	for _, name := range []string{socketName, socketName + ".lock"} {
		if err := os.Remove(filepath.Join(c.sock(), name)); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("PostgreSQL: %w", err)
		}
	}
	return nil
}

// servesData reports whether process pid is a postmaster on the data directory: a postmaster's working directory is its data directory.
func servesData(pid int, data string) bool {
	if _, err := os.Readlink("/proc/self/cwd"); err == nil {
		cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		if err != nil {
			return false
		}
		real, err := filepath.EvalSymlinks(data)
		return err == nil && cwd == real
	}
	command, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(command), data)
}

// stopSurvivor ends a postmaster that is not our child, so its end is seen by asking.
func stopSurvivor(ctx context.Context, pid int, data string) error {
	ctx, cancel := context.WithTimeout(ctx, survivorWait)
	defer cancel()
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		return fmt.Errorf("PostgreSQL: a server (pid %d) left over by an earlier run still uses %s and cannot be stopped: %w", pid, data, err)
	}
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	for servesData(pid, data) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL: a server (pid %d) left over by an earlier run still uses %s and did not stop: kill -QUIT %d", pid, data, pid)
		case <-pause.C:
		}
	}
	return nil
}
