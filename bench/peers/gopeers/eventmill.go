package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
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

// The streams and topics of the filter.
const (
	topicEvents   = "EVENTS"
	topicCommands = "COMMANDS"
)

// millFilter is a handler of Watermill's router: it takes events, looks at one
// property, and publishes a command for those that fit. It keeps no state, and
// an event that comes twice has two commands.
type millFilter struct {
	*broker
	sent int
}

func startMillFilter(s contend.Setup) (*millFilter, error) {
	b, err := startServer(s.Dir, false)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{topicEvents, topicCommands} {
		_, err := b.js.CreateStream(context.Background(), jetstream.StreamConfig{Name: name, Subjects: []string{name}, Duplicates: 2 * time.Minute})
		if err != nil {
			return nil, fmt.Errorf("making the stream %s: %w", name, err)
		}
	}
	return &millFilter{broker: b}, nil
}

// Round publishes the events, or works them off.
func (m *millFilter) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		marshaler := &wmnats.NATSMarshaler{}
		return contend.Report{}, m.fill(ctx, o.Jobs, func(i int) (*nats.Msg, error) {
			m.sent++
			id := fmt.Sprintf("m-%d", m.sent)
			_, e, err := message.Trigger(id, message.Viewed(id, o.Picks[i], message.Size(i), time.Now().UTC()))
			if err != nil {
				return nil, fmt.Errorf("making an event: %w", err)
			}
			return marshaler.Marshal(topicEvents, millMessage(e))
		})
	}
	return m.work(ctx, o)
}

// ends makes a publisher and a subscriber, which the router closes.
func (m *millFilter) ends() (*wm.Publisher, *wm.Subscriber, error) {
	out, err := nats.Connect("", nats.InProcessServer(m.server))
	if err != nil {
		return nil, nil, fmt.Errorf("connecting: %w", err)
	}
	in, err := nats.Connect("", nats.InProcessServer(m.server))
	if err != nil {
		return nil, nil, fmt.Errorf("connecting: %w", err)
	}
	publisher, err := wm.NewPublisher(wm.PublisherConfig{Conn: out, Logger: watermill.NopLogger{}})
	if err != nil {
		return nil, nil, fmt.Errorf("making the publisher: %w", err)
	}
	subscriber, err := wm.NewSubscriber(wm.SubscriberConfig{
		Conn: in, Logger: watermill.NopLogger{}, AckAsync: true, AckWaitTimeout: 30 * time.Second,
		ResourceInitializer: func(ctx context.Context, _ jetstream.JetStream, topic string) (
			jetstream.Consumer, func(context.Context, watermill.LoggerAdapter), error,
		) {
			c, err := m.consumer(ctx, topic)
			return c, nil, err
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("making the subscriber: %w", err)
	}
	return publisher, subscriber, nil
}

func (m *millFilter) work(ctx context.Context, o contend.Order) (contend.Report, error) {
	publisher, subscriber, err := m.ends()
	if err != nil {
		return contend.Report{}, err
	}
	router, err := wmmessage.NewRouter(wmmessage.RouterConfig{CloseTimeout: 20 * time.Second}, watermill.NopLogger{})
	if err != nil {
		return contend.Report{}, fmt.Errorf("making the router: %w", err)
	}
	var done, published atomic.Int64
	finished := make(chan struct{})
	router.AddHandler("filter", topicEvents, subscriber, topicCommands, publisher, func(in *wmmessage.Message) ([]*wmmessage.Message, error) {
		out, err := filter(in)
		published.Add(int64(len(out)))
		if done.Add(1) == int64(o.Jobs) {
			close(finished)
		}
		return out, err
	})
	begun := time.Now()
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- router.Run(running) }()
	select {
	case <-finished:
	case <-ctx.Done():
		err = errors.New("the events did not come in time")
	}
	err = errors.Join(err, router.Close(), <-ended)
	wall := float64(time.Since(begun).Microseconds())
	if want := message.Big(o.Jobs); err == nil && int(published.Load()) != want {
		err = fmt.Errorf("%d commands were published, want %d", published.Load(), want)
	}
	return contend.Report{Jobs: int(done.Load()), WallUS: wall}, err
}

// filter reads an event, and returns the command that follows from it, if any.
func filter(in *wmmessage.Message) ([]*wmmessage.Message, error) {
	var trigger event.Trigger
	if err := json.Unmarshal(in.Payload, &trigger); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	size, ok := trigger.Properties["size"].(float64)
	if trigger.Event != message.Pricing || !ok || size <= 10 {
		return nil, nil
	}
	command := message.Command(0, 0)
	command.ID = "cmd-" + in.UUID
	data, err := json.Marshal(map[string]any{"site": trigger.Site, "visitor": trigger.Visitor, "params": struct{}{}})
	if err != nil {
		return nil, fmt.Errorf("writing a command: %w", err)
	}
	command.Data = data
	return []*wmmessage.Message{millMessage(command)}, nil
}
