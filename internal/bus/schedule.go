package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Schedule has the server publish the event to the target at the time, or at
// once when it has passed. The timer survives restarts. One timer subject holds
// one timer: a second call replaces it. The target is a subject of FLOW, such
// as event.DueCommandSubject; its message has no message id, so whoever takes
// it recognises a repetition by the event's own id.
func (b *Bus) Schedule(ctx context.Context, timerSubject string, at time.Time, target string, e event.Envelope) error {
	header, body := event.Encode(e)
	if err := setTimer(header, at, target); err != nil {
		return err
	}
	if _, err := b.send(&nats.Msg{Subject: timerSubject, Header: header, Data: body}, nil).Wait(ctx); err != nil {
		return fmt.Errorf("setting the timer %s: %w", timerSubject, err)
	}
	return nil
}

// setTimer makes a message a timer.
func setTimer(header nats.Header, at time.Time, target string) error {
	if ahead := time.Until(at); ahead > maxAhead {
		return fault.New(fault.SchemaViolation, "a timer may lie up to %d days ahead, not %d", maxAhead/day, ahead/day).
			WithFix("set a nearer time, and from there the next one")
	}
	// The option of nats.go cuts the time to seconds, and so fires too early.
	header[jetstream.ScheduleHeader] = []string{"@at " + at.UTC().Format(time.RFC3339Nano)}
	header[jetstream.ScheduleTargetHeader] = []string{target}
	return nil
}

// Cancel removes the timer, if it has not fired.
func (b *Bus) Cancel(ctx context.Context, timerSubject string) error {
	err := b.guard(ctx, "$JS.API.", func(ctx context.Context) error {
		flow, err := b.stream(ctx, StreamFlow)
		if err != nil {
			return err
		}
		return flow.Purge(ctx, jetstream.WithPurgeSubject(timerSubject))
	})
	if err != nil {
		return fmt.Errorf("cancelling the timer %s: %w", timerSubject, err)
	}
	return nil
}
