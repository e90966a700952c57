package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// ledger stands for the pages: it sees every effect, and by itself tells what
// was lost, done twice, or done out of order. It knows fences, as a page does
// that was told the fence of its owner.
type ledger struct {
	*httptest.Server

	mu      sync.Mutex
	fences  map[string]uint64   // the highest of each partition
	effects []effect            // in the order in which they came
	byID    map[string]int      // how often
	refused int                 // effects of a former owner
	workers map[string]struct{} // who acted
}

// effect is one action that cannot be undone.
type effect struct {
	ID, Session, Worker, Partition string
	At                             time.Time
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	l := &ledger{fences: map[string]uint64{}, byID: map[string]int{}, workers: map[string]struct{}{}}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

// ServeHTTP answers a look at the page (GET) and an action on it (POST).
func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	fence, err := strconv.ParseUint(q.Get("fence"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if fence < l.fences[q.Get("partition")] {
		l.refused++
		w.WriteHeader(http.StatusConflict)
		return
	}
	l.fences[q.Get("partition")] = fence
	if r.Method == http.MethodGet {
		_, _ = fmt.Fprint(w, l.byID[q.Get("id")])
		return
	}
	l.byID[q.Get("id")]++
	l.workers[q.Get("worker")] = struct{}{}
	l.effects = append(l.effects, effect{q.Get("id"), q.Get("session"), q.Get("worker"), q.Get("partition"), time.Now()})
}

// count returns how many effects there are.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.effects)
}

// copied returns the effects so far.
func (l *ledger) copied() []effect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.effects)
}

// verdict compares the effects with what was sent: the ids of each session, in
// order.
func (l *ledger) verdict(t testing.TB, sent map[string][]string) {
	t.Helper()
	got := map[string][]string{}
	for _, e := range l.copied() {
		got[e.Session] = append(got[e.Session], e.ID)
	}
	total, lost, twice, disordered := 0, 0, 0, 0
	for session, ids := range sent {
		total += len(ids)
		seen := map[string]int{}
		last := -1
		for _, id := range got[session] {
			seen[id]++
			at := slices.Index(ids, id)
			if at < last {
				disordered++
			}
			last = max(last, at)
		}
		for _, id := range ids {
			if seen[id] == 0 {
				lost++
			}
			twice += max(seen[id]-1, 0)
		}
	}
	t.Logf("%d commands: %d lost, %d twice, %d out of order, %d of a former owner refused", total, lost, twice, disordered, l.refused)
	if lost+twice+disordered > 0 {
		t.Errorf("%d lost, %d twice, %d out of order", lost, twice, disordered)
	}
}

// page acts for a worker.
type page struct {
	url, worker string
	bus         *bus.Bus
	client      *http.Client
}

// newPage returns the page for a worker. Its client ends with the test.
func newPage(t testing.TB, address, worker string, b *bus.Bus) page {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return page{url: address, worker: worker, bus: b, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// ask looks at the page, or acts on it.
func (p page) ask(ctx context.Context, method string, d *bus.Delivery, e event.Envelope) (string, error) {
	q := url.Values{
		"id": {e.ID}, "session": {e.Subject}, "worker": {p.worker},
		"partition": {strconv.Itoa(d.Partition)}, "fence": {strconv.FormatUint(d.Fence, 10)},
	}
	r, err := http.NewRequestWithContext(ctx, method, p.url+"?"+q.Encode(), nil)
	if err != nil {
		return "", err
	}
	res, err := p.client.Do(r)
	if err != nil {
		return "", fault.New(fault.PageHung, "asking the page").Because(err)
	}
	defer res.Body.Close() //nolint:errcheck // It was read.
	body, err := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusConflict {
		return "", fault.New(fault.StaleFence, "the page knows a later owner")
	}
	return string(body), err
}

// life is an effect record.
type life struct {
	State string `json:"state"`
	Fence uint64 `json:"fence"`
}

func (f life) json() []byte {
	body, err := json.Marshal(f)
	if err != nil {
		return nil
	}
	return body
}

// handle does a command once, whoever began it before: it begins the effect
// record, or takes it over and looks at the page; it makes sure that the
// partition is ours; it acts; it finishes the record.
func (p page) handle(ctx context.Context, d *bus.Delivery) error {
	e, err := d.Envelope()
	if err != nil {
		return err
	}
	subject := event.EffectSubject("shop", e.Subject, event.Key(e.Source, e.ID))
	started := life{"started", d.Fence}.json()
	record, err := p.bus.Begin(ctx, subject, started)
	if err != nil {
		return err
	}
	acted := false
	if !record.New {
		var was life
		if err := json.Unmarshal(record.Record, &was); err != nil {
			return err
		}
		if was.State == "done" {
			return nil
		}
		if was.Fence > d.Fence {
			return fault.New(fault.StaleFence, "a later owner began it")
		}
		receipt, err := p.bus.Finish(ctx, subject, record.Revision, started).Wait(ctx)
		if err != nil {
			return err
		}
		record.Revision = receipt.Sequence
		count, err := p.ask(ctx, http.MethodGet, d, e)
		if err != nil {
			return err
		}
		acted = count != "0"
	}
	if !acted {
		if err := p.act(ctx, d, e); err != nil {
			return err
		}
	}
	d.After(p.bus.Finish(ctx, subject, record.Revision, life{"done", d.Fence}.json()))
	return nil
}

// act takes some milliseconds, and then cannot be undone.
func (p page) act(ctx context.Context, d *bus.Delivery, e event.Envelope) error {
	timer := time.NewTimer(time.Duration(2+d.Sequence%10) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := d.Owned(); err != nil {
		return err
	}
	_, err := p.ask(context.WithoutCancel(ctx), http.MethodPost, d, e)
	return err
}

// process is a worker in a process of its own.
type process struct {
	t    testing.TB
	name string
	*exec.Cmd
	gone chan struct{}
}

// startProcess starts a worker, which acts on the ledger's pages.
func startProcess(t testing.TB, nats string, replicas int, l *ledger, name string) *process {
	t.Helper()
	p := &process{
		t: t, name: name, gone: make(chan struct{}),
		Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=120s",
			nats, strconv.Itoa(replicas), l.URL, name),
	}
	p.Stderr = t.Output()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.gone); _ = p.Wait() }() // It is killed, and says so.
	t.Cleanup(func() { _ = p.Process.Kill(); <-p.gone })
	return p
}

// tell sends the process a signal.
func (p *process) tell(what syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(what); err != nil {
		p.t.Errorf("telling %s: %v", p.name, err)
	}
}

// TestWorkerProcess is what startProcess starts.
func TestWorkerProcess(t *testing.T) { //nolint:paralleltest // It is a process of its own.
	if flag.NArg() != 4 {
		t.Skip("it is run by another test")
	}
	replicas, err := strconv.Atoi(flag.Arg(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b := bustest.Connect(t, bus.Options{URL: flag.Arg(0), Replicas: replicas, Timeout: time.Minute})
	p := newPage(t, flag.Arg(2), flag.Arg(3), b)
	if err := b.Commands(ctx, bus.CommandOptions{Worker: p.worker}, p.handle); err != nil {
		t.Errorf("Commands: %v", err)
	}
}

// load publishes commands for sessions, in turn, at a steady rate, until it is
// told to stop. It notes what was stored.
type load struct {
	stop func() (sent map[string][]string, at map[string]time.Time)
}

func startLoad(t testing.TB, b *bus.Bus, sessions, perSecond int) load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	sent, at := map[string][]string{}, map[string]time.Time{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		under := make(chan *bus.Future, 4096)
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			for f := range under {
				if _, err := f.Wait(context.WithoutCancel(ctx)); err != nil {
					t.Errorf("publishing: %v", err)
				}
			}
		}()
		for n := 0; ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				close(under)
				<-waited
				return
			}
			for range perSecond / 100 {
				e, subject := command(t, "s"+strconv.Itoa(n%sessions))
				n++
				sent[e.Subject] = append(sent[e.Subject], e.ID)
				at[e.ID] = time.Now()
				under <- b.PublishAsync(subject, e)
			}
		}
	}()
	stop := func() (map[string][]string, map[string]time.Time) {
		cancel()
		<-done
		return sent, at
	}
	t.Cleanup(func() { stop() })
	return load{stop}
}

// recovery returns, for each partition that the worker had before the moment,
// how long the first command after the moment took until another worker had
// done it: from the moment, or from its publish when that was later.
func recovery(l *ledger, published map[string]time.Time, worker string, moment time.Time) []time.Duration {
	had := map[string]bool{}
	first := map[string]time.Duration{}
	for _, e := range l.copied() {
		switch _, known := first[e.Partition]; {
		case e.At.Before(moment):
			had[e.Partition] = e.Worker == worker
		case had[e.Partition] && e.Worker != worker && !known:
			from := moment
			if published[e.ID].After(from) {
				from = published[e.ID]
			}
			first[e.Partition] = e.At.Sub(from)
		}
	}
	var all []time.Duration
	for _, took := range first {
		all = append(all, took)
	}
	slices.Sort(all)
	return all
}

// within logs how long all took, and fails the test when the slowest took much
// longer than the bar. A machine that does other things too is several times
// slower; the benchmark "failover" measures how quick it is.
func within(t testing.TB, what string, all []time.Duration, bar time.Duration) {
	t.Helper()
	if len(all) == 0 {
		t.Errorf("%s: no partition moved", what)
		return
	}
	t.Logf("%s: %d partitions, p50 %s, p99 %s, max %s", what, len(all),
		all[len(all)/2].Round(time.Millisecond), all[len(all)*99/100].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	if worst := all[len(all)*99/100]; worst > 8*bar {
		t.Errorf("%s: p99 %s, and the bar is %s", what, worst, bar)
	}
}

// waitFor waits until the time has passed: for a load that must last.
func waitFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.New("the test ended")
	}
}
