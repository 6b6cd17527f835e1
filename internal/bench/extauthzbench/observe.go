package main

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/agentidp/agentidp/internal/bench/measure"
)

// usage is what the servers, this process and the whole machine have used.
type usage struct {
	servers         []time.Duration
	client, machine time.Duration
}

func used(pids []int) (u usage, err error) {
	for _, pid := range pids {
		cpu, err := measure.CPU(pid)
		if err != nil {
			return u, err
		}
		u.servers = append(u.servers, cpu)
	}
	if u.client, err = measure.CPU(os.Getpid()); err != nil {
		return u, err
	}
	u.machine, err = measure.Busy()
	return u, err
}

// observe runs the work and says what a request of it cost the servers, and how much of the machine went elsewhere.
func observe(pids []int, work func() (requests int, err error)) (point, error) {
	before, err := used(pids)
	if err != nil {
		return point{}, err
	}
	start := time.Now()
	requests, err := work()
	if err != nil {
		return point{}, err
	}
	elapsed := time.Since(start)
	after, err := used(pids)
	if err != nil {
		return point{}, err
	}
	if requests == 0 {
		return point{}, errors.New("no request was answered")
	}
	p := point{requests: requests, perSec: float64(requests) / elapsed.Seconds()}
	foreign := (after.machine - before.machine) - (after.client - before.client)
	for i := range pids {
		spent := after.servers[i] - before.servers[i]
		foreign -= spent
		p.parts = append(p.parts, micros(spent)/float64(requests))
		p.cpu += p.parts[i]
	}
	p.foreign = max(0, float64(foreign)/float64(elapsed)/float64(runtime.NumCPU()))
	return p, nil
}
