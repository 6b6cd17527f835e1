package localsvc

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// RedisConfig describes a private redis-server.
type RedisConfig struct {
	Program string // explicit path; empty: PATH
	Dir     string // for its socket and log; made when missing
	LogFile string // empty: redis.log in Dir
}

// Redis is a running redis-server on a unix socket. It writes nothing to disk: Redis may be wiped at any time (docs/adr/0004-redis-may-be-wiped.md).
type Redis struct {
	*Process
	Socket string
}

// URL is the address in the form Redis clients read.
func (r *Redis) URL() string { return "unix://" + r.Socket }

// StartRedis starts redis-server in a 0700 directory, without TCP and without persistence.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	program, err := FindRedis(cfg.Program)
	if err != nil {
		return nil, err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	socket := filepath.Join(cfg.Dir, "redis.sock")
	if len(socket) > socketPathBytesMax {
		return nil, fmt.Errorf("redis: the socket path %s has %d bytes, the operating system allows %d: use a directory with a shorter name", socket, len(socket), socketPathBytesMax)
	}
	if cfg.LogFile == "" {
		cfg.LogFile = filepath.Join(cfg.Dir, "redis.log")
	}
	process, err := Start(Command{
		Name: "Redis", Path: program, Dir: cfg.Dir, LogFile: cfg.LogFile, Env: []string{"LC_ALL=C"},
		Args: []string{"--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", cfg.Dir},
	})
	if err != nil {
		return nil, err
	}
	r := &Redis{Process: process, Socket: socket}
	if err := r.Await(ctx, r.ping); err != nil {
		_ = r.Stop() // the reason it did not get ready says more
		return nil, err
	}
	return r, nil
}

// ping speaks the inline form of the Redis protocol, so that no client library is needed here.
func (r *Redis) ping(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer = strings.TrimSpace(answer); answer != "+PONG" {
		return fmt.Errorf("PING answered %q", answer)
	}
	return nil
}
