package ratelimit

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// take.lua counts one request against all of its limits: one script, one round trip, by the clock of Redis.
//
//go:embed take.lua
var takeScript string

const (
	// redisTimeout bounds every step towards Redis: connecting, writing, reading, waiting for a connection. A request that waited longer would better have been counted here.
	redisTimeout = 250 * time.Millisecond
	// redisConnections is enough for some 100,000 checks a second.
	redisConnections = 16
	// keyPrefix has a hash tag, so that a Redis Cluster keeps all keys of a script on one node.
	keyPrefix = "agentidp:{limits}:"
)

// shared counts in Redis. Nothing is kept there that is not gone within a window: it may be wiped at any time.
type shared struct {
	client *redis.Client
	script *redis.Script
}

// openShared does not connect yet.
func openShared(url string) (*shared, error) {
	options, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = redisTimeout, redisTimeout, redisTimeout, redisTimeout
	options.PoolSize, options.MaxRetries = redisConnections, -1 // who fails is counted here instead
	options.ContextTimeoutEnabled = true
	options.DisableIdentity = true
	return &shared{redis.NewClient(options), redis.NewScript(takeScript)}, nil
}

func (s *shared) close() error { return s.client.Close() }

// take runs the script. A Redis that lost its scripts is given it again by the client.
func (s *shared) take(ctx context.Context, m mode, checks []Check) ([]Count, error) {
	keys, args := make([]string, len(checks)), make([]any, 1, 1+2*len(checks))
	args[0] = string(m)
	for i, c := range checks {
		keys[i] = keyPrefix + c.Key
		args = append(args, strconv.FormatFloat(float64(c.Limit.interval())/float64(time.Microsecond), 'f', 3, 64), c.Limit.Burst)
	}
	answer, err := s.script.Run(ctx, s.client, keys, args...).Int64Slice()
	if err != nil {
		return nil, err
	}
	if len(answer) != 2*len(checks) {
		return nil, fmt.Errorf("redis: %d numbers for %d limits", len(answer), len(checks))
	}
	counts := make([]Count, len(checks))
	for i := range counts {
		counts[i] = Count{Late: time.Duration(answer[2*i]) * time.Microsecond, Used: time.Duration(answer[2*i+1]) * time.Microsecond}
	}
	return counts, nil
}

// CheckURL says what is wrong with an address of Redis, without repeating it: it may have a password.
func CheckURL(url string) error {
	_, err := parseURL(url)
	return err
}

func parseURL(url string) (*redis.Options, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("want the URL of a Redis: redis://, rediss:// or unix://")
	}
	return options, nil
}
