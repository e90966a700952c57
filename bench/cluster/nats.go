package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// natsModule is built at the version that go.mod pins.
const natsModule = "github.com/nats-io/nats-server/v2"

// node is one NATS server of the cluster.
type node struct {
	name                   string
	client, route, monitor string // addresses
	file                   string // configuration
	process                *process
}

// nats is the cluster: server processes on loopback ports that stay the same
// when one starts again.
type nats struct {
	log    *slog.Logger
	binary string
	dir    string
	client *http.Client
	nodes  []*node
}

// startNATS builds the server and starts a cluster of three.
func startNATS(ctx context.Context, log *slog.Logger, dir, sync string) (*nats, error) {
	n := &nats{log: log, binary: filepath.Join(dir, "nats-server"), dir: dir, client: &http.Client{Timeout: 5 * time.Second}}
	build := exec.CommandContext(ctx, "go", "build", "-o", n.binary, natsModule) //nolint:gosec // The module is a constant.
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s: %w\n%s", natsModule, err, out)
	}
	addresses, err := freeAddresses(ctx, 9)
	if err != nil {
		return nil, err
	}
	for i := range 3 {
		n.nodes = append(n.nodes, &node{
			name: fmt.Sprintf("n%d", i+1), client: addresses[3*i], route: addresses[3*i+1], monitor: addresses[3*i+2],
		})
	}
	for _, at := range n.nodes {
		if err := n.configure(at, sync); err != nil {
			return nil, err
		}
		if err := n.start(ctx, at); err != nil {
			return nil, err
		}
	}
	return n, n.ready(ctx, n.nodes...)
}

// configure writes the configuration of a node.
func (n *nats) configure(at *node, sync string) error {
	var routes []string
	for _, other := range n.nodes {
		routes = append(routes, "nats://"+other.route)
	}
	at.file = filepath.Join(n.dir, at.name+".conf")
	// Servers tell clients of each other, unless they are told not to: a worker
	// would find its way around the proxy that cuts it off.
	text := fmt.Sprintf(`server_name: %s
listen: %s
http: %s
max_payload: 1MB
jetstream {
  store_dir: %q
  max_memory_store: 256MB
  max_file_store: 1TB
  sync_interval: %s
}
cluster {
  name: parley
  listen: %s
  routes: [%s]
  no_advertise: true
}
`, at.name, at.client, at.monitor, filepath.Join(n.dir, at.name), sync, at.route, strings.Join(routes, ", "))
	if err := os.WriteFile(at.file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the configuration of %s: %w", at.name, err)
	}
	return nil
}

// start starts the node's process.
func (n *nats) start(ctx context.Context, at *node) error {
	var err error
	at.process, err = launch(ctx, command{
		name: at.name, path: n.binary, args: []string{"-c", at.file}, log: filepath.Join(n.dir, at.name+".log"),
	})
	return err
}

// ready waits until the nodes say that they are in step with the others.
func (n *nats) ready(ctx context.Context, nodes ...*node) error {
	for _, at := range nodes {
		healthy := func(ctx context.Context) bool { return n.get(ctx, at, "/healthz", nil) == nil }
		if err := until(ctx, time.Minute, healthy); err != nil {
			return fmt.Errorf("waiting for the NATS server %s: %w", at.name, err)
		}
	}
	return nil
}

// get asks the node's monitor. out may be nil.
func (n *nats) get(ctx context.Context, at *node, path string, out any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.monitor+path, nil)
	if err != nil {
		return fmt.Errorf("asking the monitor of %s: %w", at.name, err)
	}
	response, err := n.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the monitor of %s: %w", at.name, err)
	}
	defer response.Body.Close() //nolint:errcheck // It was read.
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the monitor of %s answered %s", at.name, response.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the monitor of %s: %w", at.name, err)
	}
	return nil
}

// streams is the part of the monitor's answer that is used here.
type streams struct {
	Accounts []struct {
		Streams []struct {
			Name    string `json:"name"`
			Cluster struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
			State struct {
				Messages int `json:"messages"`
			} `json:"state"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

// queue returns the leader of the stream of commands, and the number of
// commands in it, as the node sees them.
func (n *nats) queue(ctx context.Context, at *node) (leader string, messages int, err error) {
	var answer streams
	if err := n.get(ctx, at, "/jsz?acc=$G&streams=true", &answer); err != nil {
		return "", 0, err
	}
	for _, account := range answer.Accounts {
		for _, stream := range account.Streams {
			if stream.Name == "CMD" {
				return stream.Cluster.Leader, stream.State.Messages, nil
			}
		}
	}
	return "", 0, errors.New("the monitor shows no stream of commands")
}

// queued returns how many commands the cluster holds: the most that any node
// sees.
func (n *nats) queued(ctx context.Context) (int, error) {
	most := 0
	for _, at := range n.nodes {
		_, messages, err := n.queue(ctx, at)
		if err != nil {
			return 0, err
		}
		most = max(most, messages)
	}
	return most, nil
}

// dump keeps what every node knows of streams and consumers, for whoever looks
// for the reason why commands wait.
func (n *nats) dump(ctx context.Context) {
	for _, at := range n.nodes {
		var answer json.RawMessage
		if err := n.get(ctx, at, "/jsz?acc=$G&streams=true&consumers=true&config=true", &answer); err != nil {
			n.log.LogAttrs(ctx, slog.LevelWarn, "asking for the consumers", slog.Any("err", err))
			continue
		}
		if err := os.WriteFile(filepath.Join(n.dir, at.name+".jsz.json"), answer, 0o600); err != nil {
			n.log.LogAttrs(ctx, slog.LevelWarn, "keeping the consumers", slog.Any("err", err))
		}
	}
}

// choose returns the node that leads the stream of commands, or any.
func (n *nats) choose(ctx context.Context, pick uint64, leader bool) *node {
	if leader {
		if name, _, err := n.queue(ctx, n.nodes[0]); err == nil {
			for _, at := range n.nodes {
				if at.name == name {
					return at
				}
			}
		}
	}
	return n.nodes[pick%uint64(len(n.nodes))]
}

// url returns the addresses of all nodes for a client without a proxy.
func (n *nats) url() string { return urlOf(n.clients()) }

func (n *nats) clients() []string {
	addresses := make([]string, 0, len(n.nodes))
	for _, at := range n.nodes {
		addresses = append(addresses, at.client)
	}
	return addresses
}

func urlOf(addresses []string) string { return "nats://" + strings.Join(addresses, ",nats://") }

// stop ends all nodes.
func (n *nats) stop(ctx context.Context) {
	for _, at := range n.nodes {
		if at.process != nil {
			at.process.kill()
			_ = at.process.wait(ctx)
		}
	}
	n.client.CloseIdleConnections()
}

// freeAddresses returns loopback addresses that are free now. They are all held
// until the last one is known, so that they differ.
func freeAddresses(ctx context.Context, count int) ([]string, error) {
	var addresses []string
	var config net.ListenConfig
	for range count {
		listener, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer listener.Close() //nolint:errcheck // It was never used.
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// until asks again and again until the function says yes, or the time is over.
func until(ctx context.Context, limit time.Duration, yes func(ctx context.Context) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not come within %s", limit))
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !yes(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
