package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
)

const pipeline = 500

// raw consumes, publishes and acks with nats.go alone. It looks at nothing: the
// result is made beforehand.
type raw struct {
	*broker
	sent   int
	result *nats.Msg
}

func startRaw(s contend.Setup) (*raw, error) {
	b, err := startBroker(context.Background(), s.Dir, "cmd.>")
	if err != nil {
		return nil, err
	}
	command := message.Command(0, 0)
	header, body := event.Encode(message.Result(command))
	return &raw{broker: b, result: &nats.Msg{Subject: message.ResultSubject(command), Header: header, Data: body}}, nil
}

// Round publishes the commands, or works them off.
func (r *raw) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		return contend.Report{}, r.fill(ctx, o.Jobs, func(i int) (*nats.Msg, error) {
			command := message.Command(r.sent, o.Picks[i])
			r.sent++
			return commandMsg(command), nil
		})
	}
	return r.work(ctx, o)
}

// commandMsg is a command as Parley's own codec writes it.
func commandMsg(command event.Envelope) *nats.Msg {
	header, body := event.Encode(command)
	header[nats.MsgIdHdr] = []string{event.Key(command.Source, command.ID)}
	return &nats.Msg{Subject: message.CommandSubject(command), Header: header, Data: body}
}

// settlement is a message that waits for its result to be stored.
type settlement struct {
	msg    jetstream.Msg
	stored jetstream.PubAckFuture
}

func (r *raw) work(ctx context.Context, o contend.Order) (contend.Report, error) {
	consumer, err := r.consumer(ctx, streamCommands)
	if err != nil {
		return contend.Report{}, err
	}
	begun := time.Now()
	waiting, failed := make(chan settlement, maxPending), make(chan error, 2)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		result := &nats.Msg{Subject: r.result.Subject, Data: r.result.Data, Header: nats.Header{}}
		maps.Copy(result.Header, r.result.Header)
		result.Header[nats.MsgIdHdr] = []string{"r" + m.Headers().Get(nats.MsgIdHdr)}
		stored, err := r.js.PublishMsgAsync(result, jetstream.WithStallWait(20*time.Second))
		if err != nil {
			failed <- err
			return
		}
		waiting <- settlement{m, stored}
	}, jetstream.PullMaxMessages(pipeline))
	if err != nil {
		return contend.Report{}, fmt.Errorf("consuming: %w", err)
	}
	var settled sync.WaitGroup
	settled.Go(func() { failed <- settle(ctx, waiting, o.Jobs) })
	err = <-failed
	consuming.Stop()
	settled.Wait()
	return contend.Report{Jobs: o.Jobs, WallUS: float64(time.Since(begun).Microseconds())}, err
}

// settle acks the messages in order, each after its result is stored.
func settle(ctx context.Context, waiting <-chan settlement, n int) error {
	for range n {
		var s settlement
		select {
		case s = <-waiting:
		case <-ctx.Done():
			return errors.New("the commands did not come in time")
		}
		select {
		case <-s.stored.Ok():
		case err := <-s.stored.Err():
			return fmt.Errorf("storing a result: %w", err)
		}
		if err := s.msg.Ack(); err != nil {
			return fmt.Errorf("acking: %w", err)
		}
	}
	return nil
}
