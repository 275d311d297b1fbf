package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// addresses hands out loopback addresses 127.a.b.c. The /24 network is random
// and held by a listener on its first address, so that agents of test
// processes which run side by side do not share one.
type addresses struct {
	prefix   string
	listener net.Listener // the kubelet port of all nodes, 127.a.b.1

	mu   sync.Mutex
	next int
	used map[int]bool
}

// kubeletPort is where the API server looks for logs.
const kubeletPort = 10250

func newAddresses() (*addresses, error) {
	var last error
	for range 50 {
		// 127.0.0.0/16 is left to everybody else.
		prefix := fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256))
		listener, err := net.Listen("tcp4", fmt.Sprintf("%s.1:%d", prefix, kubeletPort))
		if err != nil {
			last = err
			continue
		}
		return &addresses{prefix: prefix, listener: listener, used: map[int]bool{}}, nil
	}
	return nil, fmt.Errorf("no free loopback network (127.0.0.0/8 needs Linux): %w", last)
}

// nodeAddress is shared by all nodes of the agent.
func (a *addresses) nodeAddress() string { return a.prefix + ".1" }

// take returns an address that was not in use for as long as possible.
func (a *addresses) take() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const first, count = 2, 253
	for range count {
		host := first + a.next%count
		a.next++
		if !a.used[host] {
			a.used[host] = true
			return fmt.Sprintf("%s.%d", a.prefix, host), nil
		}
	}
	return "", errors.New("all 253 pod addresses of the agent are in use")
}

func (a *addresses) release(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var host int
	if _, err := fmt.Sscanf(address, a.prefix+".%d", &host); err == nil {
		delete(a.used, host)
	}
}
