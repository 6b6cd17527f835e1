package localsvc_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
	"github.com/agentidp/agentidp/internal/testkit"
)

// parentMode makes the test binary a parent that starts a child, tells its pid and waits to be killed.
const parentMode = "LOCALSVC_TEST_PARENT_LOG"

func TestMain(m *testing.M) {
	if log := os.Getenv(parentMode); log != "" {
		p, err := localsvc.Start(localsvc.Command{Name: "child", Path: "/bin/sh", Args: []string{"-c", "echo up; while :; do sleep 1; done"}, LogFile: log})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.PID())
		select {}
	}
	testkit.Main(m)
}
