package backtest

import (
	"container/heap"
	"encoding/json"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// side is one version in the test: its machine, and what it remembers.
type side struct {
	set     *workflow.Set
	machine *machine.Machine
	now     time.Time

	sessions map[string]*machine.Session // those that remember something, by site and key
	sites    map[string]*machine.Site
	timers   timers
	figures  map[string]*figures // by workflow
	refused  map[string]int64    // by reason
	overlaps map[string]int64    // by the names of two workflows
	// sweep is how many sessions are remembered before those are looked for that
	// may be forgotten.
	sweep int
}

// fewSessions is how many sessions are remembered without a look at their age.
const fewSessions = 10_000

func newSide(set *workflow.Set, o Options) *side {
	s := &side{
		set: set, machine: machine.New(machine.NewLibrary(set), o.Sites, o.Schemas),
		sessions: map[string]*machine.Session{}, sites: map[string]*machine.Site{}, timers: newTimers(),
		figures: map[string]*figures{}, refused: map[string]int64{}, overlaps: map[string]int64{}, sweep: fewSessions,
	}
	for _, p := range set.Programs() {
		s.figures[p.Name] = newFigures()
	}
	return s
}

// begin sets the clocks of schedules.
func (s *side) begin(at time.Time) {
	s.now = at
	s.step(machine.Clocks(at))
}

// happen lets the input happen, after the timers that were due before it. It
// returns the workflows that began because of it.
func (s *side) happen(in machine.Input, at time.Time) []string {
	s.pass(at)
	began := s.step(in)
	for i, a := range began {
		for _, b := range began[i+1:] {
			s.overlaps[a+" and "+b]++
		}
	}
	return began
}

// pass lets time pass: timers fire when they are due, in their order.
func (s *side) pass(until time.Time) {
	for {
		due, ok := s.timers.next(until)
		if !ok {
			break
		}
		if due.Due.After(s.now) {
			s.now = due.Due
		}
		if in, ok := machine.ReadInput(due.Target(), event.Envelope{}, s.now); ok {
			s.step(in)
		}
	}
	s.now = until
	if len(s.sessions) >= s.sweep {
		s.forget()
		s.sweep = max(fewSessions, 2*len(s.sessions))
	}
}

// step folds one input, does in memory what it asks for, and returns the
// workflows that began.
func (s *side) step(in machine.Input) []string {
	change, err := s.machine.Step(machine.World{Session: s.session, Site: s.site, Run: noRun}, in, s.now)
	if err != nil {
		s.refuse(err)
		return nil
	}
	for _, list := range [][]*machine.Session{change.Sessions, change.Noticed} {
		for _, session := range list {
			s.sessions[session.Site+"."+session.Key] = session
		}
	}
	for _, site := range change.Sites {
		s.sites[site.Name] = site
	}
	for _, timer := range change.Timers {
		s.timers.set(timer)
	}
	for _, err := range change.Refused {
		s.refuse(err)
	}
	began := s.count(in, change)
	s.answer(change)
	return began
}

// answer gives what was asked for the result that the test supposes: it was
// done. What a workflow emits happens at once.
func (s *side) answer(change machine.Change) {
	for _, m := range change.Messages {
		if wordOf(m.Subject) == "in" {
			if in, ok := machine.ReadInput(m.Subject, m.Envelope, s.now); ok {
				s.step(in)
			}
			continue
		}
		action, ok := event.ActionOfType(m.Envelope.Type)
		tokens := strings.Split(m.Subject, ".")
		if !ok || len(tokens) < 2 {
			continue
		}
		s.succeed(action, tokens[len(tokens)-2], tokens[len(tokens)-1], m.Envelope.ID)
	}
	for _, call := range change.Calls {
		s.succeed(machine.CallAction, call.Site, call.Session, call.Key)
	}
}

// succeed folds the result of a command that was done.
func (s *side) succeed(action, site, session, id string) {
	data, err := json.Marshal(event.Result{
		CommandID: id, Action: action, Site: site, Session: session, Status: event.Succeeded, Verified: true,
	})
	if err != nil {
		s.refuse(err)
		return
	}
	in, ok := machine.ReadInput(event.ResultSubject(action, site, session), event.Envelope{
		ID: "result-" + id, Source: "/backtest", Type: event.ResultType(action), Subject: session, Data: data,
	}, s.now)
	if ok {
		s.step(in)
	}
}

func (s *side) session(site, key string) (*machine.Session, error) {
	if known := s.sessions[site+"."+key]; known != nil {
		return known, nil
	}
	return &machine.Session{Site: site, Key: key}, nil
}

func (s *side) site(name string) (*machine.Site, error) {
	if known := s.sites[name]; known != nil {
		return known, nil
	}
	return &machine.Site{Name: name}, nil
}

// noRun says that no run can be asked for again: a person did that, and it is
// not part of the test.
func noRun(_, _, _ string) (*machine.Run, error) { return nil, nil } //nolint:nilnil // There is none.

// forget drops the sessions that the bus would have dropped by now, so that
// memory does not grow with the visitors of the past.
func (s *side) forget() {
	for key, session := range s.sessions {
		if len(session.Runs) > 0 {
			continue
		}
		last := time.Time{}
		for _, ended := range session.Recent {
			if ended.At.After(last) {
				last = ended.At
			}
		}
		if !last.Add(session.Life(last)).After(s.now) {
			delete(s.sessions, key)
		}
	}
}

// timers are those that are set, the next one first.
type timers struct {
	by    map[string]*timer
	queue queue
}

type timer struct {
	machine.Timer

	place int
}

func newTimers() timers { return timers{by: map[string]*timer{}} }

// set sets the timer, or takes it back when it has no time.
func (t *timers) set(x machine.Timer) {
	subject := x.Subject()
	if old := t.by[subject]; old != nil {
		heap.Remove(&t.queue, old.place)
		delete(t.by, subject)
	}
	if !x.Due.IsZero() {
		set := &timer{Timer: x}
		t.by[subject] = set
		heap.Push(&t.queue, set)
	}
}

// next takes the next timer that is due until then.
func (t *timers) next(until time.Time) (machine.Timer, bool) {
	if t.queue.Len() == 0 || t.queue.set[0].Due.After(until) {
		return machine.Timer{}, false
	}
	due := t.queue.set[0].Timer
	t.set(machine.Timer{Site: due.Site, Session: due.Session, Run: due.Run, Name: due.Name})
	return due, true
}

// queue is a heap by time, then by subject, so that every test is the same.
type queue struct{ set []*timer }

// Len returns the number of timers.
func (q *queue) Len() int { return len(q.set) }

// Less orders by time.
func (q *queue) Less(i, j int) bool {
	a, b := q.set[i], q.set[j]
	if !a.Due.Equal(b.Due) {
		return a.Due.Before(b.Due)
	}
	return a.Subject() < b.Subject()
}

// Swap changes two places.
func (q *queue) Swap(i, j int) {
	q.set[i], q.set[j] = q.set[j], q.set[i]
	q.set[i].place, q.set[j].place = i, j
}

// Push adds at the end.
func (q *queue) Push(x any) {
	if set, ok := x.(*timer); ok {
		set.place = len(q.set)
		q.set = append(q.set, set)
	}
}

// Pop removes the last one.
func (q *queue) Pop() any {
	last := q.set[len(q.set)-1]
	q.set = q.set[:len(q.set)-1]
	return last
}
