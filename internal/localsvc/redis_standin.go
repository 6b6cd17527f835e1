package localsvc

import (
	"fmt"

	"github.com/alicebob/miniredis/v2"
)

// RedisStandIn is miniredis in this process, on a loopback port the kernel chose. It is for development on a machine without redis-server only: it knows one process,
// and its keys expire when told to, not when time passes.
type RedisStandIn struct{ server *miniredis.Miniredis }

// StartRedisStandIn starts one.
func StartRedisStandIn() (*RedisStandIn, error) {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		return nil, fmt.Errorf("redis stand-in: %w", err)
	}
	return &RedisStandIn{server}, nil
}

// URL is the address in the form Redis clients read.
func (r *RedisStandIn) URL() string { return "redis://" + r.server.Addr() }

// Stop ends it; what it held is gone.
func (r *RedisStandIn) Stop() error {
	r.server.Close()
	return nil
}
