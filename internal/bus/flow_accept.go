package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Accepted is an event that is to be stored once.
type Accepted struct {
	// Subject is where it goes: see event.TriggerSubject.
	Subject  string
	Envelope event.Envelope
	// Sum tells events apart that have the same id.
	Sum []byte
}

// AcceptResult is the fate of an event. It is stored when Err is nil and it is
// no duplicate.
type AcceptResult struct {
	// Duplicate is true when an event of the same source and id was stored before,
	// and Conflict when that one had another sum as well.
	Duplicate, Conflict bool
	// Sequence is the place of the event, or of the first one.
	Sequence uint64
	Err      error
}

// Accept stores the event in FLOW, together with the marker of the inbox that
// its source and id make: see event.InboxSubject. The server refuses a second
// marker, so that of any number of calls, also after restarts, one stores the
// event, for as long as Options.InboxTTL. It returns as Commit does.
func (b *Bus) Accept(ctx context.Context, subject string, e event.Envelope, sum []byte) (AcceptResult, error) {
	result := b.AcceptBatch(ctx, []Accepted{{subject, e, sum}})[0]
	return result, result.Err
}

// AcceptBatch is Accept for many events, whose fates it returns in their order.
// Those that are stored are stored in their order.
func (b *Bus) AcceptBatch(ctx context.Context, events []Accepted) []AcceptResult {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	under := make([]*Commitment, len(events))
	for i, a := range events {
		under[i] = b.accept(ctx, a)
	}
	results := make([]AcceptResult, len(events))
	for i, a := range events {
		results[i] = b.accepted(ctx, a, under[i])
	}
	return results
}

// accept commits the event behind its marker.
func (b *Bus) accept(ctx context.Context, a Accepted) *Commitment {
	return b.CommitAsync(ctx, []FlowMsg{
		{Subject: markerOf(a), Data: a.Sum, Create: true, TTL: b.opts.InboxTTL},
		{Subject: a.Subject, Envelope: &a.Envelope},
	})
}

func markerOf(a Accepted) string {
	return event.InboxSubject(event.Key(a.Envelope.Source, a.Envelope.ID))
}

// accepted waits for the fate of the event.
func (b *Bus) accepted(ctx context.Context, a Accepted, under *Commitment) AcceptResult {
	for {
		sequences, err := under.Wait(ctx)
		if err == nil {
			return AcceptResult{Sequence: sequences[1]}
		}
		if !errors.Is(err, fault.New(fault.AlreadyStored, "")) {
			return AcceptResult{Err: fmt.Errorf("accepting %s of %s: %w", a.Envelope.ID, a.Envelope.Source, err)}
		}
		marker, err := b.lastOf(ctx, StreamFlow, markerOf(a))
		if err == nil {
			// The event is right behind its marker.
			return AcceptResult{Duplicate: true, Conflict: !bytes.Equal(marker.Data, a.Sum), Sequence: marker.Sequence + 1}
		}
		if !gone(err) {
			return AcceptResult{Err: fmt.Errorf("reading the marker of %s of %s: %w", a.Envelope.ID, a.Envelope.Source, err)}
		}
		under = b.accept(ctx, a) // It ended just now.
	}
}
