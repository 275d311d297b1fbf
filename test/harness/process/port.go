package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
)

// Ports come from below the ephemeral range (32768 and up on Linux): a port
// from the kernel could be taken by any outgoing connection before the child
// binds it, or while the child is down between a kill and a restart.
const (
	firstPort = 12000
	lastPort  = 32000
)

// reservations are the ports that this process has given away, each with what holds it.
var reservations struct {
	sync.Mutex
	held map[int]net.Listener
}

// reserve holds a port for this process until it ends: no FreePort returns it again, here or
// in another process. Tests of several packages run side by side, and a child binds its port
// only some time after it was given to it. What holds a port is an abstract Unix socket
// (unix(7)), which the kernel takes back; elsewhere than on Linux only this process remembers.
func reserve(port int) bool {
	reservations.Lock()
	defer reservations.Unlock()
	if _, taken := reservations.held[port]; taken {
		return false
	}
	var l net.Listener
	if runtime.GOOS == "linux" {
		var err error
		if l, err = net.Listen("unix", fmt.Sprintf("@millrace-test-port-%d", port)); err != nil {
			return false
		}
	}
	if reservations.held == nil {
		reservations.held = map[int]net.Listener{}
	}
	reservations.held[port] = l
	return true
}

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
