package bus

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/event"
)

// Handler does the work of one message. It returns nil when the message is
// done, or an error whose class decides what becomes of it:
//
//   - fault.Stopping: the message is left for the next worker.
//   - retryable: tried again after a pause, while the session's next messages
//     wait, and buried after the last attempt.
//   - anything else: buried at once.
//
// The context ends, with ErrStopping as its cause, when the consumer has been
// told to stop and its grace is over.
type Handler func(ctx context.Context, d *Delivery) error

// Delivery is a message on its way through a handler.
type Delivery struct {
	Subject string
	Stream  string
	// Sequence is the place of the message in the stream, and the same at every
	// delivery.
	Sequence uint64
	// Attempt is 1 when the message is handled for the first time, as far as the
	// server remembers. It forgets when its memory of the consumer is lost: see
	// Recovered. The effect record is what never forgets.
	Attempt int
	// Last is true when a retryable error would not lead to another attempt.
	Last bool
	// Recovered is true when the message was in the stream before this consumer
	// was made, so that somebody may have begun it.
	Recovered bool
	StoredAt  time.Time
	Header    map[string][]string
	Body      []byte
	// ReplyTo is the inbox of a caller that waits for the result, or "": see
	// Bus.Answer.
	ReplyTo string
	// Replay is the sequence of the dead letter that the message was, or 0.
	Replay uint64

	// Partition is the partition of a command: see PartitionOf. 0 for the
	// messages of Consume.
	Partition int
	// Fence tells the owners of the partition apart: a later owner has a larger
	// one. Whoever stores something for the session stores it with the fence,
	// and refuses a smaller one. 0 for the messages of Consume.
	Fence uint64

	lease *lease // nil for the messages of Consume
	after []*Future
	room  [2]*Future // for after: few messages wait for more
}

// Envelope decodes the message.
func (d *Delivery) Envelope() (event.Envelope, error) {
	return event.Decode(d.Header, d.Body)
}

// Owned returns nil while the partition is surely ours. Call it right before
// the step that cannot be undone. Otherwise the error is fault.StaleFence:
// return it, and the message is left for the next owner, or tried again when
// the partition turns out to be ours.
func (d *Delivery) Owned() error { return d.lease.owned() }

// After makes the message wait: it is settled only when the future succeeded.
// A handler publishes its result, hands the future to After, and returns, so
// that nobody waits for the disk. Call it from the handler only.
func (d *Delivery) After(f *Future) {
	if d.after == nil {
		d.after = d.room[:0]
	}
	d.after = append(d.after, f)
}

// laneOf returns the part of the subject that names the session: its last two
// tokens. Messages of one lane are handled one after another.
func laneOf(subject string) string {
	last := strings.LastIndexByte(subject, '.')
	if last < 0 {
		return subject
	}
	if before := strings.LastIndexByte(subject[:last], '.'); before >= 0 {
		return subject[before+1:]
	}
	return subject
}

// siteAndSession returns the tokens of a dead letter's subject; "" when the
// message's own subject has none.
func siteAndSession(subject string) (site, session string) {
	site, session, ok := strings.Cut(laneOf(subject), ".")
	if !ok || !event.IsToken(site) || !event.IsToken(session) {
		return "", ""
	}
	return site, session
}

// first returns the first value of the header, or "". Names are matched as they
// are written.
func first(header nats.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
