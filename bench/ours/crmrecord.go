package ours

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
)

const (
	chatRate = 200 // in a second
	// chatLasts is how many chats begin while one lasts: a second of them.
	chatLasts = chatRate
)

// crmRecord has chats begin and end at a rate.
type crmRecord struct{ *intoCRM }

func startCRMRecord(ctx context.Context, s contend.Setup, kind string) (crmRecord, error) {
	into, err := startIntoCRM(ctx, kind, s.Dir, 1<<20)
	return crmRecord{into}, err
}

// Round measures each chat from when its end was due to be published until the
// row that says so is committed.
func (r crmRecord) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r.forget()
	if err := r.feed(ctx, o.Jobs); err != nil {
		return contend.Report{}, err
	}
	if err := until(ctx, func() bool { return r.count() >= o.Jobs }); err != nil {
		return contend.Report{}, fmt.Errorf("%d of %d chats are rows: %w", r.count(), o.Jobs, err)
	}
	return contend.Report{Jobs: o.Jobs, LatenciesUS: r.took}, r.db.holds(ctx, r.sent)
}

// feed publishes what happens, each at its time.
func (r crmRecord) feed(ctx context.Context, chats int) error {
	m, begun := &mail{bus: r.bus}, time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range chats + chatLasts {
		due := begun.Add(time.Duration(i) * time.Second / chatRate)
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("publishing what happens: %w", context.Cause(ctx))
		}
		if err := r.happen(ctx, m, i, chats, due); err != nil {
			return err
		}
	}
	r.sent += chats
	return m.stored(ctx, len(m.waiting))
}

// happen begins the i-th chat, and ends the one that began a second before.
func (r crmRecord) happen(ctx context.Context, m *mail, i, chats int, at time.Time) error {
	var errs []error
	if i < chats {
		errs = append(errs, m.begin(ctx, message.ChatOf(r.sent+i), at))
	}
	if i >= chatLasts {
		chat := message.ChatOf(r.sent + i - chatLasts)
		r.room <- struct{}{}
		r.expect(chat.Session, at)
		errs = append(errs, m.end(ctx, chat, at))
	}
	return errors.Join(errs...)
}
