package ingest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

func TestNATSProcess(t *testing.T) { bustest.NATSProcess(t) } //nolint:paralleltest // It is a process of its own.

// pace calls the function every interval until the time is over, whatever
// becomes of the earlier calls, and waits for all of them.
func pace(interval, span time.Duration, do func(i int)) {
	var running sync.WaitGroup
	tick, over := time.NewTicker(interval), time.After(span)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
			running.Go(func() { do(i) })
		case <-over:
			running.Wait()
			return
		}
	}
}

// peak measures the most memory of the process until stop is closed.
func peak(t *testing.T, stop <-chan struct{}) *atomic.Int64 {
	t.Helper()
	var most atomic.Int64
	tick := time.NewTicker(20 * time.Millisecond)
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			text, err := os.ReadFile("/proc/self/statm")
			if err != nil {
				return
			}
			if pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64); err == nil {
				most.Store(max(most.Load(), pages*int64(os.Getpagesize())))
			}
		}
	}()
	return &most
}

// p99 returns the time that one in a hundred exceeds.
func p99(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)*99/100]
}

// TestFlood is I5, scaled: one source sends far more than there is room for, for
// a while and without waiting for its answers, and another one sends as ever.
// What is too much is told to come later; what is confirmed is what is stored;
// memory has a bound; and the other source is served. It is not parallel,
// because it measures the process.
func TestFlood(t *testing.T) { //nolint:paralleltest // as said.
	const size, memory = 256 << 10, 4 << 20
	span := time.Duration(bustest.Count(2, 60)) * time.Second
	server := bustest.ServeProcess(t, "") // What it needs is not the edge's.
	r := newRig(t, bustest.Open(t, bus.Options{URL: server.URL()}), func(o *ingest.Options) {
		o.MaxBody, o.Memory, o.Requests = size, memory, 128
	}, mountPlain(t, "flood"), mountPlain(t, "calm"))
	r.client.Transport = &http.Transport{MaxIdleConnsPerHost: 512}
	t.Cleanup(r.client.CloseIdleConnections)
	padding := strings.Repeat(" ", size-200) // It costs the edge its memory, and the bus nothing.
	var mu sync.Mutex
	confirmed, took, answers := map[string]bool{}, map[string][]time.Duration{}, map[string]map[int]int{"alone": {}, "calm": {}, "flood": {}}
	send := func(phase, source string, i int, fill string) {
		id, begun := fmt.Sprintf("%s-%d", phase, i), time.Now()
		body := fmt.Sprintf(`{"id":%q,"event":"E","user_id":"u-%d","site":"shop"}`, id, i%50)
		a, err := r.try(http.MethodPost, "/in/"+source, io.MultiReader(strings.NewReader(body), strings.NewReader(fill)), nil)
		mu.Lock()
		defer mu.Unlock()
		if err != nil { // Refused without its body being read, and hung up on.
			answers[phase][0]++
			return
		}
		took[phase] = append(took[phase], time.Since(begun))
		answers[phase][a.status]++
		switch {
		case a.status == http.StatusAccepted:
			confirmed[id] = true
		case a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "":
			t.Errorf("%s is answered %d, Retry-After %q: %s", id, a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	pace(20*time.Millisecond, span/2, func(i int) { send("alone", "calm", i, "") })
	before, stop := resident(t), make(chan struct{})
	most := peak(t, stop)
	var both sync.WaitGroup
	both.Go(func() { pace(20*time.Millisecond, span, func(i int) { send("calm", "calm", i, "") }) })
	both.Go(func() { pace(300*time.Microsecond, span, func(i int) { send("flood", "flood", i, padding) }) })
	both.Wait()
	close(stop)

	t.Logf("answers %v; the calm source's p99 %s alone, %s beside the flood; memory grew by %d MiB",
		answers, p99(took["alone"]), p99(took["calm"]), (most.Load()-before)>>20)
	stored := map[string]int{}
	for _, one := range r.triggers() {
		stored[one.ID]++
	}
	for id := range confirmed {
		if stored[id] != 1 {
			t.Errorf("%s was confirmed, and is stored %d times", id, stored[id])
		}
	}
	if len(stored) != len(confirmed) || r.ledger.of("accepted") != len(stored) {
		t.Errorf("%d events are stored, %d confirmed, %d counted", len(stored), len(confirmed), r.ledger.of("accepted"))
	}
	// A stall of the disk fills its own share too, on a machine that is not ours alone.
	if n := answers["calm"]; n[http.StatusAccepted] < len(took["calm"])*99/100 || n[0] > 0 {
		t.Errorf("the calm source is answered %v", n)
	}
	if answers["flood"][http.StatusTooManyRequests] == 0 || answers["flood"][http.StatusAccepted] == 0 || r.ledger.refused(fault.Overloaded) == 0 {
		t.Errorf("the flood is answered %v, with %d refusals: it was none", answers["flood"], r.ledger.refused(fault.Overloaded))
	}
	if calm := p99(took["calm"]); calm > time.Duration(bustest.Count(5, 10))*time.Second {
		t.Errorf("the calm source waits %s", calm)
	}
	// The senders are in this process, and in the long form more of them wait.
	if grown := most.Load() - before; !raced && grown > int64(bustest.Count(80, 256))<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

// TestFloodTakesNothingOfOthers is I5 by counts: many senders of one source send
// without a rest, far more at a time than there is room for, and two of another
// source, which need no more than is theirs, are never refused and lose nothing,
// however slow the machine is.
func TestFloodTakesNothingOfOthers(t *testing.T) {
	t.Parallel()
	each := bustest.Count(20, 2000)
	r := newRig(t, bustest.Start(t), func(o *ingest.Options) {
		o.MaxBody, o.Memory, o.Requests = 64<<10, 1<<20, 16 // 4 requests and 256 KiB are each source's own.
	}, mountPlain(t, "flood"), mountPlain(t, "calm"))
	padding := strings.Repeat(" ", 60<<10)
	var mu sync.Mutex
	confirmed, answers := map[string]bool{}, map[string]map[int]int{"calm": {}, "flood": {}}
	send := func(source, id, fill string) {
		body := fmt.Sprintf(`{"id":%q,"event":"E","user_id":"u","site":"shop"}`, id) + fill
		a, err := r.try(http.MethodPost, "/in/"+source, strings.NewReader(body), nil)
		mu.Lock()
		defer mu.Unlock()
		answers[source][a.status]++ // 0 is a sender that was hung up on.
		if err == nil && a.status == http.StatusAccepted {
			confirmed[id] = true
		} else if err == nil && (a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "") {
			t.Errorf("%s is answered %d, Retry-After %q: %s", id, a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	over := make(chan struct{})
	var flood, calm sync.WaitGroup
	for sender := range 32 {
		flood.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
					send("flood", fmt.Sprintf("flood-%d-%d", sender, i), padding)
				}
			}
		})
	}
	bustest.Until(t, "the flood is refused", func() bool { return r.ledger.refused(fault.Overloaded) > 0 })
	for sender := range 2 {
		calm.Go(func() {
			for i := range each {
				send("calm", fmt.Sprintf("calm-%d-%d", sender, i), "")
			}
		})
	}
	calm.Wait()
	close(over)
	flood.Wait()
	stored := map[string]int{}
	for _, one := range r.triggers() {
		stored[one.ID]++
	}
	wrong := len(stored) - len(confirmed)
	for id := range confirmed {
		if stored[id] != 1 {
			wrong++
		}
	}
	t.Logf("answers %v; stored %d, confirmed and not stored once %d", answers, len(stored), wrong)
	if wrong != 0 || len(answers["calm"]) != 1 || answers["calm"][http.StatusAccepted] != 2*each {
		t.Error("the calm source lost something, or was refused")
	}
}
