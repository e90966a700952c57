package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

const (
	// retryFirst and retryMost bound the pauses between attempts to publish.
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
	// fullWait is how long a publisher that waits bears a full queue. The server
	// removes settled commands in bursts, some milliseconds later, so a quick
	// sender who never has two commands under way can meet a full queue.
	fullWait  = 500 * time.Millisecond
	fullPause = 5 * time.Millisecond
)

// Receipt says where a message is stored.
type Receipt struct {
	Stream   string
	Sequence uint64
	// Duplicate is true when the stream had the event already, and stored
	// nothing.
	Duplicate bool
}

// Publish stores the event and returns when it is stored. The same event again
// is stored once, as long as the stream remembers it. While the server is away
// Publish tries again, until the context ends or Options.Timeout has passed. A
// denied permission and an event that is too large are known at once.
func (b *Bus) Publish(ctx context.Context, subject string, e event.Envelope) (Receipt, error) {
	return b.sendNow(ctx, envelopeMsg(subject, e))
}

// sendNow sends the message and waits until it is stored. It bears a queue that
// is full for a moment; a message that was sent ahead of others must not, or
// they would overtake it.
func (b *Bus) sendNow(ctx context.Context, msg *nats.Msg) (Receipt, error) {
	begun, pause := time.Now(), fullPause
	for {
		receipt, err := b.send(msg, nil).Wait(ctx)
		if fault.CodeOf(err) != fault.Exhausted || time.Since(begun) > fullWait || !b.pause(ctx, pause) {
			return receipt, err
		}
		pause *= 2
	}
}

// PublishAsync sends the event and returns before it is stored. Events that one
// goroutine sends are stored in that order, unless the connection breaks.
// Exactly one of Wait and Delivery.After takes the future on.
func (b *Bus) PublishAsync(subject string, e event.Envelope) *Future {
	return b.send(envelopeMsg(subject, e), nil)
}

// envelopeMsg turns the event into a message whose id is the event's key.
func envelopeMsg(subject string, e event.Envelope) *nats.Msg {
	header, body := event.Encode(e)
	header[nats.MsgIdHdr] = []string{event.Key(e.Source, e.ID)}
	return &nats.Msg{Subject: subject, Header: header, Data: body}
}

// send publishes the message, and keeps it for another attempt. The function
// settled may be nil; it is asked when an attempt finds that somebody wrote
// first, and says whether that was an earlier attempt of this same message.
func (b *Bus) send(msg *nats.Msg, settled func(ctx context.Context) (Receipt, bool)) *Future {
	f := &Future{bus: b, msg: msg, settled: settled}
	if f.err = b.fits(msg); f.err == nil {
		f.attempt()
	}
	return f
}

// fits refuses a message that the server or the stream would.
func (b *Bus) fits(msg *nats.Msg) error {
	size := len(msg.Data)
	for name, values := range msg.Header {
		for _, value := range values {
			size += len(name) + len(value) + 4
		}
	}
	limit := b.conn.MaxPayload()
	if queued(msg.Subject) {
		limit = min(limit, maxMessage)
	}
	if int64(size) > limit {
		return fault.New(fault.TooLarge, "the message for %s has %d bytes, and %d are the most", msg.Subject, size, limit)
	}
	return nil
}

// queued reports whether messages of the subject are bound for the queue of
// commands, whose messages are small.
func queued(subject string) bool {
	word, _, _ := strings.Cut(subject, ".")
	switch word {
	case "cmd", "go", "due", "timer", "in":
		return true
	}
	return false
}

// Future is a publish under way. It belongs to one goroutine.
type Future struct {
	bus     *Bus
	msg     *nats.Msg
	ahead   []*nats.Msg // the others of its batch
	settled func(ctx context.Context) (Receipt, bool)
	ack     jetstream.PubAckFuture
	mark    uint64 // the denials before the attempt
	tries   int
	err     error // of the last attempt, when it did not leave
}

// attempt sends the message.
func (f *Future) attempt() {
	f.tries++
	f.mark = f.bus.denials.mark()
	for _, msg := range f.ahead {
		if f.err = f.bus.conn.PublishMsg(msg); f.err != nil {
			return
		}
	}
	f.ack, f.err = f.bus.js.PublishMsgAsync(f.msg, f.bus.async...)
}

// Wait returns when the message is stored, or when it is sure that it will not
// be. See Publish for what it does while the server is away.
func (f *Future) Wait(ctx context.Context) (Receipt, error) {
	ctx, cancel := f.bus.deadline(ctx)
	defer cancel()
	return f.until(ctx)
}

// until is Wait without a default for the time.
func (f *Future) until(ctx context.Context) (Receipt, error) {
	pause := retryFirst
	for {
		receipt, err := f.answer(ctx)
		if err == nil {
			return receipt, nil
		}
		if isConflict(err) && f.tries > 1 && f.settled != nil {
			if receipt, ok := f.settled(ctx); ok {
				return receipt, nil
			}
		}
		err = fmt.Errorf("publishing to %s: %w", f.msg.Subject, classify(err))
		if fault.CodeOf(err) != fault.Unavailable || ctx.Err() != nil || !f.bus.pause(ctx, pause) {
			return Receipt{}, err
		}
		pause = min(2*pause, retryMost)
		f.attempt()
	}
}

// answer waits for the server's word on the last attempt.
func (f *Future) answer(ctx context.Context) (Receipt, error) {
	if f.err != nil {
		return Receipt{}, f.err
	}
	ok := f.ack.Ok()
	select { // The common case: the answer is there.
	case ack := <-ok:
		return f.heard(ack)
	default:
	}
	failed := f.ack.Err() // Not earlier: the library makes a channel for it.
	for {
		more, denied := f.bus.denials.find(f.concerns)
		if denied != nil {
			return Receipt{}, denied
		}
		select {
		case ack := <-ok:
			return f.heard(ack)
		case err := <-failed:
			return Receipt{}, err
		case <-more:
		case <-f.bus.closed:
			return Receipt{}, f.bus.goneErr()
		case <-ctx.Done():
			return Receipt{}, context.Cause(ctx)
		}
	}
}

// heard is the server's word that the message is stored, unless a test has it
// lost.
func (f *Future) heard(ack *jetstream.PubAck) (Receipt, error) {
	if lose := f.bus.opts.Unheard; lose != nil && lose(f.msg.Subject) {
		return Receipt{}, fault.New(fault.BusUnavailable, "the confirmation was lost")
	}
	return receiptOf(ack), nil
}

// concerns reports whether a denial is about this publish: its subject, or the
// inbox that the server's answers would come to, which was asked for once.
func (f *Future) concerns(d denial) bool {
	if d.verb == verbListen {
		return strings.HasPrefix(d.subject, orWord(f.bus.opts.InboxPrefix, "_INBOX")+".")
	}
	return d.number > f.mark && (d.subject == f.msg.Subject ||
		slices.ContainsFunc(f.ahead, func(msg *nats.Msg) bool { return d.subject == msg.Subject }))
}

func receiptOf(ack *jetstream.PubAck) Receipt {
	return Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}
}

// pause waits for the time to pass, or for the connection to come back. It
// reports whether another attempt makes sense.
func (b *Bus) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.reconnected():
		return true
	case <-b.closed:
		return false
	case <-ctx.Done():
		return false
	}
}

// gone reports whether the error says that a stream, a consumer or a message
// is not there.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) ||
		errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrConsumerDoesNotExist)
}
