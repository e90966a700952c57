package app

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// maxUnsorted bounds the history that is sorted in memory, in bytes.
const maxUnsorted = 256 << 20

// pastEvent is a trigger that was filled in afterwards, as it would have been
// stored when it happened.
type pastEvent struct {
	Subject  string
	Envelope event.Envelope
	At       time.Time
	Sequence uint64
}

// pastEvents yields the triggers that were filled in afterwards and happened in
// the window, in the order in which they happened; "" means every site, and a zero
// time no end. History that lies in its order already is read as it is, however
// much there is; other history is sorted in memory, up to 256 MiB.
func pastEvents(ctx context.Context, b *bus.Bus, site string, since, until time.Time) iter.Seq2[pastEvent, error] {
	return func(yield func(pastEvent, error) bool) {
		read := func(yield func(pastEvent, error) bool) { readPast(ctx, b, site, since, until, yield) }
		var last time.Time
		size, sorted := 0, true
		for e, err := range read {
			if err != nil {
				yield(e, err)
				return
			}
			sorted = sorted && !e.At.Before(last)
			last = e.At
			size += len(e.Envelope.Data) + 512
		}
		if sorted {
			read(yield)
			return
		}
		if size > maxUnsorted {
			yield(pastEvent{}, fault.New(fault.TooLarge, "the history that was filled in has %d MiB, and is not in its order", size>>20).
				WithFix("narrow it by site or time, or fill it in ordered by event_timestamp"))
			return
		}
		var all []pastEvent
		for e, err := range read {
			if err != nil {
				yield(e, err)
				return
			}
			all = append(all, e)
		}
		slices.SortStableFunc(all, func(a, b pastEvent) int { return a.At.Compare(b.At) })
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// readPast yields the events as they are stored.
func readPast(ctx context.Context, b *bus.Bus, site string, since, until time.Time, yield func(pastEvent, error) bool) {
	filter := event.PastFilter()
	if site != "" {
		filter = event.PastSubject(event.TriggerSubject("*", "*", site, "*"))
	}
	for d, err := range b.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{filter}}) {
		var e event.Envelope
		if err == nil {
			e, err = d.Envelope()
		}
		if err != nil {
			yield(pastEvent{}, fmt.Errorf("reading the history: %w", err))
			return
		}
		if e.Time.Before(since) || !until.IsZero() && !e.Time.Before(until) {
			continue
		}
		subject := strings.TrimSuffix(d.Subject, event.PastSubject(""))
		if !yield(pastEvent{subject, e, e.Time, d.Sequence}, nil) {
			return
		}
	}
}
