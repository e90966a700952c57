package crm

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// maxTries is how often an item is tried for which the CRM asks to be tried
// again; with the pauses between, that is most of a day.
const maxTries = 100

// maxLost is how often the CRM may lose an item until a person must look.
const maxLost = 3

// dispatch begins as many batches as the CRM takes now.
func (l *leader) dispatch(ctx context.Context) error {
	for {
		now := time.Now()
		room, _ := l.gate.room(now)
		if l.flying >= room {
			return nil
		}
		places := l.queue.take(now, l.gate.limits.Contacts, l.spare(room))
		if len(places) == 0 {
			return nil
		}
		if err := l.load(ctx, places); err != nil {
			for _, p := range places {
				l.queue.put(p, now)
			}
			return err
		}
		var jobs []job
		for _, p := range places {
			e, err := l.entry(ctx, p)
			if err != nil {
				return err
			}
			if e.flying {
				continue // It comes again when that has landed.
			}
			j, ok, err := l.job(ctx, e)
			switch {
			case err != nil:
				return err
			case ok:
				e.flying = true
				jobs = append(jobs, j)
			}
		}
		if len(jobs) == 0 {
			continue
		}
		l.flying++
		go func() { l.results <- l.writer.write(ctx, jobs) }()
	}
}

// spare reports whether a call may be made for the past alone: one is left to what
// happens now, where there are several.
func (l *leader) spare(room int) bool { return room == 1 || l.flying < room-1 }

// job returns what is to be done for the visitor now; false when that is nothing.
func (l *leader) job(ctx context.Context, e *entry) (job, bool, error) {
	j, ok, err := l.work(ctx, e)
	if err == nil && !ok && !e.v.Dirty && e.v.Look {
		j, ok = l.look(e, j)
	}
	return j, ok, err
}

// work returns what is to be written of the visitor now; false when that is
// nothing.
func (l *leader) work(ctx context.Context, e *entry) (job, bool, error) {
	v := e.v
	j := job{place: place{v.Site, v.Session}, rev: e.rev, ref: Ref{v.ContactKey(), v.Contact.ID}}
	tells, why := l.policy().tells(v)
	if !tells {
		if why == "erased" && len(v.Sent) > 0 {
			j.forget = true
			return j, true, nil
		}
		l.clean(e)
		return j, false, nil
	}
	if v.Into != "" {
		ok, err := l.into(ctx, e, &j)
		if err != nil || !ok {
			return j, false, err
		}
	} else if !l.contactJob(ctx, e, &j) {
		return j, false, nil
	}
	for _, c := range v.Chats {
		if !c.begun() {
			continue
		}
		a, err := l.program.activityOf(v, c)
		if err != nil {
			l.bury(ctx, v, "activity", &c.sending, fault.From(err), digestOf(err.Error()))
			l.touch(e)
			continue
		}
		a.Contact = j.ref
		digest := a.digest()
		if digest == c.Digest || c.Dead != nil && c.Dead.Digest == digest {
			continue
		}
		j.activities, j.digests = append(j.activities, a), append(j.digests, digest)
	}
	if j.contact == nil && len(j.activities) == 0 {
		l.s.saved.Add(1)
		l.clean(e)
		return j, false, nil
	}
	return j, true, nil
}

// contactJob adds the contact, if the CRM does not have it as it is. It is false
// when nothing of the visitor can be written.
func (l *leader) contactJob(ctx context.Context, e *entry, j *job) bool {
	v := e.v
	contact, err := l.program.contactOf(v)
	if err != nil {
		l.bury(ctx, v, "contact", &v.Contact, fault.From(err), digestOf(err.Error()))
		l.touch(e)
		l.clean(e)
		return false
	}
	j.fields, j.digest = contact.Fields, digestOf(contact.Fields)
	if v.Contact.Dead != nil && v.Contact.Dead.Digest == j.digest {
		l.clean(e)
		return false
	}
	contact.Fields = v.changed(contact.Fields)
	j.former = len(v.Former)
	if v.Joined == len(v.Former) {
		contact.Former = nil
	}
	if len(contact.Fields) > 0 || v.Sent == nil || v.Joined < len(v.Former) {
		j.contact = &contact
	}
	return true
}

// into leads the visitor's chats to the contact that it turned out to be. It is
// false when that contact is not in the CRM.
func (l *leader) into(ctx context.Context, e *entry, j *job) (bool, error) {
	at := place{e.v.Site, e.v.Into}
	for range maxFormer {
		other, err := l.entry(ctx, at)
		if err != nil {
			return false, err
		}
		switch {
		case other.v.Into != "" && other.v.Into != e.v.Session:
			at.session = other.v.Into
			continue
		case other.v.Sent != nil:
			j.ref = Ref{other.v.Session, other.v.Contact.ID}
			return true, nil
		case !other.v.Dirty: // It will not be, as things are.
			l.clean(e)
			return false, nil
		}
		l.queue.put(j.place, time.Now().Add(time.Second))
		return false, nil
	}
	l.clean(e)
	return false, nil
}

// clean notes that there is nothing to write of the visitor.
func (l *leader) clean(e *entry) {
	if e.v.Dirty {
		e.v.Dirty, e.since = false, time.Time{}
		l.s.dirty.Add(-1)
		l.touch(e)
	}
}

// landed takes what became of a batch.
func (l *leader) landed(ctx context.Context, all []done) error {
	l.flying--
	now := time.Now()
	for i := range all {
		d := &all[i]
		e := l.entries[d.place]
		if e == nil {
			return fault.New(fault.InternalError, "a visitor was forgotten while it was written")
		}
		e.flying = false
		next := l.outcome(ctx, e, d, now)
		l.touch(e)
		switch {
		case !next.IsZero():
			l.queue.put(d.place, next)
		case e.rev != d.rev:
			e.since = now
			l.queue.collect(d.place, now.Add(l.o.Window))
		case e.v.Look && !d.look:
			l.queue.put(d.place, now)
		default:
			if !e.since.IsZero() {
				l.s.behind.Store(int64(now.Sub(e.since)))
			}
			l.clean(e)
		}
	}
	return nil
}

// outcome notes what the CRM has now. It returns when the visitor is to be tried
// again, or zero.
func (l *leader) outcome(ctx context.Context, e *entry, d *done, now time.Time) (next time.Time) {
	v := e.v
	soonest := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if d.look {
		return l.seen(ctx, e, d, now)
	}
	if d.failed != nil {
		l.s.retried.Add(1)
		v.Contact.Error = cut(d.failed.Error())
		if d.unsure {
			v.Contact.Unsure = true
		}
		soonest(l.after(d.failed, now))
	}
	if o := d.contacted; o != nil {
		switch at := l.item(ctx, v, "contact", &v.Contact, *o, d.digest, now); {
		case !at.IsZero():
			soonest(at)
		case o.Status == Done && d.forget:
			v.forgotten()
		case o.Status == Done:
			v.took(d)
		}
	}
	for i, o := range d.acted {
		c := v.chat(d.activities[i].Key)
		switch {
		case c == nil:
		case o == nil:
			if d.unsure {
				c.Unsure = true
			}
		default:
			if at := l.item(ctx, v, "activity", &c.sending, *o, d.digests[i], now); !at.IsZero() {
				soonest(at)
			} else if o.Status == Done {
				c.Digest = d.digests[i]
			}
		}
	}
	return next
}

// after is when a call that failed as a whole is worth another try.
func (l *leader) after(err error, now time.Time) time.Time {
	at := now.Add(itemFirst)
	if after := fault.From(err).After; after > 0 {
		at = now.Add(after)
	}
	if _, until := l.gate.room(now); until.After(at) {
		at = until
	}
	return at
}

// item notes the outcome of one item. It returns when to try again, or zero.
func (l *leader) item(ctx context.Context, v *Visitor, kind string, s *sending, o Outcome, digest string, now time.Time) time.Time {
	switch {
	case o.Status == Done:
		l.s.written.Add(1)
		if o.Stale {
			l.s.stale.Add(1)
		}
		if o.ID == "" {
			o.ID = s.ID
		}
		*s = sending{ID: o.ID, Digest: s.Digest, At: now.UTC()}
		return time.Time{}
	case o.Err == nil:
		o.Err = fault.New(fault.VendorRejects, "the CRM said %s, and not why", o.Status)
	}
	s.Error = cut(o.Err.Error())
	if o.Status == Retry && s.Attempts < maxTries {
		s.Attempts++
		l.s.retried.Add(1)
		s.Unsure = s.Unsure || judge(o.Err) == unsure
		s.Next = now.Add(max(o.After, pause(itemFirst, itemMost, s.Attempts-1)))
		return s.Next
	}
	if o.Err.Reason == fault.VendorNotFound && s.Lost < maxLost {
		// Somebody removed it: it is made anew, with all its fields.
		s.ID, s.Lost = "", s.Lost+1
		if kind == "contact" {
			v.Sent = nil
		} else {
			v.Contact.ID, v.Sent = "", nil // Or its contact was.
		}
		return now.Add(itemFirst)
	}
	l.bury(ctx, v, kind, s, o.Err, digest)
	return time.Time{}
}

// bury makes a dead letter of the item.
func (l *leader) bury(ctx context.Context, v *Visitor, kind string, s *sending, err *fault.Error, digest string) {
	l.s.rejected.Add(1)
	s.Dead = &Dead{
		At: time.Now().UTC(), Reason: err.Reason, Code: err.Code, Field: err.Field, Message: cut(err.Error()), Fix: err.Fix,
		Seq: v.Seq(), Digest: digest,
	}
	l.log.LogAttrs(ctx, slog.LevelWarn, "the CRM rejects an item", slog.String("kind", kind), slog.String("site", v.Site),
		slog.String("session", v.Session), slog.String("reason", string(err.Reason)), slog.String("field", err.Field))
}

// took notes that the CRM has the contact.
func (v *Visitor) took(d *done) {
	if v.Sent == nil {
		v.Sent = map[string]string{}
	}
	for _, f := range d.fields {
		v.Sent[f.Name] = digestOf(f.Value)
	}
	v.Joined = max(v.Joined, d.former)
}

// forgotten notes that the CRM has forgotten the visitor.
func (v *Visitor) forgotten() {
	v.Sent, v.Contact, v.Edits, v.Traits, v.Chats, v.Handoffs = nil, sending{}, nil, nil, nil, nil
	v.Identity, v.Group = event.Visitor{}, ""
	v.Theirs, v.Look, v.Refused = nil, false, nil
}

// chat returns the chat of the key, or nil.
func (v *Visitor) chat(key string) *chat {
	i := slices.IndexFunc(v.Chats, func(c *chat) bool { return c.Key == key })
	if i < 0 {
		return nil
	}
	return v.Chats[i]
}

// settle drops chats before the present one that the CRM has, and those of which
// there are too many.
func (v *Visitor) settle() {
	if len(v.Chats) < 2 {
		return
	}
	n := len(v.Chats) - 1
	kept := slices.DeleteFunc(slices.Clone(v.Chats[:n]), func(c *chat) bool { return !c.begun() || c.Digest != "" && !v.Dirty })
	v.Chats = append(kept, v.Chats[n])
	if len(v.Chats) > maxChats {
		v.Chats = v.Chats[len(v.Chats)-maxChats:]
	}
}

// asked does what people ask for.
func (l *leader) asked(ctx context.Context, a asked) error {
	l.at.Flow, l.moved = max(l.at.Flow, a.sequence), true
	switch a.Kind {
	case AskBackfill:
		l.at.Backfill = &a.Ask
		l.backfill(ctx)
		return nil
	case AskReplay:
	default:
		return nil
	}
	places := []place{{a.Site, a.Session}}
	if a.Session == "" {
		places = nil
		for r, err := range DeadLetters(ctx, l.bus, l.o.Name) {
			if err != nil {
				return err
			}
			if (a.Reason == "" || r.Reason == a.Reason) && (a.Site == "" || r.Site == a.Site) {
				places = append(places, place{r.Site, r.Session})
			}
		}
	}
	for _, p := range places {
		e, err := l.entry(ctx, p)
		if err != nil {
			return err
		}
		e.v.revive(a.Ask)
		l.changed(e, time.Now())
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "dead letters are tried again", slog.Int("visitors", len(places)))
	return nil
}

// revive forgets what was rejected, and takes the edits.
func (v *Visitor) revive(a Ask) {
	if len(a.Edits) > 0 && v.Edits == nil {
		v.Edits = map[string]any{}
	}
	for name, value := range a.Edits {
		if value == nil {
			delete(v.Edits, name)
			continue
		}
		v.Edits[name] = value
	}
	maps.DeleteFunc(v.Edits, func(_ string, value any) bool { return value == nil })
	v.Contact.Dead, v.Contact.Attempts, v.Contact.Lost = nil, 0, 0
	v.Look, v.Refused = v.Look || v.Refused != nil, nil
	for _, c := range v.Chats {
		c.Dead, c.Attempts, c.Lost = nil, 0, 0
	}
}

// String names the place.
func (p place) String() string { return fmt.Sprintf("%s of %s", p.session, p.site) }
