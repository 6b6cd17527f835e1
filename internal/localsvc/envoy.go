package localsvc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const adminAnswerBytesMax = 1 << 20

// EnvoyConfig describes a private Envoy.
type EnvoyConfig struct {
	Program   string // see FindEnvoy
	Bootstrap string // file with the bootstrap document; it must have an admin listener, through which readiness is asked
	LogFile   string
	Args      []string // more arguments, such as --concurrency 1
}

// Envoy is a running Envoy.
type Envoy struct {
	*Process
	Admin string // host:port of its admin listener
	http  *http.Client
}

// StartEnvoy starts Envoy and waits until its admin interface says LIVE, which is after all listeners of the bootstrap accept.
func StartEnvoy(ctx context.Context, cfg EnvoyConfig) (*Envoy, error) {
	addressFile, err := os.CreateTemp("", "agentidp-envoy-admin-")
	if err != nil {
		return nil, fmt.Errorf("envoy: %w", err)
	}
	addressFile.Close()
	defer os.Remove(addressFile.Name())
	args := []string{
		"--config-path", cfg.Bootstrap, "--admin-address-path", addressFile.Name(),
		"--disable-hot-restart", // it shares memory with every other Envoy of the machine
		"--log-level", "warning",
	}
	process, err := Start(Command{Name: "Envoy", Path: cfg.Program, Args: append(args, cfg.Args...), LogFile: cfg.LogFile})
	if err != nil {
		return nil, err
	}
	e := &Envoy{Process: process, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	err = e.Await(ctx, func(ctx context.Context) error { return e.live(ctx, addressFile.Name()) })
	if err != nil {
		_ = e.Stop() // the reason it did not get ready says more
		return nil, err
	}
	return e, nil
}

func (e *Envoy) live(ctx context.Context, addressFile string) error {
	address, err := os.ReadFile(addressFile)
	if err != nil {
		return err
	}
	e.Admin = strings.TrimSpace(string(address))
	if e.Admin == "" {
		return fmt.Errorf("the admin listener is not open yet")
	}
	_, err = e.ask(ctx, http.MethodGet, "/ready")
	return err
}

func (e *Envoy) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+e.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, adminAnswerBytesMax))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s answered %s: %s", method, path, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Listener is the host:port a listener of the bootstrap is bound to, also when it asked for port 0.
func (e *Envoy) Listener(ctx context.Context, name string) (string, error) {
	body, err := e.ask(ctx, http.MethodGet, "/listeners?format=json")
	if err != nil {
		return "", err
	}
	var listing struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Host string `json:"address"`
					Port int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &listing); err != nil {
		return "", fmt.Errorf("envoy: /listeners: %w", err)
	}
	for _, status := range listing.Statuses {
		if status.Name == name {
			return net.JoinHostPort(status.Address.Socket.Host, strconv.Itoa(status.Address.Socket.Port)), nil
		}
	}
	return "", fmt.Errorf("envoy has no listener named %q", name)
}

// Drain asks Envoy to finish what it has begun: new requests get "Connection: close", and after the wait Envoy can be stopped without cutting one off.
// It returns early when ctx ends.
func (e *Envoy) Drain(ctx context.Context, wait time.Duration) error {
	if _, err := e.ask(ctx, http.MethodPost, "/drain_listeners?graceful"); err != nil {
		return err
	}
	pause := time.NewTicker(askPause)
	defer pause.Stop()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		busy, err := e.activeRequests(ctx)
		if err != nil || busy == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// activeRequests sums the requests in flight over all HTTP listeners but the admin one.
func (e *Envoy) activeRequests(ctx context.Context) (int, error) {
	body, err := e.ask(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(`^http\..*\.downstream_rq_active$`))
	if err != nil {
		return 0, err
	}
	sum := 0
	for line := range strings.Lines(string(body)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ": ")
		if !found || strings.HasPrefix(name, "http.admin.") {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("envoy: /stats: %q", line)
		}
		sum += n
	}
	return sum, nil
}
