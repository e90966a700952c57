package ours

import (
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/schemas"
)

// codec encodes, decodes and validates.
type codec struct{ schemas *event.Schemas }

func startCodec() (codec, error) {
	checks, err := event.NewSchemas(schemas.FS)
	if err != nil {
		return codec{}, fmt.Errorf("reading the schemas: %w", err)
	}
	return codec{schemas: checks}, nil
}

// Round encodes an event, decodes and validates it, again and again.
func (c codec) Round(o contend.Order) (contend.Report, error) {
	mix := message.Mix(o.Round)
	begun := time.Now()
	for i := range o.Jobs {
		header, body := event.Encode(mix[i%len(mix)])
		got, err := event.Decode(header, body)
		if err != nil {
			return contend.Report{}, fmt.Errorf("decoding: %w", err)
		}
		if err := c.schemas.Validate(got.Type, got.Data); err != nil {
			return contend.Report{}, fmt.Errorf("validating: %w", err)
		}
	}
	return contend.Report{Jobs: o.Jobs, WallUS: float64(time.Since(begun).Microseconds())}, nil
}

// Close has nothing to end.
func (codec) Close() error { return nil }
