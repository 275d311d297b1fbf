package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports come from below the ephemeral range (32768 and up on Linux): a port
// from the kernel could be taken by any outgoing connection before the child
// binds it, or while the child is down between a kill and a restart.
const (
	firstPort = 12000
	lastPort  = 32000
)

// FreePort returns a TCP port that nobody listened on at 127.0.0.1 a moment
// ago, and that was given to nobody else.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if !reserve(port) {
			continue
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}

// FreePorts returns n distinct free ports.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
