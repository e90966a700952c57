package bus_test

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

// log commits so many messages, beginning with the number, by turns for two
// sessions.
func log(t testing.TB, b *bus.Bus, from, n int) {
	t.Helper()
	var msgs []bus.FlowMsg
	for i := range n {
		msgs = append(msgs, bus.FlowMsg{Subject: event.RunsSubject("shop", fmt.Sprintf("s%d", i%2)), Data: []byte(strconv.Itoa(from + i))})
	}
	if _, err := b.Commit(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
}

func TestReadFromToWhere(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	log(t, b, 1, 10)
	middle := time.Now()
	log(t, b, 11, 10)
	tests := []struct {
		name        string
		o           bus.ReadOptions
		first, last string
		count       int
	}{
		{"all", bus.ReadOptions{}, "1", "20", 20},
		{"filter", bus.ReadOptions{Filters: []string{event.RunsSubject("shop", "s1")}}, "2", "20", 10},
		{"two filters", bus.ReadOptions{Filters: []string{"run.shop.s0", "run.shop.s1"}}, "1", "20", 20},
		{"sequence", bus.ReadOptions{FromSequence: 15}, "15", "20", 6},
		{"since", bus.ReadOptions{Since: middle}, "11", "20", 10},
		{"until", bus.ReadOptions{Until: middle}, "1", "10", 10},
		{"until, following", bus.ReadOptions{Until: middle, Follow: true}, "1", "10", 10},
		{"beyond the end", bus.ReadOptions{FromSequence: 100}, "", "", 0},
		{"nothing fits", bus.ReadOptions{Filters: []string{"go.>"}}, "", "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.o.Stream = bus.StreamFlow
			var got []string
			for d, err := range b.Read(t.Context(), test.o) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(d.Body))
			}
			if len(got) != test.count || test.count > 0 && (got[0] != test.first || got[len(got)-1] != test.last) {
				t.Errorf("read %v, want %d from %s to %s", got, test.count, test.first, test.last)
			}
		})
	}
	var last []string
	for d, err := range b.LastEach(t.Context(), "run.shop.*") {
		if err != nil {
			t.Fatal(err)
		}
		last = append(last, string(d.Body))
	}
	if len(last) != 2 || last[0] != "19" || last[1] != "20" {
		t.Errorf("the last of each subject are %v", last)
	}
}

// A read leaves nothing behind on the server, whether it had something to read
// or not, and however it ended.
func TestReadLeavesNoConsumer(t *testing.T) {
	t.Parallel()
	s := bustest.Serve(t)
	b := s.Bus()
	e := event.Envelope{ID: "t-1", Source: "/test", Type: event.TriggerType(event.KindTrack), Time: time.Now(), Data: []byte(`{}`)}
	if _, err := b.Publish(t.Context(), event.TriggerSubject("test", event.KindTrack, "shop", "s"), e); err != nil {
		t.Fatal(err)
	}
	before := s.Consumers(bus.StreamFlow)
	read := func(all iter.Seq2[*bus.Delivery, error], most int) {
		for _, err := range all {
			if most--; err != nil || most == 0 {
				return
			}
		}
	}
	for _, filter := range []string{"in.>", "due.>"} {
		o := bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}
		read(b.Read(t.Context(), o), 10)
		read(b.Read(t.Context(), o), 1)
		read(b.LastEach(t.Context(), filter), 10)
	}
	read(b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"in.>"}, Follow: true}), 1)
	bustest.Until(t, "the consumers are gone", func() bool { return s.Consumers(bus.StreamFlow) <= before })
}

// A reader that follows sees every message once and in order, whatever happens
// to the server, and another one goes on exactly where it left off.
func TestAReaderNeitherSkipsNorRepeats(t *testing.T) {
	t.Parallel()
	p := bustest.ServeProcess(t, "")
	b := bustest.Open(t, bus.Options{URL: p.URL(), Timeout: 20 * time.Second})
	read := make(chan *bus.Delivery, 10000)
	follow := func(from uint64) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for d, err := range b.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, FromSequence: from, Follow: true}) {
				if err != nil {
					t.Errorf("reading: %v", err)
					return
				}
				read <- d
			}
		}()
		return func() { cancel(); <-ended }
	}
	stop := follow(1)
	next := 1
	expect := func(upTo int) {
		t.Helper()
		for ; next <= upTo; next++ {
			if d := receive(t, read, "a message"); string(d.Body) != strconv.Itoa(next) || d.Sequence != uint64(next) {
				t.Fatalf("read %s at %d, want %d", d.Body, d.Sequence, next)
			}
		}
	}
	for round := range 3 {
		log(t, b, round*200+1, 100)
		if round > 0 {
			p.Kill()
			p.Start()
		}
		log(t, b, round*200+101, 100)
		expect(round*200 + 200)
	}
	stop()
	log(t, b, 601, 100)
	stop = follow(uint64(next))
	expect(700)
	stop()
	if len(read) > 0 {
		t.Errorf("%d messages more came", len(read))
	}
}

// BenchmarkRead reads stored triggers in bulk.
func BenchmarkRead(b *testing.B) {
	at := bustest.Start(b)
	var last []*bus.Future
	for i := range b.N {
		e := flowEnvelope("bench", "m"+strconv.Itoa(i))
		last = append(last, at.PublishAsync(trigger("s"+strconv.Itoa(i%100)), e))
	}
	for _, f := range last {
		if _, err := f.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	start := cpu()
	count := 0
	for _, err := range at.Read(b.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.TriggerFilter()}}) {
		if err != nil {
			b.Fatal(err)
		}
		count++
	}
	if count != b.N {
		b.Errorf("read %d of %d", count, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
}
