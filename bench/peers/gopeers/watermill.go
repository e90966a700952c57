package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wm "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/jetstream"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	wmmessage "github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
)

// mill is Watermill's JetStream publisher and subscriber, with asynchronous
// acks, on the same server and streams. Its topics are the streams.
type mill struct {
	*broker
	publisher *wm.Publisher
	sent      int
}

func startWatermill(s contend.Setup) (*mill, error) {
	b, err := startBroker(context.Background(), s.Dir, streamCommands)
	if err != nil {
		return nil, err
	}
	conn, err := nats.Connect("", nats.InProcessServer(b.server))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	publisher, err := wm.NewPublisher(wm.PublisherConfig{Conn: conn, Logger: watermill.NopLogger{}})
	if err != nil {
		return nil, fmt.Errorf("making the publisher: %w", err)
	}
	return &mill{broker: b, publisher: publisher}, nil
}

// millMessage is the event in Watermill's form: its attributes as metadata.
func millMessage(e event.Envelope) *wmmessage.Message {
	header, body := event.Encode(e)
	m := wmmessage.NewMessage(e.ID, wmmessage.Payload(body))
	for name, values := range header {
		m.Metadata.Set(name, values[0])
	}
	return m
}

// Round publishes the commands, or works them off.
func (w *mill) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		marshaler := &wmnats.NATSMarshaler{}
		return contend.Report{}, w.fill(ctx, o.Jobs, func(i int) (*nats.Msg, error) {
			command := message.Command(w.sent, o.Picks[i])
			w.sent++
			return marshaler.Marshal(streamCommands, millMessage(command))
		})
	}
	return w.work(ctx, o)
}

func (w *mill) work(ctx context.Context, o contend.Order) (contend.Report, error) {
	conn, err := nats.Connect("", nats.InProcessServer(w.server))
	if err != nil {
		return contend.Report{}, fmt.Errorf("connecting: %w", err)
	}
	subscriber, err := wm.NewSubscriber(wm.SubscriberConfig{
		Conn: conn, Logger: watermill.NopLogger{}, AckAsync: true, AckWaitTimeout: 30 * time.Second,
		ResourceInitializer: func(ctx context.Context, _ jetstream.JetStream, topic string) (
			jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error,
		) {
			c, err := w.consumer(ctx, topic)
			return c, nil, err
		},
	})
	if err != nil {
		return contend.Report{}, fmt.Errorf("making the subscriber: %w", err)
	}
	begun := time.Now()
	commands, err := subscriber.Subscribe(ctx, streamCommands)
	if err != nil {
		return contend.Report{}, fmt.Errorf("subscribing: %w", err)
	}
	done := 0
	for m := range commands {
		result := millMessage(message.Result(event.Envelope{
			ID: m.UUID, Subject: m.Metadata.Get("ce-subject"),
			Extensions: map[string]string{event.ExtPartitionKey: m.Metadata.Get("ce-" + event.ExtPartitionKey)},
		}))
		if err := w.publisher.Publish(streamResults, result); err != nil {
			return contend.Report{}, fmt.Errorf("publishing a result: %w", err)
		}
		m.Ack()
		if done++; done == o.Jobs {
			break
		}
	}
	wall := float64(time.Since(begun).Microseconds())
	if done < o.Jobs {
		err = errors.New("the commands did not come in time")
	}
	return contend.Report{Jobs: done, WallUS: wall}, errors.Join(err, subscriber.Close())
}
