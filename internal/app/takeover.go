package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// takeovers reads what webhooks have told of visitors and humans. The triggers
// that are stored already are the record: nothing is kept twice, and so nothing
// can be lost between the two.
type takeovers struct{ bus *bus.Bus }

// told returns what is known of the session's visitor.
func (t takeovers) told(ctx context.Context, site, session string) (actions.Takeover, error) {
	var told actions.Takeover
	var err error
	if told.RequestedAt, err = t.last(ctx, event.KindTakeover, site, session); err != nil || told.RequestedAt.IsZero() {
		return told, err
	}
	// What only a bot that works can cause.
	for _, kind := range []string{event.KindCheckpoint, event.KindUserCapture} {
		at, err := t.last(ctx, kind, site, session)
		if err != nil {
			return told, err
		}
		if at.After(told.BotAt) {
			told.BotAt = at
		}
	}
	return told, nil
}

// last returns when the session's last trigger of the kind happened; zero when
// there is none. A sender's clock that is ahead of ours counts as ours.
func (t takeovers) last(ctx context.Context, kind, site, session string) (time.Time, error) {
	d, found, err := t.bus.Last(ctx, event.TriggerSubject("*", kind, site, session))
	if err != nil || !found {
		return time.Time{}, err
	}
	e, err := d.Envelope()
	if err != nil {
		return time.Time{}, fmt.Errorf("reading a trigger: %w", err)
	}
	var data event.Trigger
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return time.Time{}, fault.New(fault.Malformed, "reading the trigger %s", e.ID).Because(err)
	}
	if !data.ReceivedAt.IsZero() && data.ReceivedAt.Before(data.OccurredAt) {
		return data.ReceivedAt, nil
	}
	return data.OccurredAt, nil
}
