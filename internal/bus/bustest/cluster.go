package bustest

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster is three outside NATS servers that keep every stream three times.
type Cluster struct {
	t       testing.TB
	servers []*server.Server
}

// ServeCluster starts a cluster. It ends with the test.
func ServeCluster(t testing.TB) *Cluster {
	t.Helper()
	const size = 3
	var routes []*url.URL
	ports := freePorts(t, size)
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	c := &Cluster{t: t}
	t.Cleanup(c.Stop)
	for i, port := range ports {
		ns, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("bustest-%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT,
			Cluster: server.ClusterOpts{Name: "bustest", Host: "127.0.0.1", Port: port},
			Routes:  routes, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 40,
			NoSigs: true, NoLog: true,
		})
		if err != nil {
			t.Fatalf("making a server of the cluster: %v", err)
		}
		c.servers = append(c.servers, ns)
		go ns.Start()
	}
	for _, ns := range c.servers {
		if !ns.ReadyForConnections(patience) {
			t.Fatal("a server of the cluster does not answer")
		}
	}
	Until(t, "the cluster has a leader, and all its members", func() bool {
		for _, ns := range c.servers {
			if ns.JetStreamIsLeader() {
				return len(ns.JetStreamClusterPeers()) == size
			}
		}
		return false
	})
	return c
}

// URL returns the addresses of the servers.
func (c *Cluster) URL() string {
	var all []string
	for _, ns := range c.servers {
		all = append(all, "nats://"+ns.Addr().String())
	}
	return strings.Join(all, ",")
}

// StopLeader stops the server that leads the stream, and returns when it has
// stopped.
func (c *Cluster) StopLeader(stream string) {
	c.t.Helper()
	for _, ns := range c.servers {
		if ns.JetStreamIsStreamLeader("$G", stream) {
			ns.Shutdown()
			ns.WaitForShutdown()
			return
		}
	}
	c.t.Fatalf("nobody leads the stream %s", stream)
}

// Stop stops the servers.
func (c *Cluster) Stop() {
	for _, ns := range c.servers {
		ns.Shutdown()
	}
	for _, ns := range c.servers {
		ns.WaitForShutdown()
	}
}

// freePorts returns ports that are free now: the servers of a cluster must know
// each other's before they start.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It ends at once.
		if err != nil {
			t.Fatalf("finding a free port: %v", err)
		}
		defer listener.Close() //nolint:errcheck // It was never used.
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("the address %s has no port", listener.Addr())
		}
		ports = append(ports, address.Port)
	}
	return ports
}
