package testkit

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agentidp/agentidp/internal/localsvc"
)

// nginxDebian is where Debian installs it: a directory that is not on everybody's PATH.
const nginxDebian = "/usr/sbin/nginx"

// nginxConfig runs in the foreground, in one process, and writes nowhere but into its directory.
const nginxConfig = `daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off; default_type text/plain; keepalive_requests 1000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen unix:nginx.sock;
    %s
  }
}
`

// Nginx starts the real nginx with directives of one server, and returns the path of the unix socket it listens on. It ends with the test.
func Nginx(t testing.TB, server string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		if _, err := os.Stat(nginxDebian); err != nil {
			t.Fatal(&localsvc.MissingError{Program: "nginx", Looked: "PATH, " + nginxDebian, Install: "apt-get install nginx-light"})
		}
		program = nginxDebian
	}
	dir := SocketDir(t)
	file, socket := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "nginx.sock")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, server), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := localsvc.Start(localsvc.Command{
		Name: "nginx", Path: program, Dir: dir, LogFile: filepath.Join(dir, "nginx.log"), Args: []string{"-p", dir, "-c", file, "-e", "stderr"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	err = p.Await(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return socket
}
