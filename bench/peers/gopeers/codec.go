package main

import (
	"encoding/json"
	"fmt"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
)

// codecSDK encodes and decodes with the CloudEvents SDK, in structured mode.
type codecSDK struct{}

// Round encodes an event and decodes it, again and again.
func (codecSDK) Round(o contend.Order) (contend.Report, error) {
	var mix []cloudevents.Event
	for _, e := range message.Mix(o.Round) {
		sdk, err := ofSDK(e)
		if err != nil {
			return contend.Report{}, err
		}
		mix = append(mix, sdk)
	}
	begun := time.Now()
	for i := range o.Jobs {
		body, err := json.Marshal(mix[i%len(mix)])
		if err != nil {
			return contend.Report{}, fmt.Errorf("encoding: %w", err)
		}
		var got cloudevents.Event
		if err := json.Unmarshal(body, &got); err != nil {
			return contend.Report{}, fmt.Errorf("decoding: %w", err)
		}
	}
	return contend.Report{Jobs: o.Jobs, WallUS: float64(time.Since(begun).Microseconds())}, nil
}

// Close has nothing to end.
func (codecSDK) Close() error { return nil }
