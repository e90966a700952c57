package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Return says how the way back goes: what others change in the CRM becomes
// attributes of the visitor, as far as Mapping.Back says so.
type Return struct {
	// Every is the pause between two looks into the CRM; 0 is a minute.
	Every time.Duration
	// Command returns the command that changes attributes of a visitor of the site.
	// An error is a dead letter.
	Command func(site string, attributes map[string]any) (Update, error)
}

// Update is a command that changes a visitor's attributes.
type Update struct {
	Class  event.Class
	Action string
	Params json.RawMessage
}

const (
	// usualLook is the pause between two looks when nothing else is said.
	usualLook = time.Minute
	// updateLife is how long an update is worth being made.
	updateLife = 24 * time.Hour
	// updateMark begins the ids of updates, so that what they lead to is no part of a
	// chat.
	updateMark = "crm-"
)

// told is what was read of changes in the CRM.
type told struct {
	changes []Change
	cursor  string
	began   time.Time // of the reading
}

// goesBack reports whether changes in the CRM are told to visitors.
func (l *leader) goesBack() bool { return len(l.program.returns) > 0 && l.o.Return.Command != nil }

// listen reads what changes in the CRM until ctx ends, and gives it to the leader.
func (l *leader) listen(ctx context.Context, from ChangeReader, cursor string) {
	every := l.o.Return.Every
	if every <= 0 {
		every = usualLook
	}
	for ctx.Err() == nil {
		t, err := l.changes(ctx, from, cursor)
		if n, _ := l.gate.room(time.Now()); err != nil && ctx.Err() == nil && n > 0 {
			l.log.LogAttrs(ctx, slog.LevelWarn, "changes in the CRM cannot be read", slog.Any("err", err))
		}
		if err != nil || t.cursor == cursor && len(t.changes) == 0 {
			rest(ctx, every)
			continue
		}
		if cursor = t.cursor; !l.tell(ctx, t) || len(t.changes) > 0 {
			continue // There may be more.
		}
		rest(ctx, every)
	}
}

// changes reads once, in its turn among the other calls.
func (l *leader) changes(ctx context.Context, from ChangeReader, cursor string) (told, error) {
	t := told{began: time.Now()}
	err := l.writer.call(ctx, func(ctx context.Context) (err error) {
		t.changes, t.cursor, err = from.Changes(ctx, cursor, l.program.Watched())
		return err
	})
	return t, err
}

// tell gives the leader what was read. It is false when ctx has ended.
func (l *leader) tell(ctx context.Context, t told) bool {
	select {
	case l.heardOf <- t:
		return true
	case <-ctx.Done():
		return false
	}
}

// heard takes what was read. It is stored together with the cursor behind it.
func (l *leader) heard(ctx context.Context, t told) error {
	for _, c := range t.changes {
		if err := l.back(ctx, c, t.began); err != nil {
			return err
		}
	}
	l.at.Cursor, l.moved = t.cursor, true
	return nil
}

// back takes one change. As long as it is not certain which of the values are our
// own, the visitor waits to be looked at when it is.
func (l *leader) back(ctx context.Context, c Change, began time.Time) error {
	l.s.changes.Add(1)
	e, err := l.owner(ctx, c.Key)
	if e == nil || err != nil {
		return err
	}
	v := e.v
	if v.Dirty || e.flying || c.Seq > v.Seq() || !v.Contact.At.Before(began) {
		v.Look = true
		l.changed(e, time.Now())
		return nil
	}
	l.bring(ctx, e, c.Fields)
	return nil
}

// owner returns the living visitor of the contact's key, or nil.
func (l *leader) owner(ctx context.Context, key string) (*entry, error) {
	p, ok, err := l.find(ctx, key)
	if !ok || err != nil {
		return nil, err
	}
	for range maxFormer {
		e, err := l.entry(ctx, p)
		if err != nil || e.v.Into == "" || e.v.Into == p.session {
			return e, err
		}
		p.session = e.v.Into
	}
	return nil, nil //nolint:nilnil // They turn in a circle.
}

// bring makes an update of what others wrote. A visitor of whom the target may not
// hear now is looked at when it may.
func (l *leader) bring(ctx context.Context, e *entry, of []Field) {
	v, values := e.v, l.program.values(of)
	if tells, _ := l.policy().tells(v); !tells {
		v.Look = true
		l.touch(e)
		return
	}
	names := l.program.news(v, values)
	if len(names) == 0 {
		l.s.echoes.Add(1)
		return
	}
	l.touch(e)
	msg, err := l.update(v, values, names)
	if err != nil {
		l.buryUpdate(ctx, v, err)
		return
	}
	l.program.learnt(v, values, names)
	if v.Refused = nil; msg != nil {
		v.updates = append(v.updates, *msg)
		l.s.updates.Add(1)
	}
}

// update returns the command for what others wrote, or nil when no attribute
// follows from it.
func (l *leader) update(v *Visitor, values map[string]any, names []string) (*bus.FlowMsg, error) {
	attributes, err := l.program.attributes(v.Site, values, names)
	if err != nil || len(attributes) == 0 {
		return nil, err
	}
	who, err := v.who()
	if err != nil {
		return nil, err
	}
	u, err := l.o.Return.Command(v.Site, attributes)
	if err != nil {
		return nil, err //nolint:wrapcheck // It says all.
	}
	v.Updates++
	e, err := l.command(v, who, u)
	return &bus.FlowMsg{Subject: event.WorkflowCommandSubject(u.Class, u.Action, v.Site, v.Session), Envelope: &e}, err
}

// command returns the command. Its id is the same whenever the same update is made.
func (l *leader) command(v *Visitor, who event.Visitor, u Update) (event.Envelope, error) {
	source := "/crm/" + l.o.Name
	e, err := event.New(source, event.CommandType(u.Action), v.Session, event.Command{Site: v.Site, Visitor: who, Params: u.Params})
	if err != nil {
		return e, fmt.Errorf("writing an update: %w", err)
	}
	e.ID = updateMark + event.DerivedID(source, v.Site, v.Session, strconv.FormatUint(v.Updates, 10), string(u.Params))
	e.Extensions = map[string]string{
		event.ExtPartitionKey: v.Session, event.ExtCorrelationID: e.ID,
		event.ExtExpiryTime: e.Time.Add(updateLife).Format(time.RFC3339Nano),
	}
	return e, nil
}

// who returns as much of the identity as names the session.
func (v *Visitor) who() (event.Visitor, error) {
	id := v.Identity
	for _, who := range []event.Visitor{id, {Email: id.Email, AnonymousID: id.AnonymousID}, {AnonymousID: id.AnonymousID}} {
		if who != (event.Visitor{}) && event.SessionKey(v.Site, who) == v.Session {
			return who, nil
		}
	}
	return event.Visitor{}, fault.New(fault.UnknownSession, "nothing told who the visitor of the session is").
		WithFix("have a trigger of the visitor come, and replay")
}

// buryUpdate makes a dead letter of what could not be brought back. The CRM is
// looked at again when somebody replays it.
func (l *leader) buryUpdate(ctx context.Context, v *Visitor, why error) {
	s := sending{}
	l.bury(ctx, v, "update", &s, fault.From(why), "")
	v.Refused = s.Dead
}

// seen takes what a look into the CRM found. It returns when to look again, or
// zero.
func (l *leader) seen(ctx context.Context, e *entry, d *done, now time.Time) time.Time {
	switch {
	case d.failed != nil:
		return l.after(d.failed, now)
	case e.rev == d.rev:
		e.v.Look = false
		if d.found != nil {
			l.bring(ctx, e, d.found.Fields)
		}
	}
	return time.Time{}
}

// look returns a job that looks what the CRM has, when that is asked for and
// nothing else is to be done for the visitor.
func (l *leader) look(e *entry, j job) (job, bool) {
	v := e.v
	if tells, _ := l.policy().tells(v); !tells || !l.goesBack() || v.Into != "" {
		return j, false
	}
	l.s.dirty.Add(1)
	v.Dirty = true
	return job{place: j.place, rev: e.rev, ref: Ref{v.ContactKey(), v.Contact.ID}, look: true}, true
}

// looks reads the contacts of the jobs that ask for it.
func (w *writer) looks(ctx context.Context, all []done) {
	at := map[string]int{}
	var refs []Ref
	for i, d := range all {
		if d.look {
			at[d.ref.Key], refs = i, append(refs, d.ref)
		}
	}
	if len(refs) == 0 {
		return
	}
	var found []Contact
	err := w.call(ctx, func(ctx context.Context) (err error) {
		found, err = w.to.Read(ctx, refs)
		return err
	})
	for _, i := range at {
		all[i].failed = err
	}
	for i := range found {
		if k, asked := at[found[i].Key]; asked {
			all[k].found = &found[i]
		}
	}
}

// fromCRM reports whether all of the commands are updates of the way back.
func fromCRM(commands []string) bool {
	return len(commands) > 0 && !slices.ContainsFunc(commands, func(id string) bool { return !strings.HasPrefix(id, updateMark) })
}

// backFits says what is wrong with a way back for the connector.
func (t *Target) backFits(m Mapping) error {
	if len(m.Back) == 0 {
		return nil
	}
	if _, able := t.o.Connector.(ChangeReader); !able {
		return fault.New(fault.BadConfig, "a target of type %s does not tell what changes in it", t.o.Connector.Name()).WithFix("take `back` out of it")
	}
	return nil
}

// find returns the place of the visitor with the session.
func (s *onBus) find(ctx context.Context, session string) (place, bool, error) {
	if !event.IsToken(session) {
		return place{}, false, nil
	}
	for d, err := range s.bus.LastEach(ctx, event.CRMSubject(s.target, "*", session)) {
		if err != nil {
			return place{}, false, fmt.Errorf("looking for the visitor %s: %w", session, err)
		}
		if site, session, ok := event.CRMPlace(d.Subject); ok {
			return place{site, session}, true, nil
		}
	}
	return place{}, false, nil
}
