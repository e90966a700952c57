package bus

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullHeartbeat and pullExpiry go with every Consume. With the defaults of
	// nats.go a race in it stops the flow for up to 30 s.
	pullHeartbeat = 500 * time.Millisecond
	pullExpiry    = 5 * time.Second
	// abandoned is how long a consumer of the queue may be without its worker.
	// Nothing is lost with it: the next one gets all that is left.
	abandoned = 5 * time.Minute
	// lastWords bounds what is said to the server at a stop.
	lastWords = 5 * time.Second
)

// engine does messages and settles them, wherever they come from: a consumer of
// a stream, or those of many partitions.
type engine struct {
	bus      *Bus
	log      *slog.Logger
	handler  Handler
	dead     func(context.Context, *Delivery, error)
	ackWait  time.Duration
	grace    time.Duration
	pause    time.Duration
	attempts int
	lanes    *lanes
	finished chan *held // handled, in that order, waiting for their futures
}

// newEngine returns an engine that is given at most so many messages.
func newEngine(b *Bus, log *slog.Logger, o CommandOptions, most int, h Handler) *engine {
	e := &engine{
		bus: b, log: log, handler: h, dead: o.Dead,
		ackWait:  orDefault(o.AckWait, 30*time.Second),
		grace:    orDefault(o.Grace, 10*time.Second),
		pause:    orDefault(o.Pause, 250*time.Millisecond),
		attempts: orDefault(o.Attempts, 3),
		finished: make(chan *held, 2*most), // More than can be held, so that no lane waits.
	}
	e.lanes = newLanes(orDefault(o.Lanes, 256), e.handle)
	return e
}

// start settles messages and keeps them alive until the returned function is
// called, after the lanes were told to halt. It waits for what runs, and for
// the server's word on what ended.
func (e *engine) start(ctx context.Context) (stop func()) {
	words, stopWords := context.WithCancel(context.WithoutCancel(ctx))
	settled, beating := make(chan struct{}), make(chan struct{})
	go func() { defer close(settled); e.settle(words) }()
	go func() { defer close(beating); e.keepAlive(words) }()
	return func() {
		e.lanes.wait()
		last := time.AfterFunc(lastWords, stopWords)
		close(e.finished)
		<-settled
		last.Stop()
		stopWords()
		<-beating
	}
}

// receive hands messages of the consumer on until the context ends or the
// consumer is gone. When the context ends, halt is called first, and then what
// is still on its way to us is handed on as well.
func (e *engine) receive(ctx context.Context, at jetstream.Consumer, most int, offer func(jetstream.Msg), halt func()) error {
	trouble := make(chan error, 1)
	flow, err := at.Consume(offer,
		jetstream.PullMaxMessages(min(most, 256)),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case trouble <- err:
			default:
			}
		}))
	if err != nil {
		return classify(err)
	}
	back := e.bus.reconnected()
	for {
		select {
		case <-ctx.Done():
			halt()
			flow.Drain()
			e.ended(ctx, flow)
			return nil
		case <-e.bus.closed:
			flow.Stop()
			return e.bus.goneErr()
		case <-flow.Closed():
			return nil
		case err = <-trouble:
		case <-back: // The server may have restarted, and forgotten the consumer.
			back, err = e.bus.reconnected(), nil
		}
		if e.lost(ctx, at, err) {
			flow.Stop()
			e.ended(ctx, flow)
			return nil
		}
	}
}

// ended waits for the end of the flow, which needs the server. Of a partition
// that was taken from us nothing is waited for.
func (e *engine) ended(ctx context.Context, flow jetstream.ConsumeContext) {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	if context.Cause(ctx) == errTaken || !e.bus.conn.IsConnected() { //nolint:errorlint // It is that very value.
		return
	}
	select {
	case <-flow.Closed():
	case <-e.bus.closed:
	case <-timer.C:
	}
}

// lost finds out whether the consumer is gone, after something seemed wrong.
func (e *engine) lost(ctx context.Context, at jetstream.Consumer, err error) bool {
	if !e.bus.conn.IsConnected() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	_, infoErr := at.Info(ctx)
	if !gone(infoErr) {
		return false
	}
	e.log.LogAttrs(ctx, slog.LevelWarn, "consumer is gone, and is made again",
		slog.String("consumer", at.CachedInfo().Name), slog.Any("err", err))
	return true
}

// heldOf reads a message.
func (e *engine) heldOf(ctx context.Context, msg jetstream.Msg) (*held, bool) {
	meta, err := msg.Metadata()
	if err != nil {
		e.log.LogAttrs(ctx, slog.LevelError, "message without metadata", slog.String("subject", msg.Subject()), slog.Any("err", err))
		return nil, false
	}
	header := msg.Headers()
	var replay uint64
	if text := first(header, headerReplay); text != "" {
		replay, _ = strconv.ParseUint(text, 10, 64) // 0 when it is none.
	}
	h := &held{
		Delivery: Delivery{
			Subject: msg.Subject(), Stream: meta.Stream, Sequence: meta.Sequence.Stream,
			Attempt: int(min(meta.NumDelivered, maxDeliveries+1)), StoredAt: meta.Timestamp,
			Header: header, Body: msg.Data(), Replay: replay,
		},
		msg: msg, name: laneOf(msg.Subject()),
	}
	if to := first(header, headerReply); isInbox(to) {
		h.ReplyTo = to
	}
	return h, true
}
