package harness

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace.dev/millrace/test/harness/natsserver"
	"millrace.dev/millrace/test/harness/process"
)

// StartNATS starts a nats-server process with JetStream, for tests that kill
// or restart it.
func StartNATS(t testing.TB, options natsserver.Options) *natsserver.Server {
	t.Helper()
	s, err := natsserver.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("nats-server:\n%s", process.Tail(s.LogFile(), logTail))
		}
		s.Stop()
	})
	return s
}

// StartNATSCluster starts nats-server processes with JetStream that form one cluster.
func StartNATSCluster(t testing.TB, n int, options natsserver.Options) []*natsserver.Server {
	t.Helper()
	servers, err := natsserver.StartCluster(t.Context(), n, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			if t.Failed() {
				t.Logf("nats-server %s:\n%s", s.URL(), process.Tail(s.LogFile(), logTail))
			}
			s.Stop()
		}
	})
	return servers
}

// RunEmbeddedNATS starts a NATS server with JetStream in the test's process.
func RunEmbeddedNATS(t testing.TB, options natsserver.Options) *natsserver.Embedded {
	t.Helper()
	s, err := natsserver.StartEmbedded(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// RunEmbeddedLeaf starts a hub whose JetStream is in a domain, and a leaf node without JetStream, from which that of the
// hub is reached in the domain alone.
func RunEmbeddedLeaf(t testing.TB, domain string) (hub, leaf *natsserver.Embedded) {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	hub = RunEmbeddedNATS(t, natsserver.Options{Domain: domain, Config: fmt.Sprintf("leafnodes {listen: \"127.0.0.1:%d\"}", ports[0])})
	leaf = RunEmbeddedNATS(t, natsserver.Options{
		NoJetStream: true, Config: fmt.Sprintf("leafnodes {remotes: [{url: \"nats://127.0.0.1:%d\"}]}", ports[0]),
	})
	Eventually(t, 10*time.Second, func() error {
		if leaf.Server.NumLeafNodes() == 0 {
			return errors.New("the leaf node is not connected to the hub")
		}
		return nil
	})
	return hub, leaf
}

// connector is a server, of a process or of the test's own.
type connector interface {
	Connect(options ...nats.Option) (*nats.Conn, error)
}

// JetStream connects to a server for the time of the test.
func JetStream(t testing.TB, server connector) jetstream.JetStream {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
