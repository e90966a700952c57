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
	webhooks "github.com/parley-chat/parley/internal/ingest/botstar"
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

// user returns whom the vendor means by the session's visitor: the newest that a
// webhook has named with the site's own user id.
func (t takeovers) user(ctx context.Context, site, session string) (actions.VendorUser, error) {
	var newest actions.VendorUser
	for _, kind := range webhookKinds() {
		data, found, err := t.trigger(ctx, kind, site, session)
		if err != nil {
			return actions.VendorUser{}, err
		}
		if one := userOf(data); found && one.ID != "" && one.At.After(newest.At) {
			newest = one
		}
	}
	return newest, nil
}

// webhookKinds are the kinds of triggers that happen to a visitor of the vendor.
func webhookKinds() []string {
	return []string{
		event.KindSubscriber, event.KindAttribute, event.KindCheckpoint, event.KindUserCapture, event.KindTag, event.KindTakeover,
	}
}

// userOf returns whom the vendor's own webhook names. A visitor without the
// site's user id may be another user of the vendor in each browser.
func userOf(data event.Trigger) actions.VendorUser {
	if data.Origin == nil || data.Origin.Provider != webhooks.Provider || data.Visitor.UserID == "" {
		return actions.VendorUser{}
	}
	id, _ := data.Properties[webhooks.PropUser].(string)
	return actions.VendorUser{ID: id, At: data.ReceivedAt}
}

// last returns when the session's last trigger of the kind happened; zero when
// there is none. A sender's clock that is ahead of ours counts as ours.
func (t takeovers) last(ctx context.Context, kind, site, session string) (time.Time, error) {
	data, found, err := t.trigger(ctx, kind, site, session)
	switch {
	case err != nil || !found:
		return time.Time{}, err
	case !data.ReceivedAt.IsZero() && data.ReceivedAt.Before(data.OccurredAt):
		return data.ReceivedAt, nil
	}
	return data.OccurredAt, nil
}

// trigger returns the session's last trigger of the kind.
func (t takeovers) trigger(ctx context.Context, kind, site, session string) (data event.Trigger, found bool, err error) {
	d, found, err := t.bus.Last(ctx, event.TriggerSubject("*", kind, site, session))
	if err != nil || !found {
		return data, false, err
	}
	e, err := d.Envelope()
	if err != nil {
		return data, false, fmt.Errorf("reading a trigger: %w", err)
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return data, false, fault.New(fault.Malformed, "reading the trigger %s", e.ID).Because(err)
	}
	return data, true, nil
}
