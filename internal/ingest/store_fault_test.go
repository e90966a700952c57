package ingest_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/fault"
)

// until sends an event until it is confirmed, and fails when an answer says
// neither that it is stored nor that it shall come again.
func (r *rig) until(body string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for r.t.Context().Err() == nil {
		a, err := r.try(http.MethodPost, "/in/web", strings.NewReader(body), nil)
		switch {
		case err != nil:
			r.t.Errorf("the edge hung up: %v", err)
			return
		case a.status == http.StatusAccepted, a.status == http.StatusOK:
			return
		case a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "":
			r.t.Errorf("the answer is %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
			return
		}
		<-tick.C
	}
}

// TestServerKilledUnderLoad is N1 through the edge: the NATS server is killed
// again and again while senders send. Each event that was confirmed is there
// after that, once.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	kills, senders := bustest.Count(3, 300), 4
	server := bustest.ServeProcess(t, bus.DurabilityAlways)
	b := bustest.Open(t, bus.Options{URL: server.URL(), Durability: bus.DurabilityAlways, Timeout: 10 * time.Second})
	r := newRig(t, b, nil, mountPlain(t, "web"))
	over := make(chan struct{})
	confirmed := make([]atomic.Int64, senders)
	var running sync.WaitGroup
	for sender := range senders {
		running.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				r.until(fmt.Sprintf(`{"id":"m-%d-%d","event":"E","user_id":"u-%d","site":"shop"}`, sender, i, i%20))
				confirmed[sender].Add(1)
			}
		})
	}
	total := func() (n int64) {
		for i := range confirmed {
			n += confirmed[i].Load()
		}
		return n
	}
	random := rand.New(rand.NewPCG(1, 300))
	for range kills {
		before := total()
		bustest.Until(t, "events are stored again", func() bool { return total() >= before+int64(senders) })
		timer := time.NewTimer(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
		<-timer.C
		server.Kill()
		server.Start()
	}
	close(over)
	running.Wait()
	counts := map[string]int{}
	for _, one := range r.triggers() {
		counts[one.ID]++
	}
	lost, twice := 0, 0
	for sender := range senders {
		for i := range confirmed[sender].Load() {
			n := counts[fmt.Sprintf("m-%d-%d", sender, i)]
			lost += max(0, 1-n)
			twice += max(0, n-1)
		}
	}
	t.Logf("%d kills, %d events confirmed: %d lost, %d twice", kills, total(), lost, twice)
	if lost+twice > 0 || int64(len(counts)) != total() {
		t.Errorf("%d events are stored", len(counts))
	}
}

// TestFullStore is N14: a store that would drop its oldest takes no more, the
// senders are told to come again, and nothing that was confirmed is dropped. With
// more room it goes on.
func TestFullStore(t *testing.T) {
	t.Parallel()
	rounds := bustest.Count(2, 5)
	const step, size = 400_000, 8_000
	server := bustest.Serve(t)
	b := server.Bus()
	limit := int64(step)
	server.Limit(bus.StreamFlow, limit)
	r := newRig(t, b, withRoom(b), mountPlain(t, "web"))
	padding := strings.Repeat("x", size)
	sent := 0
	post := func() int {
		return r.post("web", fmt.Sprintf(`{"id":"m-%d","event":"E","user_id":"u","site":"shop","properties":{"text":%q}}`, sent, padding)).status
	}
	for range rounds {
		status := http.StatusAccepted
		for status == http.StatusAccepted {
			if status = post(); status == http.StatusAccepted {
				sent++
			}
		}
		if status != http.StatusServiceUnavailable || r.ledger.refused(fault.StoreFull) == 0 {
			t.Fatalf("a full store is answered %d", status)
		}
		if n := len(r.triggers()); n != sent {
			t.Fatalf("%d events are stored, %d were confirmed", n, sent)
		}
		limit += step
		server.Limit(bus.StreamFlow, limit)
		bustest.Until(t, "there is room again", func() bool { return post() == http.StatusAccepted })
		sent++
	}
	if n := len(r.triggers()); n != sent || sent < rounds*step/size/4 {
		t.Errorf("%d events are stored, %d were confirmed", n, sent)
	}
	t.Logf("%d times full, %d events confirmed and stored, %d refused", rounds, sent, r.ledger.refused(fault.StoreFull))
}
