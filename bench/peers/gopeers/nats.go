package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The streams, as plain as they can be: a queue of commands, and the results.
const (
	streamCommands = "CMD"
	streamResults  = "EVT"
	consumerName   = "worker"
	// maxPending is how many messages may be under way in either direction.
	maxPending = 2000
)

// broker is an embedded server with JetStream on disk, and a connection to it
// inside the process.
type broker struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
}

// startBroker starts the server with the same settings as Parley's own: files,
// flushed every second. commands are the subjects of the queue.
func startBroker(ctx context.Context, dir, commands string) (*broker, error) {
	b, err := startServer(dir, false)
	if err != nil {
		return nil, err
	}
	for _, config := range []jetstream.StreamConfig{
		{
			Name: streamCommands, Subjects: []string{commands}, Retention: jetstream.WorkQueuePolicy,
			Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
		},
		{Name: streamResults, Subjects: []string{streamResults, "res.>"}, Duplicates: 2 * time.Minute},
	} {
		if _, err := b.js.CreateStream(ctx, config); err != nil {
			return nil, fmt.Errorf("making the stream %s: %w", config.Name, err)
		}
	}
	return b, nil
}

// startServer starts a server without streams. always flushes every publish.
func startServer(dir string, always bool) (*broker, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "gopeers", DontListen: true, JetStream: true, StoreDir: dir, SyncInterval: time.Second, SyncAlways: always,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("the server is not ready")
	}
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(maxPending))
	if err != nil {
		return nil, fmt.Errorf("making the JetStream client: %w", err)
	}
	return &broker{server: srv, conn: conn, js: js}, nil
}

// consumer returns the durable consumer of the stream.
func (b *broker) consumer(ctx context.Context, stream string) (jetstream.Consumer, error) {
	c, err := b.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: maxPending, MemoryStorage: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the consumer of %s: %w", stream, err)
	}
	return c, nil
}

// fill publishes the messages of a round, and waits until they are stored.
func (b *broker) fill(ctx context.Context, n int, message func(i int) (*nats.Msg, error)) error {
	for i := range n {
		m, err := message(i)
		if err != nil {
			return err
		}
		if _, err := b.js.PublishMsgAsync(m, jetstream.WithStallWait(20*time.Second)); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("publishing: %w", ctx.Err())
	}
}

// Close ends the connection and the server.
func (b *broker) Close() error {
	b.conn.Close()
	b.server.Shutdown()
	b.server.WaitForShutdown()
	return nil
}
