package natsserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"millrace.dev/millrace/test/harness/process"
)

// StartCluster starts n nats-server processes that form one cluster with JetStream, and waits
// until all of them serve.
func StartCluster(ctx context.Context, n int, options Options) ([]*Server, error) {
	ports, err := process.FreePorts(n)
	if err != nil {
		return nil, err
	}
	routes := make([]string, n)
	for i, port := range ports {
		routes[i] = fmt.Sprintf("%q", fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	servers, errs := make([]*Server, n), make([]error, n)
	var starts sync.WaitGroup
	for i, port := range ports { // together: none of them is ready alone
		starts.Go(func() {
			o := options
			o.Config += fmt.Sprintf("\ncluster {\n  name: test\n  listen: \"127.0.0.1:%d\"\n  routes: [%s]\n}\n", port, strings.Join(routes, ", "))
			servers[i], errs[i] = Start(ctx, o)
		})
	}
	starts.Wait()
	if err := errors.Join(errs...); err != nil {
		for _, s := range servers {
			if s != nil {
				s.Stop()
			}
		}
		return nil, err
	}
	return servers, nil
}
