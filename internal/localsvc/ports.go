package localsvc

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Ports are chosen below those the kernel gives to outgoing connections (from 32768 on Linux, 49152 elsewhere), so that none is taken by a connection
// between the choice and its use.
const (
	portMin     = 10_240
	portMax     = 32_767
	portTries   = 1000 // per port
	portHost    = "127.0.0.1"
	portNetwork = "tcp"
	portAnswer  = time.Second // loopback refuses at once; a port that keeps silent is somebody's
)

// given holds the ports this process was given: none is given twice.
var given sync.Map

// FreePorts returns n different loopback TCP ports nothing listened on a moment ago, and no other caller of this process was given.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}

func freePort() (int, error) {
	for range portTries {
		port := portMin + rand.IntN(portMax-portMin+1)
		if !refuses(port) {
			continue
		}
		if _, taken := given.LoadOrStore(port, true); !taken {
			return port, nil
		}
	}
	return 0, errors.New("no free loopback port was found")
}

// refuses reports whether nothing listens on the port. It asks by calling: to try by listening would occupy the port, and a child that another goroutine
// starts at that moment holds a copy of the listening socket until it executes its program, after it was closed here.
func refuses(port int) bool {
	conn, err := net.DialTimeout(portNetwork, net.JoinHostPort(portHost, strconv.Itoa(port)), portAnswer)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
