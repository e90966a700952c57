package ingest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/ingest"
)

// asEdge is the variable that makes the test binary an edge. It holds a
// childConfig.
const asEdge = "PARLEY_TEST_EDGE"

// childConfig is what an edge process of a test is started with.
type childConfig struct {
	URL string // of NATS
	// Stores is how many events the process stores before it kills itself: after
	// the last one is stored, and before anybody is told.
	Stores int64
}

// mortal is a real store in a process that dies.
type mortal struct {
	ingest.Store
	left *atomic.Int64
}

// Accept stores the events. The last one is the process's end.
func (m mortal) Accept(ctx context.Context, events []ingest.Event) []ingest.Stored {
	stored := m.Store.Accept(ctx, events)
	if m.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		<-make(chan struct{}) // Until the signal has come.
	}
	return stored
}

// edgeProcess is an edge with a plain source that dies between the store and the
// answer. It prints where it listens.
func edgeProcess(text string) int {
	var config childConfig
	err := json.Unmarshal([]byte(text), &config)
	if err == nil {
		err = runEdge(context.Background(), config)
	}
	_, _ = fmt.Fprintln(os.Stderr, "edge:", err)
	return 1
}

func runEdge(ctx context.Context, config childConfig) error {
	log := slog.New(slog.DiscardHandler)
	b, err := bus.Open(ctx, log, bus.Options{URL: config.URL})
	if err != nil {
		return err
	}
	o, err := options(ctx, b)
	if err != nil {
		return err
	}
	mount, err := plainMount("web")
	if err != nil {
		return err
	}
	left := &atomic.Int64{}
	left.Store(config.Stores)
	o.Sources, o.Counter, o.Store = []ingest.Mount{mount}, newLedger(), mortal{o.Store, left}
	edge, err := ingest.New(log, o)
	if err != nil {
		return err
	}
	var listening net.ListenConfig
	l, err := listening.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(os.Stdout, l.Addr())
	return edge.Serve(ctx, l, ingest.Limits{})
}

// successor starts edge processes, one after the other.
type successor struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	at     string // where the present one listens
	alive  *exec.Cmd
	deaths int
}

// next returns where the present process listens; failed is where one was that
// answered no more.
func (s *successor) next(failed string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != failed {
		return s.at
	}
	s.bury()
	text, err := json.Marshal(childConfig{URL: s.url, Stores: int64(2 + s.deaths%5)})
	if err != nil {
		s.t.Error(err)
		return ""
	}
	s.alive = exec.CommandContext(s.t.Context(), os.Args[0])
	s.alive.Env, s.alive.Stderr = []string{asEdge + "=" + string(text)}, os.Stderr
	out, err := s.alive.StdoutPipe()
	if err == nil {
		err = s.alive.Start()
	}
	if err != nil {
		s.t.Error(err)
		return ""
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.t.Errorf("the edge did not start: %v", err)
		return ""
	}
	s.at = strings.TrimSpace(line)
	return s.at
}

// bury waits for the end of the present process.
func (s *successor) bury() {
	if s.alive == nil {
		return
	}
	err := s.alive.Wait()
	if s.alive.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL { //nolint:forcetypeassert // This test needs Linux.
		s.deaths++
	} else {
		s.t.Errorf("the edge ended by itself: %v", err)
	}
	s.alive = nil
}

// TestKilledBetweenStoreAndAnswer is I16, scaled: the edge dies after an event is
// stored and before its sender knows. The sender tries again, with the next
// process, and the event is there once. A sender is never told too early.
func TestKilledBetweenStoreAndAnswer(t *testing.T) {
	t.Parallel()
	senders, each := 4, bustest.Count(14, 250)
	server := bustest.Serve(t)
	b := bustest.Open(t, bus.Options{URL: server.URL()})
	edges := &successor{t: t, url: server.URL()}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	send := func(at, body string) (int, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at+"/in/web", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		request.Header.Set("Content-Type", ingest.MediaJSON)
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		_ = response.Body.Close()
		return response.StatusCode, nil
	}
	var running sync.WaitGroup
	var repeated, fresh atomic.Int64
	for sender := range senders {
		running.Go(func() {
			failed := "" // where the last try broke off
			for i := range each {
				body := fmt.Sprintf(`{"id":"m-%d-%d","event":"E","site":"shop","user_id":"u-%d","anonymous_id":"a-%d"}`, sender, i, sender, sender)
				status := 0
				for status == 0 && t.Context().Err() == nil {
					at := edges.next(failed)
					var err error
					if status, err = send(at, body); err != nil {
						failed = at
					}
				}
				switch status {
				case http.StatusAccepted:
					fresh.Add(1)
				case http.StatusOK:
					repeated.Add(1)
				default:
					t.Errorf("the answer is %d", status)
				}
			}
		})
	}
	running.Wait()
	edges.mu.Lock()
	if edges.alive != nil {
		_ = edges.alive.Process.Kill()
		edges.bury()
	}
	edges.mu.Unlock()
	counts, told := map[string]int{}, 0
	for _, one := range triggersOf(t, b) {
		counts[one.ID]++
		if one.Previous != nil {
			told++
		}
	}
	for sender := range senders {
		for i := range each {
			if n := counts[fmt.Sprintf("m-%d-%d", sender, i)]; n != 1 {
				t.Errorf("event %d of sender %d is stored %d times", i, sender, n)
			}
		}
	}
	if len(counts) != senders*each || int(fresh.Load()+repeated.Load()) != senders*each {
		t.Errorf("%d events are stored, %d confirmed, want %d", len(counts), fresh.Load()+repeated.Load(), senders*each)
	}
	if least := bustest.Count(8, 200); edges.deaths < least || repeated.Load() < int64(least) {
		t.Errorf("only %d edges died, and %d events were sent again after they were stored", edges.deaths, repeated.Load())
	}
	if told != senders {
		t.Errorf("%d merges are told, want %d", told, senders)
	}
	t.Logf("%d edges died, %d of %d events were stored before they were confirmed on another try", edges.deaths, repeated.Load(), senders*each)
}
