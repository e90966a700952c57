package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/telemetry"
)

// maxKept is how much of a rejected body is kept.
const maxKept = 64 << 10

// rejectItem puts an event on the rejected list, and counts it.
func (e *Edge) rejectItem(ctx context.Context, m *mount, r *Request, item *Item, why *fault.Error) *fault.Error {
	if why.Reason == fault.NotAuthentic { // Anybody could fill the list.
		e.count(m, why)
		return nil
	}
	if err := e.reject(ctx, m, r, item, why); err != nil {
		return err
	}
	e.count(m, why)
	return nil
}

func (e *Edge) count(m *mount, why *fault.Error) {
	e.o.Counter.Ingested(m.Settings.Name, "rejected", 1)
	e.o.Counter.IngestRejected(m.Settings.Name, string(why.Reason), 1)
}

// rejectRequest puts a whole request on the rejected list, if its sender is
// proved and the request is what is wrong. It may fail: the sender is told what
// is wrong all the same.
func (e *Edge) rejectRequest(ctx context.Context, m *mount, r *Request, why *fault.Error) {
	if why.Reason == fault.NotAuthentic || fault.Retryable(why) || !r.Token && !m.Settings.Open || len(r.Body) == 0 {
		return
	}
	if err := e.reject(ctx, m, r, &Item{Raw: r.Body}, why); err != nil {
		e.log.LogAttrs(ctx, slog.LevelWarn, "request is not on the rejected list", slog.Any(telemetry.AttrErr, err))
	}
}

// reject stores the event for people to look at.
func (e *Edge) reject(ctx context.Context, m *mount, r *Request, item *Item, why *fault.Error) *fault.Error {
	site := m.Site
	if site == "" && event.IsToken(item.Trigger.Site) {
		site = item.Trigger.Site
	}
	raw := item.Raw
	if raw == nil {
		raw = r.Body
	}
	data := event.RejectedEvent{
		Source: m.Settings.Name, Provider: m.Settings.Type, Path: clip(r.Path, 2048),
		MessageID: clip(item.ID, 256), Kind: clip(item.Kind, 63),
		Problem: event.Problem{
			Code: string(why.Code), Reason: string(why.Reason), Message: why.Error(), Field: why.Field, Fix: why.Fix,
		},
		Body: raw[:min(len(raw), maxKept)], Bytes: len(raw), ReceivedAt: r.At,
	}
	source := "/ingest/" + m.Settings.Type + "/" + m.Settings.Name
	rejected, err := event.New(source, event.RejectedType, "", data)
	if err == nil {
		// The sender's next try is the same rejection.
		rejected.ID = event.DerivedID("rejected", item.ID, string(why.Reason), strconv.Itoa(len(raw)), string(raw))
		err = e.o.Store.Reject(ctx, event.DeadSubject(why.Reason, site, ""), rejected)
	}
	if err != nil {
		return fault.From(fmt.Errorf("keeping a rejected event: %w", err)).WithAfter(5 * time.Second)
	}
	return nil
}
