package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/event"
)

func TestFits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		subject, filter string
		want            bool
	}{
		{"a", "a", true},
		{"a", "*", true},
		{"a", ">", true},
		{"a", "b", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a", "a.>", false},
		{"a", "a.*", false},
		{"a.b", "a.>", true},
		{"a.b.c", "a.>", true},
		{"a.b.c", "a.*", false},
		{"a.b.c", "a.*.c", true},
		{"a.b.c", "*.*.*", true},
		{"a.b.d", "a.*.c", false},
		{"in.web.track.shop.s", event.TriggerFilter(), true},
		{"in.web.track.shop.s.past", event.TriggerFilter(), false},
		{"in.key", event.TriggerFilter(), false},
		{"due.shop.s.run.timer", event.WakeFilter(), true},
	}
	for _, test := range tests {
		if got := bus.Fits(test.subject, test.filter); got != test.want {
			t.Errorf("fits(%q, %q) = %t, want %t", test.subject, test.filter, got, test.want)
		}
	}
}

// history commits so many messages for many sessions, among them one in the middle
// of every few that no filter of these tests takes.
func history(t *testing.T, b *bus.Bus, from, n, every int) {
	t.Helper()
	var msgs []bus.FlowMsg
	for i := from; i < from+n; i++ {
		subject := event.RunsSubject("shop", fmt.Sprintf("s%d", i%40))
		if i%every != 0 {
			subject = event.RunsSubject("other", "s")
		}
		msgs = append(msgs, bus.FlowMsg{Subject: subject, Data: []byte(strconv.Itoa(i))})
		if len(msgs) == 1000 || i == from+n-1 {
			if _, err := b.Commit(t.Context(), msgs); err != nil {
				t.Fatal(err)
			}
			msgs = nil
		}
	}
}

// filters returns those of the consumers that there are.
func filters(t *testing.T, b *bus.Bus) [][]string {
	t.Helper()
	flow, err := b.JetStream().Stream(t.Context(), bus.StreamFlow)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for info := range flow.ListConsumers(t.Context()).Info() {
		if info.Config.AckPolicy != jetstream.AckNonePolicy {
			continue
		}
		one := info.Config.FilterSubjects
		if info.Config.FilterSubject != "" {
			one = []string{info.Config.FilterSubject}
		}
		all = append(all, one)
	}
	return all
}

// TestReadInBulk reads a history of which much fits, and follows it: every
// message that fits comes once and in its order, while the reader goes over from
// taking all to its filters, and back after it was away.
func TestReadInBulk(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		every   int
		filters []string
		bulk    bool
	}{
		{"every second fits", 2, []string{"run.shop.*"}, true},
		{"two filters", 2, []string{"run.shop.*", "due.*.*.*.*"}, true},
		{"few fit", 12, []string{"run.shop.*"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const before, more = 9000, 60
			b := bustest.Start(t)
			history(t, b, 0, before, test.every)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			want := 0
			for d, err := range b.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: test.filters, Follow: true}) {
				if err != nil {
					t.Fatal(err)
				}
				if got := string(d.Body); got != strconv.Itoa(want) {
					t.Fatalf("read %s, want %d", got, want)
				}
				switch {
				case want == 0:
					whole := slices.ContainsFunc(filters(t, b), func(f []string) bool { return len(f) == 0 })
					if whole != test.bulk {
						t.Errorf("it takes all: %t, want %t: %v", whole, test.bulk, filters(t, b))
					}
				case want+test.every >= before && want < before:
					history(t, b, before, more, test.every)
				case want >= before:
					if all := filters(t, b); len(all) != 1 || len(all[0]) != len(test.filters) {
						t.Errorf("after the history the consumers filter %v, want %v", all, test.filters)
					}
				}
				if want += test.every; want >= before+more {
					cancel()
				}
			}
			if want < before+more {
				t.Errorf("the last message was %d", want-test.every)
			}
			if all := filters(t, b); len(all) > 0 {
				t.Errorf("consumers are left: %v", all)
			}
		})
	}
}

// TestReadInBulkToTheEnd ends with what was there, wherever the last one that
// fits lies, and begins where it shall.
func TestReadInBulkToTheEnd(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	history(t, b, 0, 4001, 2)
	history(t, b, 4001, 999, 10_000) // None of these fits.
	for _, from := range []uint64{0, 1, 2, 2001} {
		n, last := 0, uint64(0)
		for d, err := range b.Read(t.Context(), bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"run.shop.*"}, FromSequence: from}) {
			if err != nil {
				t.Fatal(err)
			}
			if d.Sequence <= last || d.Sequence < from {
				t.Fatalf("from %d: sequence %d after %d", from, d.Sequence, last)
			}
			n, last = n+1, d.Sequence
		}
		if want := int(4001-max(from, 1))/2 + 1; n != want || last != 4001 {
			t.Errorf("from %d: %d messages until %d, want %d until 4001", from, n, last, want)
		}
	}
}

// TestAReaderThatFallsBehindTakesAll has more stored than a reader that follows
// can take with its filters.
func TestAReaderThatFallsBehindTakesAll(t *testing.T) {
	t.Parallel()
	const all = 24_000
	b := bustest.Start(t)
	history(t, b, 0, 2, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want, whole := 0, false
	for d, err := range b.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{"run.shop.*"}, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if got := string(d.Body); got != strconv.Itoa(want) {
			t.Fatalf("read %s, want %d", got, want)
		}
		if want == 0 {
			history(t, b, 2, all, 2)
		}
		if want%1000 == 0 {
			whole = whole || slices.ContainsFunc(filters(t, b), func(f []string) bool { return len(f) == 0 })
		}
		if want += 2; want >= all {
			cancel()
		}
	}
	if want < all || !whole {
		t.Errorf("it read until %d, and took all: %t", want, whole)
	}
}
