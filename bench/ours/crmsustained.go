package ours

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
)

// crmSustained has as many chats happen as become rows.
type crmSustained struct{ *intoCRM }

func startCRMSustained(ctx context.Context, s contend.Setup, kind string) (crmSustained, error) {
	into, err := startIntoCRM(ctx, kind, s.Dir, s.Sessions)
	return crmSustained{into}, err
}

// span is how long a round lasts: its jobs are seconds. The one for warming up is
// short.
func span(o contend.Order) time.Duration {
	seconds := o.Jobs
	if o.Round == 0 {
		seconds = min(5, seconds)
	}
	return time.Duration(seconds) * time.Second
}

// perSecond is the report of a round in which so many chats became rows.
func perSecond(o contend.Order, chats int, took time.Duration) contend.Report {
	return contend.Report{Jobs: o.Jobs, Values: map[string]float64{contend.SessionsPerSecond: float64(chats) / took.Seconds()}}
}

// Round counts the chats that become rows in the time, and waits then for those
// that are on their way.
func (s crmSustained) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), span(o)+2*patience)
	defer cancel()
	s.forget()
	begun, before := time.Now(), s.sent
	m := &mail{bus: s.bus}
	if err := s.flow(ctx, m, time.NewTimer(span(o)).C); err != nil {
		return contend.Report{}, err
	}
	rep := perSecond(o, s.count(), time.Since(begun))
	if err := m.stored(ctx, len(m.waiting)); err != nil {
		return rep, err
	}
	if err := until(ctx, func() bool { return s.count() >= s.sent-before }); err != nil {
		return rep, fmt.Errorf("%d of %d chats are rows: %w", s.count(), s.sent-before, err)
	}
	return rep, s.db.holds(ctx, s.sent)
}

// flow publishes one chat after another, as long as there is room for more on
// their way, until the time is over.
func (s crmSustained) flow(ctx context.Context, m *mail, over <-chan time.Time) error {
	for {
		select {
		case s.room <- struct{}{}:
		case <-over:
			return nil
		}
		if err := s.one(ctx, m, message.ChatOf(s.sent)); err != nil {
			return err
		}
		s.sent++
	}
}

// one publishes a chat.
func (s crmSustained) one(ctx context.Context, m *mail, chat message.Chat) error {
	now := time.Now()
	s.expect(chat.Session, now)
	if err := m.begin(ctx, chat, now); err != nil {
		return err
	}
	return m.end(ctx, chat, now.Add(time.Millisecond))
}
