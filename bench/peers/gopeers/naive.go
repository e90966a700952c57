package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// naive is the way that the libraries' first examples show: structured events
// by the SDK, validation, a synchronous publish, a double ack. Each session has
// a goroutine of its own, which keeps its order.
type naive struct {
	*broker
	// schemas are by the command's type.
	schemas map[string]*jsonschema.Schema
	sent    int
}

func startNaive(s contend.Setup) (*naive, error) {
	checks := map[string]*jsonschema.Schema{}
	for _, action := range []string{message.Open, message.Update} {
		typ := event.CommandType(action)
		schema, err := compile(typ)
		if err != nil {
			return nil, err
		}
		checks[typ] = schema
	}
	b, err := startBroker(context.Background(), s.Dir, "cmd.>")
	if err != nil {
		return nil, err
	}
	return &naive{broker: b, schemas: checks}, nil
}

// compile compiles the published schema of the type.
func compile(typ string) (*jsonschema.Schema, error) {
	path, _ := event.SchemaPath(typ)
	text, err := schemas.FS.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(event.SchemaURI(typ), document); err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	schema, err := compiler.Compile(event.SchemaURI(typ))
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	return schema, nil
}

// Round publishes the commands, or works them off.
func (n *naive) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if o.Prepare {
		return contend.Report{}, n.fill(ctx, o.Jobs, func(i int) (*nats.Msg, error) {
			command := message.Command(n.sent, o.Picks[i])
			n.sent++
			return structured(message.CommandSubject(command), command)
		})
	}
	return n.work(ctx, o)
}

// ofSDK turns an envelope into the SDK's event.
func ofSDK(e event.Envelope) (cloudevents.Event, error) {
	sdk := cloudevents.New()
	sdk.SetID(e.ID)
	sdk.SetSource(e.Source)
	sdk.SetType(e.Type)
	sdk.SetSubject(e.Subject)
	sdk.SetTime(e.Time)
	if e.DataSchema != "" {
		sdk.SetDataSchema(e.DataSchema)
	}
	for name, value := range e.Extensions {
		sdk.SetExtension(name, value)
	}
	if err := sdk.SetData(cloudevents.ApplicationJSON, e.Data); err != nil {
		return sdk, fmt.Errorf("setting the data: %w", err)
	}
	return sdk, nil
}

// structured writes the event in structured mode.
func structured(subject string, e event.Envelope) (*nats.Msg, error) {
	sdk, err := ofSDK(e)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(sdk)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return &nats.Msg{
		Subject: subject, Data: body,
		Header: nats.Header{
			nats.MsgIdHdr:  []string{e.ID},
			"Content-Type": []string{cloudevents.ApplicationCloudEventsJSON},
		},
	}, nil
}

func (n *naive) work(ctx context.Context, o contend.Order) (contend.Report, error) {
	consumer, err := n.consumer(ctx, streamCommands)
	if err != nil {
		return contend.Report{}, err
	}
	begun := time.Now()
	var done atomic.Int64
	finished, failed := make(chan struct{}), make(chan error, o.Jobs)
	lanes := map[string]chan jetstream.Msg{}
	var working sync.WaitGroup
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		lane := lanes[m.Subject()]
		if lane == nil {
			lane = make(chan jetstream.Msg, o.Jobs)
			lanes[m.Subject()] = lane
			working.Go(func() {
				for m := range lane {
					if err := n.handle(ctx, m); err != nil {
						failed <- err
					}
					if done.Add(1) == int64(o.Jobs) {
						close(finished)
					}
				}
			})
		}
		lane <- m
	}, jetstream.PullMaxMessages(pipeline))
	if err != nil {
		return contend.Report{}, fmt.Errorf("consuming: %w", err)
	}
	select {
	case <-finished:
	case err = <-failed:
	case <-ctx.Done():
		err = errors.New("the commands did not come in time")
	}
	consuming.Stop()
	<-consuming.Closed()
	for _, lane := range lanes {
		close(lane)
	}
	working.Wait()
	return contend.Report{Jobs: int(done.Load()), WallUS: float64(time.Since(begun).Microseconds())}, err
}

// handle decodes, validates, does nothing, answers and settles.
func (n *naive) handle(ctx context.Context, m jetstream.Msg) error {
	var command cloudevents.Event
	if err := json.Unmarshal(m.Data(), &command); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	if err := command.Validate(); err != nil {
		return fmt.Errorf("checking: %w", err)
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(command.Data()))
	if err != nil {
		return fmt.Errorf("decoding the data: %w", err)
	}
	if err := n.schemas[command.Type()].Validate(data); err != nil {
		return fmt.Errorf("validating: %w", err)
	}
	session, _ := command.Extensions()[event.ExtPartitionKey].(string)
	correlation, _ := command.Extensions()[event.ExtCorrelationID].(string)
	result := message.Result(event.Envelope{
		ID: command.ID(), Source: command.Source(), Type: command.Type(), Subject: command.Subject(),
		Extensions: map[string]string{event.ExtPartitionKey: session, event.ExtCorrelationID: correlation},
	})
	msg, err := structured("res."+session, result)
	if err != nil {
		return err
	}
	if _, err := n.js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("publishing a result: %w", err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acking: %w", err)
	}
	return nil
}
