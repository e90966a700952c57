// Command crm-subscriber reads what happens in chats from Parley's bus, as
// CloudEvents, and prints one line for each. Put your CRM where it prints.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "crm-subscriber:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	options := []nats.Option{nats.Name("crm-subscriber"), nats.CustomInboxPrefix("_INBOX_crm")}
	if file := os.Getenv("NATS_CREDS"); file != "" {
		options = append(options, nats.UserCredentials(file))
	}
	conn, err := nats.Connect(os.Getenv("NATS_URL"), options...)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	// Durable: it goes on where it was, also after a restart.
	consumer, err := js.CreateOrUpdateConsumer(ctx, "EVT", jetstream.ConsumerConfig{
		Durable: "crm-subscriber", FilterSubject: "evt.>", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 256,
	})
	if err != nil {
		return fmt.Errorf("making the consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, messages.Stop)
	for {
		msg, err := messages.Next()
		if err != nil {
			return nil // It was told to stop.
		}
		if err := handle(msg.Headers(), msg.Data()); err != nil {
			fmt.Fprintln(os.Stderr, "again later:", err)
			_ = msg.Nak() // It comes again in any case.
			continue
		}
		if err := msg.Ack(); err != nil {
			fmt.Fprintln(os.Stderr, "not acknowledged, so it comes again:", err)
		}
	}
}

// handle is told of each event at least once: remember ce-source and ce-id, or
// write by a key, so that a repetition changes nothing.
func handle(header nats.Header, body []byte) error {
	var data struct {
		Site    string `json:"site"`
		Session string `json:"session"`
		Cause   string `json:"cause"`
	}
	if err := json.Unmarshal(body, &data); err != nil {
		return err
	}
	attribute := func(name string) string { // Parley writes lower case.
		if values := header[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	}
	fmt.Printf("%s %s %s/%s by %s (%s)\n", attribute("ce-time"), attribute("ce-type"), data.Site, data.Session, data.Cause, attribute("ce-id"))
	return nil
}
