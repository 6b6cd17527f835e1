package localsvc

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are chosen below those the kernel gives to outgoing connections (from 32768 on Linux, 49152 elsewhere), so that none is taken by a connection
// between the choice and its use.
const (
	portMin     = 10_240
	portMax     = 32_767
	portTries   = 1000 // per port
	portHost    = "127.0.0.1"
	portNetwork = "tcp"
)

// FreePorts returns n different loopback TCP ports nothing listened on a moment ago.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n { // all are held until the last is known, so that they differ
		l, err := listenAnywhere()
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func listenAnywhere() (net.Listener, error) {
	for range portTries {
		port := portMin + rand.IntN(portMax-portMin+1)
		if l, err := net.Listen(portNetwork, net.JoinHostPort(portHost, strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, errors.New("no free loopback port was found")
}
