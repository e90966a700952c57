package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/fault"
)

// headerBegin holds a value that no other call of Begin has, so that a call
// whose first attempt was stored without our hearing of it knows its record.
const headerBegin = "Parley-Begin"

// Effect is the record of what became of a command.
type Effect struct {
	// New is true when this call made the record, so that the caller is the one
	// who may act.
	New bool
	// Record is what the subject holds now.
	Record []byte
	// Revision is needed to overwrite it.
	Revision uint64
}

// Begin makes an effect record, unless there is one. The server decides, so of
// any number of callers one gets Effect.New. The subject is made by
// event.EffectSubject.
func (b *Bus) Begin(ctx context.Context, subject string, record []byte) (Effect, error) {
	token := nats.NewInbox()
	msg := &nats.Msg{Subject: subject, Data: record, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {"0"},
		headerBegin:                         {token},
	}}
	receipt, err := b.send(msg, nil).Wait(ctx)
	if err == nil {
		return Effect{New: true, Record: record, Revision: receipt.Sequence}, nil
	}
	if !errors.Is(err, fault.New(fault.StaleFence, "")) {
		return Effect{}, err
	}
	last, err := b.lastOf(ctx, StreamJournal, subject)
	if err != nil {
		return Effect{}, fmt.Errorf("reading the effect record %s: %w", subject, err)
	}
	return Effect{New: first(last.Header, headerBegin) == token, Record: last.Data, Revision: last.Sequence}, nil
}

// Finish overwrites the effect record, if it still has the revision. If not,
// the future fails with fault.StaleFence: somebody else carries on.
func (b *Bus) Finish(_ context.Context, subject string, revision uint64, record []byte) *Future {
	msg := &nats.Msg{Subject: subject, Data: record, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)},
	}}
	return b.send(msg, func(ctx context.Context) (Receipt, bool) {
		// An earlier attempt may have been stored: then our own record is there.
		last, err := b.lastOf(ctx, StreamJournal, subject)
		if err != nil || last.Sequence <= revision || !bytes.Equal(last.Data, record) {
			return Receipt{}, false
		}
		return Receipt{Stream: StreamJournal, Sequence: last.Sequence}, true
	})
}

// lastOf reads the last message of the subject, through the leader.
func (b *Bus) lastOf(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	var last *jetstream.RawStreamMsg
	err := b.repeat(ctx, "$JS.API.", nil, func(ctx context.Context) error {
		at, err := b.stream(ctx, stream)
		if err == nil {
			last, err = at.GetLastMsgForSubject(ctx, subject)
		}
		return err
	})
	return last, err
}

// stream returns a handle on the stream, and keeps it: a handle costs a request.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	at := b.streams[name]
	b.mu.Unlock()
	if at != nil {
		return at, nil
	}
	at, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.streams[name] = at
	b.mu.Unlock()
	return at, nil
}
