package bustest

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// crewSize is how many servers a cluster of processes has.
const crewSize = 3

// Crew is a cluster of three NATS servers, each a process of its own, which can
// be killed in the middle of anything, and started again.
type Crew struct {
	t      testing.TB
	dirs   []string
	ports  []int // of clients, and then of the servers among themselves
	cmds   [crewSize]*exec.Cmd
	exited [crewSize]chan struct{}
}

// ServeCrew starts a cluster of processes. The test's package must have
//
//	func TestCrewProcess(t *testing.T) { bustest.CrewProcess(t) }
//
// because each process is the test binary itself. They end with the test.
func ServeCrew(t testing.TB) *Crew {
	t.Helper()
	c := &Crew{t: t, ports: freePorts(t, 2*crewSize)}
	for i := range crewSize {
		c.dirs = append(c.dirs, t.TempDir())
		c.start(i)
		t.Cleanup(func() { c.kill(i) })
	}
	Until(t, "the cluster answers", c.answers)
	return c
}

// URL returns where clients reach the servers.
func (c *Crew) URL() string {
	var all []string
	for _, port := range c.ports[:crewSize] {
		all = append(all, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	return strings.Join(all, ",")
}

// Restart kills a server as kill -9 does, starts it again, and returns when every
// stream has all its copies.
func (c *Crew) Restart(i int) {
	c.t.Helper()
	c.kill(i)
	c.start(i)
	Until(c.t, "every stream has all its copies", c.whole)
}

func (c *Crew) start(i int) {
	c.t.Helper()
	args := []string{"-test.run=^TestCrewProcess$", "-test.timeout=3600s", strconv.Itoa(i), c.dirs[i]}
	for _, port := range c.ports {
		args = append(args, strconv.Itoa(port))
	}
	cmd, exited := exec.CommandContext(context.WithoutCancel(c.t.Context()), os.Args[0], args...), make(chan struct{}) //nolint:gosec // It is this test.
	cmd.Stderr = c.t.Output()
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("starting a server of the cluster: %v", err)
	}
	c.cmds[i], c.exited[i] = cmd, exited
	go func() { defer close(exited); _ = cmd.Wait() }() // It is killed, and says so.
}

func (c *Crew) kill(i int) {
	_ = c.cmds[i].Process.Kill() // It fails when the process is gone.
	<-c.exited[i]
}

// answers reports whether JetStream has a leader.
func (c *Crew) answers() bool {
	return c.ask(func(ctx context.Context, js jetstream.JetStream) bool {
		_, err := js.AccountInfo(ctx)
		return err == nil
	})
}

// whole reports whether every stream has a leader, and all its copies are there.
func (c *Crew) whole() bool {
	return c.ask(func(ctx context.Context, js jetstream.JetStream) bool {
		list := js.ListStreams(ctx)
		all := true
		for info := range list.Info() {
			all = all && complete(info.Cluster)
		}
		return all && list.Err() == nil
	})
}

// complete reports whether a stream has a leader and its followers have all.
func complete(c *jetstream.ClusterInfo) bool {
	if c == nil || c.Leader == "" {
		return false
	}
	for _, follower := range c.Replicas {
		if !follower.Current || follower.Offline {
			return false
		}
	}
	return true
}

// ask asks the servers as an administrator does.
func (c *Crew) ask(is func(context.Context, jetstream.JetStream) bool) bool {
	conn, err := nats.Connect(c.URL(), nats.Timeout(time.Second))
	if err != nil {
		return false
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	return is(ctx, js)
}

// CrewProcess is what ServeCrew starts. In any other run of the tests it is
// skipped.
func CrewProcess(t *testing.T) {
	t.Helper()
	if flag.NArg() != 2+2*crewSize {
		t.Skip("it is run by another test")
	}
	var numbers []int
	for _, text := range append([]string{flag.Arg(0)}, flag.Args()[2:]...) {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	ns, err := server.NewServer(crewOptions(numbers[0], flag.Arg(1), numbers[1:]))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go ns.Start()
	<-ctx.Done()
	ns.Shutdown()
}

func crewOptions(i int, dir string, ports []int) *server.Options {
	var routes []*url.URL
	for _, port := range ports[crewSize:] {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", port)})
	}
	return &server.Options{
		ServerName: fmt.Sprintf("crew-%d", i), Host: "127.0.0.1", Port: ports[i],
		Cluster: server.ClusterOpts{Name: "crew", Host: "127.0.0.1", Port: ports[crewSize+i]},
		Routes:  routes, JetStream: true, StoreDir: dir, JetStreamMaxStore: 1 << 40, NoSigs: true, NoLog: true,
	}
}
