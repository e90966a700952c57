package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// headerFor is the subject of the event that a marker is for.
	headerFor = "Parley-For"
	// shareFrom is how many events must be under way for a shared flush to be
	// worth a batch, where every publish is flushed.
	shareFrom = 16
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

// Accept stores the event in FLOW, and a marker of the inbox that its source and
// id make: see event.InboxSubject. The server refuses a second marker, so that of
// any number of calls, also after restarts, one stores the event, for as long as
// Options.InboxTTL. While the server is away it tries again, until the context
// ends or Options.Timeout has passed. After an error of class unavailable, call
// it again: it completes what was begun.
func (b *Bus) Accept(ctx context.Context, subject string, e event.Envelope, sum []byte) (AcceptResult, error) {
	result := b.AcceptBatch(ctx, []Accepted{{subject, e, sum}})[0]
	return result, result.Err
}

// AcceptBatch is Accept for many events, whose fates it returns in their order.
// Those that are stored are stored in their order.
func (b *Bus) AcceptBatch(ctx context.Context, events []Accepted) []AcceptResult {
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	size := int64(len(events))
	under := b.accepting.Add(size)
	defer b.accepting.Add(-size)
	all := make([]acceptance, len(events))
	for i, a := range events {
		all[i] = acceptance{Accepted: a, marker: event.InboxSubject(event.Key(a.Envelope.Source, a.Envelope.ID))}
	}
	// A batch costs a lone server files of its own, and a cluster nothing.
	if b.opts.Replicas > 1 || b.opts.Durability == DurabilityAlways && under >= shareFrom {
		b.acceptTogether(ctx, all)
	} else {
		b.acceptInSteps(ctx, all)
	}
	results := make([]AcceptResult, len(events))
	for i := range all {
		if results[i] = all[i].result; results[i].Err != nil {
			results[i].Err = fmt.Errorf("accepting %s of %s: %w", all[i].Envelope.ID, all[i].Envelope.Source, results[i].Err)
		}
	}
	return results
}

// acceptance is an event on its way.
type acceptance struct {
	Accepted
	marker string // its subject
	taken  bool   // somebody has the marker
	result AcceptResult
}

// messages returns the marker and the event.
func (a *acceptance) messages(b *Bus) []FlowMsg {
	return []FlowMsg{
		{Subject: a.marker, Data: a.Sum, Create: true, TTL: b.opts.InboxTTL, Header: map[string]string{headerFor: a.Subject}},
		{Subject: a.Subject, Envelope: &a.Envelope},
	}
}

// acceptTogether stores every event in one commit with its marker, and so
// shares batches and flushes with all others.
func (b *Bus) acceptTogether(ctx context.Context, all []acceptance) {
	under := make([]*Commitment, len(all))
	for i := range all {
		under[i] = b.CommitAsync(ctx, all[i].messages(b))
	}
	for i := range all {
		sequences, err := under[i].Wait(ctx)
		all[i].taken = errors.Is(err, fault.New(fault.AlreadyStored, ""))
		if all[i].result.Err = err; err == nil {
			all[i].result.Sequence = sequences[1]
		}
	}
	b.acceptTaken(ctx, all)
}

// acceptInSteps stores all markers, and then the events whose marker is theirs.
// What is between the two when the process dies was not answered, and the next
// call completes it.
func (b *Bus) acceptInSteps(ctx context.Context, all []acceptance) {
	events := make([]*nats.Msg, len(all))
	under := make([]*Future, len(all))
	for i := range all {
		a := &all[i]
		var msgs [2]*nats.Msg
		for k, m := range a.messages(b) {
			if msgs[k], a.result.Err = b.flowMsg(m); a.result.Err != nil {
				break
			}
		}
		if a.result.Err == nil {
			events[i] = msgs[1]
			under[i] = b.mark(msgs[0])
		}
	}
	for i := range all {
		if under[i] == nil {
			continue
		}
		receipt, err := under[i].Wait(ctx)
		under[i] = nil
		all[i].taken = isConflict(err)
		if all[i].result.Err = err; err == nil {
			under[i] = b.follows(events[i], all[i].marker, receipt.Sequence)
		}
	}
	for i := range all {
		if under[i] != nil {
			receipt, err := under[i].Wait(ctx)
			// Another call may have completed what this one began. After a second
			// attempt it may as well have been the first one.
			all[i].result = AcceptResult{Duplicate: receipt.Duplicate && under[i].tries == 1, Sequence: receipt.Sequence, Err: err}
		}
	}
	b.acceptTaken(ctx, all)
}

// mark stores a marker. One whose first attempt was stored without our hearing
// of it is known by its own name.
func (b *Bus) mark(msg *nats.Msg) *Future {
	name := nats.NewInbox()
	msg.Header[headerCommit] = []string{name}
	return b.send(msg, func(ctx context.Context) (Receipt, bool) {
		last, err := b.lastOf(ctx, StreamFlow, msg.Subject)
		if err != nil || first(last.Header, headerCommit) != name {
			return Receipt{}, false
		}
		return Receipt{Stream: StreamFlow, Sequence: last.Sequence}, true
	})
}

// follows stores the event of a marker, once for the marker's life.
func (b *Bus) follows(msg *nats.Msg, marker string, sequence uint64) *Future {
	msg.Header[nats.MsgIdHdr] = []string{followerID(marker, sequence)}
	return b.send(msg, nil)
}

func followerID(marker string, sequence uint64) string {
	return marker + "." + strconv.FormatUint(sequence, 10)
}

// acceptTaken finds out what came of the events whose marker somebody has.
func (b *Bus) acceptTaken(ctx context.Context, all []acceptance) {
	for i := range all {
		if all[i].taken {
			b.repeated(ctx, &all[i])
		}
	}
}

// repeated looks for the event of the marker, and stores it if whoever made the
// marker died before that.
func (b *Bus) repeated(ctx context.Context, a *acceptance) {
	marker, err := b.lastOf(ctx, StreamFlow, a.marker)
	if gone(err) { // It ended just now.
		again := []acceptance{{Accepted: a.Accepted, marker: a.marker}}
		b.acceptInSteps(ctx, again)
		a.result = again[0].result
		return
	}
	if err != nil {
		a.result.Err = err
		return
	}
	conflict := !bytes.Equal(marker.Data, a.Sum)
	sequence, err := b.seek(ctx, marker)
	if err != nil || sequence > 0 || conflict {
		a.result = AcceptResult{Duplicate: err == nil, Conflict: err == nil && conflict, Sequence: sequence, Err: err}
		return
	}
	msg, err := b.flowMsg(a.messages(b)[1])
	if err == nil {
		var receipt Receipt
		// If several callers come here, the message id lets one through.
		receipt, err = b.follows(msg, a.marker, marker.Sequence).Wait(ctx)
		a.result.Duplicate, a.result.Sequence = receipt.Duplicate, receipt.Sequence
	}
	a.result.Err = err
}

// seek returns the sequence of the event, which is behind its marker, or 0.
func (b *Bus) seek(ctx context.Context, marker *jetstream.RawStreamMsg) (uint64, error) {
	subject := first(marker.Header, headerFor)
	batch, place := fromBatch(marker.Header)
	for from := marker.Sequence + 1; ; from++ {
		msg, err := b.nextOf(ctx, subject, from)
		if gone(err) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if first(msg.Header, nats.MsgIdHdr) == followerID(marker.Subject, marker.Sequence) {
			return msg.Sequence, nil
		}
		if id, number := fromBatch(msg.Header); number > 1 && id == batch && number == place+1 {
			return msg.Sequence, nil
		}
		from = msg.Sequence
	}
}
