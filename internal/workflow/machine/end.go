package machine

import (
	"fmt"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
)

// finish ends the run when nothing of it is under way any more.
func (f *fold) finish(s *Session, run *Run) {
	if run.Status == Running && len(run.Threads) == 0 && len(run.Open) == 0 {
		f.end(s, run, Succeeded, "")
	}
}

// end ends the run: its record is stored on its own, its timers are taken back,
// and who waits for its concurrency key goes on.
func (f *fold) end(s *Session, run *Run, status Status, reason string) {
	if run.Status != Running {
		return
	}
	f.changed(s)
	for _, thread := range run.Threads {
		f.disarm(run, thread.Wait)
	}
	run.Status, run.Reason, run.EndedAt = status, reason, f.in.At
	run.note(Entry{At: f.in.At, What: "ended", Text: string(status)})
	s.Runs = slices.DeleteFunc(s.Runs, func(r *Run) bool { return r == run })
	s.Recent = append(s.Recent, Ended{run.ID, run.Workflow, status, f.in.At})
	if over := len(s.Recent) - maxRecent; over > 0 {
		s.Recent = slices.Clone(s.Recent[over:])
	}
	f.change.Ended = append(f.change.Ended, run)
	f.change.mark(MarkEnded, run.Workflow, string(status))
	if run.Lock == "" {
		return
	}
	site, err := f.site(run.Site)
	if err != nil {
		return // It was read before, when the run came to its key.
	}
	f.unlock(site, run)
}

// reap ends runs that did everything and wait only for results that can no
// longer come.
func (f *fold) reap(s *Session) {
	for _, run := range slices.Clone(s.Runs) {
		if len(run.Threads) > 0 {
			continue
		}
		gone := true
		for _, open := range run.Open {
			gone = gone && open.Until.Before(f.in.At)
		}
		if gone {
			f.end(s, run, Succeeded, "not every result came")
		}
	}
}

// compete has the run compete for its concurrency key. It returns the limit that
// refuses the start, or "".
func (f *fold) compete(s *Session, run *Run, p *workflow.Program, h workflow.Happened) (string, error) {
	key := run.Session
	if p.Bounds.Key != nil {
		vars, err := f.vars(run, p, nil, &h)
		if err != nil {
			return "", err
		}
		value, err := p.Bounds.Key.Value(vars)
		if err != nil {
			f.change.refuse(fmt.Errorf("rule %s: limits.concurrency.key: %w", p.Name, err))
			return "concurrency", nil
		}
		key = fmt.Sprint(value)
	}
	site, err := f.site(run.Site)
	if err != nil {
		return "", err
	}
	name := event.DerivedID(p.Name, key)
	me := Holder{run.Session, run.ID}
	lock := site.Locks[name]
	if lock != nil {
		if holder, _, err := f.holder(run.Site, lock.Holder); err != nil {
			return "", err
		} else if holder == nil {
			lock = nil // It ended while nobody looked, or its record was lost.
		}
	}
	if lock == nil {
		put(&site.Locks, name, &Lock{Holder: me})
		run.Lock = name
		return "", nil
	}
	switch p.Bounds.OnConflict {
	case "queue":
		if len(lock.Waiting) >= maxQueue {
			return "concurrency", nil
		}
		lock.Waiting = append(lock.Waiting, me)
	case "replace":
		old, of, err := f.holder(run.Site, lock.Holder)
		if err != nil {
			return "", err
		}
		lock.Holder = me // First, so that nobody else goes on with the key.
		if old != nil {
			f.end(of, old, Replaced, "the run "+run.ID+" took its place")
		}
		if of != s {
			f.settle(of)
		}
	default:
		return "concurrency", nil
	}
	run.Lock = name
	return "", nil
}

// holder returns the run of the holder and its session; a nil run when it is no
// longer under way.
func (f *fold) holder(site string, h Holder) (*Run, *Session, error) {
	s, err := f.session(site, h.Session)
	if err != nil {
		return nil, nil, err
	}
	return s.run(h.Run), s, nil
}

// unlock gives up the run's concurrency key, or its place among those who wait
// for it, and has the next one go on.
func (f *fold) unlock(site *Site, run *Run) {
	lock := site.Locks[run.Lock]
	if lock == nil {
		return
	}
	if lock.Holder.Run != run.ID {
		lock.Waiting = slices.DeleteFunc(lock.Waiting, func(h Holder) bool { return h.Run == run.ID })
		return
	}
	for len(lock.Waiting) > 0 {
		lock.Holder = lock.Waiting[0]
		lock.Waiting = slices.Clone(lock.Waiting[1:])
		next, s, err := f.holder(run.Site, lock.Holder)
		if err != nil || next == nil {
			continue
		}
		p, ok := f.m.programs.Program(next.Version)
		if !ok {
			f.lost(s, next)
			return // Its end gave the key on.
		}
		f.changed(s)
		if len(next.Threads) == 1 && next.Threads[0].Wait != nil && next.Threads[0].Wait.Kind == waitLock {
			if err := f.gate(s, next, p, waitLock); err != nil {
				f.end(s, next, Failed, err.Error())
			}
		}
		return
	}
	delete(site.Locks, run.Lock)
}

// merge moves everything of the visitor's previous session to the one that they
// have from now on.
func (f *fold) merge(into *Session, previous, visitor event.Visitor) error {
	key := event.SessionKey(into.Site, previous)
	if key == into.Key || previous.Key() == "" {
		return nil
	}
	old, err := f.look(into.Site, key)
	if err != nil || old.Moved != "" {
		return err
	}
	f.changed(into)
	f.changed(old)
	into.Visitor = richer(richer(into.Visitor, old.Visitor), visitor)
	for _, run := range old.Runs {
		for _, thread := range run.Threads {
			f.disarm(run, thread.Wait)
		}
		run.Session, run.Visitor = into.Key, visitor
		run.note(Entry{At: f.in.At, What: "moved", ID: f.in.Envelope.ID})
		for _, thread := range run.Threads {
			if thread.Wait != nil {
				f.arm(run, thread.Wait)
			}
		}
		if err := f.moveLock(run, old.Key); err != nil {
			return err
		}
	}
	into.Runs = append(into.Runs, old.Runs...)
	slices.SortStableFunc(into.Runs, func(a, b *Run) int { return a.StartedAt.Compare(b.StartedAt) })
	for source, at := range old.Seen {
		if at.After(into.Seen[source]) {
			put(&into.Seen, source, at)
		}
	}
	for name, limit := range old.Limits {
		if mine := into.Limits[name]; limit.Last.After(mine.Last) {
			put(&into.Limits, name, limit)
		}
	}
	into.Recent = append(slices.Clone(old.Recent), into.Recent...)
	slices.SortStableFunc(into.Recent, func(a, b Ended) int { return a.At.Compare(b.At) })
	if over := len(into.Recent) - maxRecent; over > 0 {
		into.Recent = slices.Clone(into.Recent[over:])
	}
	*old = Session{Site: old.Site, Key: old.Key, Moved: into.Key}
	return nil
}

// moveLock tells the concurrency key that its run is in another session now.
func (f *fold) moveLock(run *Run, from string) error {
	if run.Lock == "" {
		return nil
	}
	site, err := f.site(run.Site)
	if err != nil {
		return err
	}
	lock := site.Locks[run.Lock]
	if lock == nil {
		return nil
	}
	for _, holder := range append([]*Holder{&lock.Holder}, pointers(lock.Waiting)...) {
		if holder.Run == run.ID && holder.Session == from {
			holder.Session = run.Session
		}
	}
	return nil
}

func pointers(all []Holder) []*Holder {
	to := make([]*Holder, len(all))
	for i := range all {
		to[i] = &all[i]
	}
	return to
}

// Duration returns how long the run took, or has been under way.
func (r *Run) Duration(now time.Time) time.Duration {
	if r.EndedAt.IsZero() {
		return now.Sub(r.StartedAt)
	}
	return r.EndedAt.Sub(r.StartedAt)
}
