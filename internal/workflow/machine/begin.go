package machine

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// The names of the timers of what a run waits for before its first step. Those
// of steps are the indexes of their ops.
const (
	timerDebounce = "debounce"
	timerQuiet    = "quiet"
)

// begin starts a run of the program, if its condition, its promises and its
// limits let it. It reports whether the program wanted to.
func (f *fold) begin(s *Session, p *workflow.Program, h workflow.Happened, scene *workflow.Scene, site actions.Site) (bool, error) {
	yes := true
	if p.Cond != nil {
		var err error
		if yes, err = p.Cond.Bool(p.Vars(scene)); err != nil {
			f.change.refuse(fmt.Errorf("rule %s: %w", p.Name, err))
			return true, nil
		}
	}
	first := p.First
	if !yes {
		first = p.Otherwise
	}
	if first == workflow.End {
		return false, nil
	}
	moment := f.in.moment()
	run := &Run{
		ID:       event.DerivedID(p.Name, p.Digest, moment.key()),
		Workflow: p.Name, Version: p.Digest, Site: site.Name, Session: s.Key, Status: Running, StartedAt: f.in.At,
		Key: moment.key(), Trigger: moment, Else: !yes, After: maps.Clone(s.Seen),
	}
	if s.knew(run.ID) {
		return true, nil // The trigger was replayed, and this workflow has had it.
	}
	return true, f.enter(s, run, p, first, h, scene)
}

// enter lets the run in, or records why not.
func (f *fold) enter(s *Session, run *Run, p *workflow.Program, first int, h workflow.Happened, scene *workflow.Scene) error {
	if f.debounced(s, run, p) {
		return nil
	}
	if status, why := f.promised(p, run, h, scene.Site); status != Running {
		f.change.mark(MarkStarted, p.Name, "")
		f.admit(s, run, h)
		f.end(s, run, status, why)
		return nil
	}
	if run.Trigger.Hops > maxHops {
		f.change.refuse(fault.New(fault.BadRule, "rule %s: workflows start one another, %d times in a row", p.Name, run.Trigger.Hops).
			WithFix("have an emitted event end the chain"))
		return nil
	}
	f.reap(s)
	if len(s.Runs) >= MaxRuns {
		f.change.mark(MarkSkipped, p.Name, "runs")
		f.change.refuse(fault.New(fault.QueueFull, "rule %s: %d runs of the visitor are under way", p.Name, len(s.Runs)).
			WithFix("let fewer workflows wait for the same visitor, or bound them with `limits`"))
		return nil
	}
	before, had := s.Limits[p.Name]
	if why, err := f.limited(s, run, p, h); err != nil || why != "" {
		if why != "" {
			f.change.mark(MarkSkipped, p.Name, why)
		}
		return err
	}
	f.change.mark(MarkStarted, p.Name, "")
	f.admit(s, run, h)
	kept := f.kept()
	run.Threads = []*Thread{{ID: 1, At: first}}
	run.Born = 1
	if err := f.gate(s, run, p, waitDebounce); err != nil {
		f.restore(kept)
		f.change.refuse(fmt.Errorf("rule %s: %w", p.Name, err))
		if had {
			s.Limits[p.Name] = before
		} else {
			delete(s.Limits, p.Name)
		}
		run.Threads, run.Open = nil, nil
		f.end(s, run, Failed, fault.From(err).Error())
	}
	return nil
}

// kept and restore take back what a run asked for that could not begin.
func (f *fold) kept() Effects { return f.change.Effects }

func (f *fold) restore(to Effects) {
	marks, refused := f.change.Marks, f.change.Refused
	f.change.Effects = to
	f.change.Marks, f.change.Refused = marks, refused
}

// admit puts the run among those of the session.
func (f *fold) admit(s *Session, run *Run, h workflow.Happened) {
	s.Visitor = richer(s.Visitor, h.Trigger.Visitor)
	run.Visitor = s.Visitor
	s.Runs = append(s.Runs, run)
	run.note(Entry{At: f.in.At, What: "started", ID: run.Trigger.ID, Text: h.Topic.String()})
}

// promised returns Running, or why the run must not do anything.
func (f *fold) promised(p *workflow.Program, run *Run, h workflow.Happened, site actions.Site) (Status, string) {
	switch {
	case slices.Contains(p.Requires, workflow.RequireConsent) && !workflow.Consents(h.Trigger.Consent):
		return ConsentMissing, "the visitor did not agree"
	case slices.Contains(p.Requires, workflow.RequireDisclosure) && !site.Disclosure:
		return Undisclosed, "the site does not tell that a machine answers"
	case p.HeldOut(run.Session):
		return HeldOut, "the visitor is in the control group"
	}
	return Running, ""
}

// debounced gives the trigger to the run that waits for triggers to cease, if
// there is one.
func (f *fold) debounced(s *Session, run *Run, p *workflow.Program) bool {
	if p.Bounds.Debounce <= 0 {
		return false
	}
	for _, other := range s.Runs {
		if other.Workflow != p.Name || len(other.Threads) != 1 {
			continue
		}
		thread := other.Threads[0]
		if thread.Wait == nil || thread.Wait.Kind != waitDebounce {
			continue
		}
		other.Trigger = run.Trigger
		thread.Wait.Due = f.in.At.Add(p.Bounds.Debounce)
		f.arm(other, thread.Wait)
		other.note(Entry{At: f.in.At, What: "debounced", ID: run.Trigger.ID})
		return true
	}
	return false
}

// limited returns the limit that refuses the start, or "", and counts it.
func (f *fold) limited(s *Session, run *Run, p *workflow.Program, h workflow.Happened) (string, error) {
	b := p.Bounds
	limit := s.Limits[p.Name]
	refuse := func(why string) (string, error) {
		if limit.Until.After(f.in.At) {
			limit.Skipped++
			limit.Why = why
			s.Limits[p.Name] = limit
		}
		return why, nil
	}
	if b.OncePer > 0 && !limit.Last.IsZero() && f.in.At.Before(limit.Last.Add(b.OncePer)) {
		return refuse("once_per")
	}
	if b.Quiet != nil && !b.Quiet.Wait {
		if _, quiet := b.Quiet.Ends(f.in.At); quiet {
			return refuse("quiet_hours")
		}
	}
	if b.Exclusive {
		if why, err := f.compete(s, run, p, h); err != nil || why != "" {
			return why, err
		}
	}
	if b.PerSite.N > 0 {
		site, err := f.site(run.Site)
		if err != nil {
			return "", err
		}
		rate, ok := site.Rates[p.Name].take(f.in.At, b.PerSite.N, b.PerSite.Per)
		put(&site.Rates, p.Name, rate)
		if !ok {
			if run.Lock != "" {
				f.unlock(site, run)
			}
			return refuse("per_site")
		}
	}
	if b.OncePer > 0 {
		put(&s.Limits, p.Name, Limit{Last: f.in.At, Until: f.in.At.Add(b.OncePer)})
	}
	return "", nil
}

// gate leads the run past what it waits for before its first step: triggers to
// cease, quiet hours to end, its turn. from names the gate that it stands at.
func (f *fold) gate(s *Session, run *Run, p *workflow.Program, from string) error {
	thread := run.Threads[0]
	thread.Wait = nil
	switch from {
	case waitDebounce:
		if d := p.Bounds.Debounce; d > 0 && run.Of == "" {
			f.wait(s, run, thread, Wait{Kind: waitDebounce, Timer: timerDebounce, Due: f.in.At.Add(d)})
			return nil
		}
		fallthrough
	case waitQuiet:
		if q := p.Bounds.Quiet; q != nil && q.Wait {
			if ends, quiet := q.Ends(f.in.At); quiet {
				f.wait(s, run, thread, Wait{Kind: waitQuiet, Timer: timerQuiet, Due: ends})
				return nil
			}
		}
		fallthrough
	case waitLock:
		if run.Lock != "" {
			site, err := f.site(run.Site)
			if err != nil {
				return err
			}
			if lock := site.Locks[run.Lock]; lock != nil && lock.Holder.Run != run.ID {
				f.wait(s, run, thread, Wait{Kind: waitLock})
				return nil
			}
		}
	}
	return f.advance(s, run, p, thread)
}

// wait has the thread wait.
func (f *fold) wait(s *Session, run *Run, thread *Thread, w Wait) {
	w.Since, w.After = f.in.At, maps.Clone(s.Seen)
	thread.Wait = &w
	f.arm(run, &w)
	entry := Entry{At: f.in.At, What: "waiting", Step: w.Step, Text: w.Kind}
	if !w.Due.IsZero() {
		entry.Text += " until " + w.Due.UTC().Format(time.RFC3339)
	}
	run.note(entry)
}

// arm sets the timer of the wait, if it has one.
func (f *fold) arm(run *Run, w *Wait) {
	if w.Timer == "" || w.Due.IsZero() {
		return
	}
	f.change.Timers = append(f.change.Timers, f.timer(run, w.Timer, w.Due))
}

func (f *fold) timer(run *Run, name string, due time.Time) Timer {
	if far := f.now.Add(maxAhead); due.After(far) {
		due = far // It is set anew then.
	}
	return Timer{run.Site, run.Session, run.ID, name, due}
}

// maxAhead is how far ahead a timer is set: the bus refuses one that is farther.
const maxAhead = 50 * 24 * time.Hour

// disarm takes the timer of the wait back. One that fires all the same wakes
// nobody.
func (f *fold) disarm(run *Run, w *Wait) {
	if w == nil || w.Timer == "" || w.Due.IsZero() {
		return
	}
	f.change.Timers = append(f.change.Timers, Timer{Site: run.Site, Session: run.Session, Run: run.ID, Name: w.Timer})
}

// put puts a value into a map that may not be there yet.
func put[V any](into *map[string]V, key string, value V) {
	if *into == nil {
		*into = map[string]V{}
	}
	(*into)[key] = value
}
