package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/internal/fault"
)

// headerProblem marks an answer of a worker that is an error: its body is the
// problem.
const headerProblem = "Parley-Problem"

// asksAtOnce bounds the questions that a worker answers at the same time.
const asksAtOnce = 16

// problem is an error on its way to whoever asked.
type problem struct {
	Reason  fault.Reason `json:"reason"`
	Message string       `json:"message"`
	Field   string       `json:"field,omitempty"`
	Fix     string       `json:"fix,omitempty"`
}

// Serve answers the questions that Ask sends to the worker, until the context
// ends; then it waits for those that are being answered. What handle returns is
// the answer; an error reaches the asker with its class.
func (b *Bus) Serve(ctx context.Context, worker string, handle func(ctx context.Context, verb string, body []byte) ([]byte, error)) error {
	if err := checkWorker(worker); err != nil {
		return err
	}
	questions := make(chan *nats.Msg, 4*asksAtOnce)
	sub, err := b.conn.ChanSubscribe("ctl."+worker+".*", questions)
	if err != nil {
		return fmt.Errorf("listening for questions to %s: %w", worker, classify(err))
	}
	var answering sync.WaitGroup
	defer answering.Wait()
	defer b.deafen(ctx, sub, questions, worker)
	room := make(chan struct{}, asksAtOnce)
	for {
		select {
		case msg := <-questions:
			room <- struct{}{}
			answering.Go(func() {
				defer func() { <-room }()
				verb := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
				body, err := handle(ctx, verb, msg.Data)
				_ = msg.RespondMsg(answerOf(body, err)) // The asker waits with a limit.
			})
		case <-b.closed:
			return b.goneErr()
		case <-ctx.Done():
			return nil
		}
	}
}

// deafen ends the subscription. Questions that were on their way are answered:
// who asked them would wait for nothing.
func (b *Bus) deafen(ctx context.Context, sub *nats.Subscription, questions <-chan *nats.Msg, worker string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	// With the flush the server has sent us what it will. Both fail when the
	// connection is gone, and so is the subscription.
	if errors.Join(sub.Drain(), b.conn.FlushWithContext(ctx)) != nil {
		_ = sub.Unsubscribe()
	}
	for {
		select {
		case msg := <-questions:
			_ = msg.RespondMsg(answerOf(nil, noWorker(worker))) // The asker waits with a limit.
		default:
			return
		}
	}
}

func noWorker(name string) error {
	return fault.New(fault.NoWorker, "there is no worker %s", name).WithFix("`worker workers` lists them")
}

// answerOf makes the message that answers a question.
func answerOf(body []byte, err error) *nats.Msg {
	if err == nil {
		return &nats.Msg{Data: body}
	}
	f := fault.From(err)
	data, err := json.Marshal(problem{Reason: f.Reason, Message: f.Error(), Field: f.Field, Fix: f.Fix})
	if err != nil { // Texts can always be written.
		data = nil
	}
	return &nats.Msg{Data: data, Header: nats.Header{headerProblem: {string(f.Reason)}}}
}

// Ask asks a worker a question, and returns its answer. The body is sent as
// JSON; nil sends none. A worker that is not there is fault.NoWorker; an error
// that its handler returned comes back with its reason.
func (b *Bus) Ask(ctx context.Context, worker, verb string, body any) ([]byte, error) {
	if err := errors.Join(checkWorker(worker), checkWorker(verb)); err != nil {
		return nil, err
	}
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("writing the question %s: %w", verb, err)
		}
	}
	ctx, cancel := b.deadline(ctx)
	defer cancel()
	msg, err := b.conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: "ctl." + worker + "." + verb, Data: data})
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, noWorker(worker)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the worker %s to %s: %w", worker, verb, classify(err))
	}
	if first(msg.Header, headerProblem) == "" {
		return msg.Data, nil
	}
	var p problem
	if err := json.Unmarshal(msg.Data, &p); err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", worker, err)
	}
	f := fault.New(p.Reason, "%s", p.Message).At(p.Field)
	if p.Fix != "" {
		f.Fix = p.Fix
	}
	return nil, f
}

// checkWorker refuses a name that cannot be a token of a subject and of a key.
func checkWorker(name string) error {
	ok := name != "" && len(name) <= 128
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fault.New(fault.BadConfig, "%q cannot name a worker", name).WithFix("use letters, digits, - and _, at most 128")
	}
	return nil
}
