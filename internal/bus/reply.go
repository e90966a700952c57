package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The headers of Parley's own, beside those of CloudEvents.
const (
	headerReply  = "Parley-Reply"  // the inbox of a caller that waits for the result
	headerReplay = "Parley-Replay" // the sequence of the dead letter that was sent again
)

// lookEvery is how often a waiting sender looks into the history.
const lookEvery = time.Second

// Reply is the result that a sender waits for. Call Close when done with it.
type Reply struct {
	// Receipt says where the command is stored.
	Receipt Receipt

	bus     *Bus
	subject string
	command event.Envelope
	token   string
	result  chan *nats.Msg
}

// Send publishes a command, and names an inbox in its header that the worker
// answers to. It returns when the command is stored.
func (b *Bus) Send(ctx context.Context, subject string, e event.Envelope) (*Reply, error) {
	r := &Reply{bus: b, subject: subject, command: e, result: make(chan *nats.Msg, 1)}
	var err error
	if r.token, err = b.inbox.open(r.result); err != nil {
		return nil, fmt.Errorf("listening for the result: %w", classify(err))
	}
	msg := envelopeMsg(subject, e)
	msg.Header[headerReply] = []string{b.inbox.prefix + r.token}
	if r.Receipt, err = b.sendNow(ctx, msg); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Wait returns the result. Without one before the context ends, or before
// Options.Timeout has passed, the error is fault.NoWorker.
//
// The answer to the inbox is the quick way, and can get lost with a connection.
// So Wait looks into the history from time to time, if the credentials allow.
func (r *Reply) Wait(ctx context.Context) (event.Envelope, error) {
	ctx, cancel := r.bus.deadline(ctx)
	defer cancel()
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	for {
		select {
		case msg := <-r.result:
			e, err := event.Decode(msg.Header, msg.Data)
			if err != nil {
				return event.Envelope{}, fmt.Errorf("reading the result of %s: %w", r.subject, err)
			}
			return e, nil
		case <-looks.C:
			e, found, err := r.look(ctx)
			if found {
				return e, nil
			}
			if fault.CodeOf(err) == fault.Denied {
				looks.Stop()
			}
		case <-r.bus.closed:
			return event.Envelope{}, r.bus.goneErr()
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return event.Envelope{}, fmt.Errorf("waiting for the result of %s: %w", r.subject, context.Cause(ctx))
			}
			return event.Envelope{}, fault.New(fault.NoWorker, "no result of %s came in time", r.subject).Because(ctx.Err())
		}
	}
}

// look finds the result in the history.
func (r *Reply) look(ctx context.Context) (event.Envelope, bool, error) {
	address, err := event.ParseCommandSubject(r.subject)
	if err != nil {
		return event.Envelope{}, false, fmt.Errorf("looking for the result: %w", err)
	}
	last, err := r.bus.lastOf(ctx, StreamEvents, event.ResultSubject(address.Action, address.Site, address.Session))
	if err != nil {
		return event.Envelope{}, false, err
	}
	e, err := event.Decode(last.Header, last.Data)
	if err != nil {
		return event.Envelope{}, false, fmt.Errorf("reading a result: %w", err)
	}
	var result event.Result
	if err := json.Unmarshal(e.Data, &result); err != nil {
		return event.Envelope{}, false, fmt.Errorf("reading a result: %w", err)
	}
	return e, result.CommandID == r.command.ID && result.CommandSource == r.command.Source, nil
}

// Close stops listening. It may be called twice.
func (r *Reply) Close() { r.bus.inbox.close(r.token) }

// Answer sends the result to the inbox of a caller that waits: Delivery.ReplyTo.
// It is for speed only, and is lost when nobody listens; the result itself is
// published. Answer("") does nothing.
func (b *Bus) Answer(to string, e event.Envelope) error {
	if to == "" {
		return nil
	}
	if !isInbox(to) {
		return fault.New(fault.Malformed, "%q is not an inbox", to)
	}
	header, body := event.Encode(e)
	if err := b.conn.PublishMsg(&nats.Msg{Subject: to, Header: header, Data: body}); err != nil {
		return fmt.Errorf("answering %s: %w", to, classify(err))
	}
	return nil
}

// isInbox reports whether the subject is an inbox. The header with the subject
// comes from whoever sent the command; without this check a sender could make a
// worker publish what the sender itself may not.
func isInbox(subject string) bool {
	if !strings.HasPrefix(subject, "_INBOX.") && !strings.HasPrefix(subject, "_INBOX_") {
		return false
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return false
		}
	}
	return len(subject) <= 256
}

// inbox is one subscription that takes the results for all who wait.
type inbox struct {
	conn   *nats.Conn
	prefix string // ends with a dot

	mu      sync.Mutex // guards the fields below
	sub     *nats.Subscription
	waiting map[string]chan<- *nats.Msg
}

func newInbox(conn *nats.Conn) *inbox {
	return &inbox{conn: conn, prefix: conn.NewInbox() + ".", waiting: map[string]chan<- *nats.Msg{}}
}

// open returns a token below the prefix; what comes there goes to the channel.
func (i *inbox) open(to chan<- *nats.Msg) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sub == nil {
		sub, err := i.conn.Subscribe(i.prefix+"*", i.take)
		if err != nil {
			return "", fmt.Errorf("subscribing to %s: %w", i.prefix, err)
		}
		i.sub = sub
	}
	token := nats.NewInbox()[len(nats.InboxPrefix):]
	i.waiting[token] = to
	return token, nil
}

func (i *inbox) close(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.waiting, token)
}

// take hands the first answer on; there is room for one.
func (i *inbox) take(msg *nats.Msg) {
	i.mu.Lock()
	to := i.waiting[msg.Subject[len(i.prefix):]]
	i.mu.Unlock()
	if to == nil {
		return
	}
	select {
	case to <- msg:
	default: // A second answer to one command says the same.
	}
}
