package extauthz_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/agentidp/agentidp/extauthz"
	"github.com/agentidp/agentidp/internal/config"
	"github.com/agentidp/agentidp/internal/localsvc"
)

// highWater is the most memory a process ever had, in bytes.
func highWater(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// Everything that remembers is given far more than it may keep, a log service that takes nothing included, and the process stays below what
// -check says. Nobody sets GOMEMLIMIT: it does that itself.
func TestMemoryStaysBelowItsCeiling(t *testing.T) {
	t.Parallel()
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the client would not be noticed
		<-r.Context().Done()
	}))
	t.Cleanup(stuck.Close)
	const limits = "tokenCache: {bytes: 4MiB}\ndecisionCache: {bytes: 4MiB}\nexplain: {bytes: 4MiB}\ndpop: {replayBytes: 1MiB}\n"
	e := newEdge(t, limits+"metrics: {listen: \"127.0.0.1:0\"}\nshadow: {dir: policies, path: agentidp/authz/other, percent: 100}\n"+
		"decisionLog: {http: {url: \""+stuck.URL+"/\", wait: 1m}}\n")
	e.write(t, "policies/authz.rego", edgePolicy+"\nother := input.attributes.request.http.path\n")
	var cfg extauthz.Config
	if err := config.Load(filepath.Join(e.dir, "extauthz.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	goMemLimit, resident := cfg.MemoryMax()
	p, err := localsvc.Start(localsvc.Command{
		Name: "extauthz", Path: extauthzBinary(t), Args: []string{"-config", filepath.Join(e.dir, "extauthz.yaml")},
		Env: coverageEnv(), LogFile: filepath.Join(e.dir, "extauthz.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), edgeWait)
	defer cancel()
	if err := p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", e.socket)
		if err == nil {
			conn.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	idle := highWater(t, p.PID())
	const clients, each = 4, 1500 // tokens of 2 KiB: 12 MiB of them, three times what may be kept, and 150 MiB of requests
	padding := strings.Repeat("p", 24<<10)
	var sending sync.WaitGroup
	for c := range clients {
		client := authv3.NewAuthorizationClient(dial(t, "unix://"+e.socket))
		sending.Go(func() {
			for n := range each {
				check := question("Bearer " + e.token(t, "jti", fmt.Sprint(c, "-", n), "pad", padding[:1500]))
				request := check.GetAttributes().GetRequest().GetHttp()
				request.Path = fmt.Sprintf("/orders/%d-%d", c, n)
				request.Headers[":path"], request.Headers["x-padding"] = request.GetPath(), padding
				if answer, err := client.Check(t.Context(), check); err != nil || answer.GetOkResponse() == nil {
					t.Errorf("answer %v, %v", answer, err)
					return
				}
			}
		})
	}
	sending.Wait()
	most := highWater(t, p.PID())
	t.Logf("%d MiB idle, %d MiB at most, %d MiB stated, GOMEMLIMIT %d MiB", idle>>20, most>>20, resident>>20, goMemLimit>>20)
	text, err := os.ReadFile(filepath.Join(e.dir, "extauthz.log"))
	if want := fmt.Sprintf(`"memory limit of the runtime","service":"extauthz","from":"configuration","bytes":%d`, goMemLimit); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("the process does not say %s (%v)", want, err)
	}
	if most > resident {
		t.Errorf("%d MiB resident, at most %d MiB are stated", most>>20, resident>>20)
	}
}
