package machine

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
)

// Programs are the workflows.
type Programs interface {
	// Starting returns the current programs that the topic starts on the site, in
	// their order.
	Starting(topic workflow.Topic, site string) []*workflow.Program
	// Current returns the current program of the name.
	Current(name string) (*workflow.Program, bool)
	// All returns the current programs, in their order.
	All() []*workflow.Program
	// Program returns the program of the digest, which may be one of long ago.
	Program(digest string) (*workflow.Program, bool)
	// Facts reports whether facts start a current program on the site.
	Facts(site string) bool
}

// World is what is remembered. Its functions return what the last Step left;
// Step changes copies of it. An error ends the Step, and nothing of it holds.
type World struct {
	// Session never returns nil: a session that nobody knows is empty.
	Session func(site, key string) (*Session, error)
	// Site never returns nil.
	Site func(name string) (*Site, error)
	// Run returns a run that ended, or nil.
	Run func(site, session, id string) (*Run, error)
}

// Change is what a Step did: the records as they are now, and what is to be
// done.
type Change struct {
	Sessions []*Session
	Sites    []*Site
	// Noticed are sessions in which only what was seen last is new. They need not
	// be stored, as long as the next Step finds them.
	Noticed []*Session
	Effects
}

// Machine is how workflows run. It has no state: many goroutines may use it.
type Machine struct {
	programs Programs
	sites    func(name string) (actions.Site, bool)
	schemas  workflow.Validator
	folds    *sync.Pool // of *fold: most inputs pass by, and leave theirs as it was
}

// New returns a machine for the programs and sites.
func New(programs Programs, sites func(name string) (actions.Site, bool), schemas workflow.Validator) *Machine {
	return &Machine{programs, sites, schemas, &sync.Pool{New: func() any { return &fold{} }}}
}

// Step folds one input. now is not before in.At. An error means that the input
// could not be handled at all, and nothing changed.
func (m *Machine) Step(world World, in Input, now time.Time) (Change, error) {
	f, ok := m.folds.Get().(*fold)
	if !ok {
		f = &fold{} // Never: the pool holds nothing else.
	}
	f.m, f.world, f.in, f.now = m, world, in, now
	defer func() {
		*f = fold{}
		m.folds.Put(f)
	}()
	if err := f.input(); err != nil {
		return Change{}, err
	}
	for i := 0; i < len(f.change.Sessions); i++ { // Ending a run may change others.
		f.bound(f.change.Sessions[i])
	}
	return f.change, nil
}

// input folds the input.
func (f *fold) input() error {
	switch f.in.kind {
	case inTrigger:
		return f.trigger()
	case inFact:
		return f.fact()
	case inResult:
		return f.result()
	case inWake:
		return f.wake()
	case inClocks:
		return f.setClocks()
	}
	return nil
}

// bound ends the largest runs of a session that remembers too much.
func (f *fold) bound(s *Session) {
	for {
		total, most := 0, 0
		var largest *Run
		for _, run := range s.Runs {
			size := run.Size()
			total += size
			if size > most {
				most, largest = size, run
			}
		}
		if total <= maxRecord {
			return
		}
		f.end(s, largest, Failed, "the runs of the visitor remember too much")
	}
}

// fold is one Step under way.
type fold struct {
	m        *Machine
	world    World
	in       Input
	now      time.Time
	change   Change
	sessions map[string]*Session // copies, by site and key
	sites    map[string]*Site    // copies
	h        workflow.Happened   // the input of a trigger or a fact
}

// session returns the session to work on: a copy, and the one that took over
// when the visitor turned out to be another one.
func (f *fold) session(site, key string) (*Session, error) {
	for range 8 { // Visitors who become one another do not make a circle, and if they do, it ends.
		s, err := f.look(site, key)
		if err != nil {
			return nil, err
		}
		if s.Moved == "" {
			return s, nil
		}
		key = s.Moved
	}
	return nil, fault.New(fault.InternalError, "the session %s moved too often", key)
}

// look returns the session of exactly that key.
func (f *fold) look(site, key string) (*Session, error) {
	at := site + "." + key
	if s := f.sessions[at]; s != nil {
		return s, nil
	}
	known, err := f.world.Session(site, key)
	if err != nil {
		return nil, err
	}
	s := known.clone()
	put(&f.sessions, at, s)
	return s, nil
}

// changed has the session stored.
func (f *fold) changed(s *Session) {
	if !slices.Contains(f.change.Sessions, s) {
		f.change.Sessions = append(f.change.Sessions, s)
	}
}

// site returns the record of the site to work on, and has it stored.
func (f *fold) site(name string) (*Site, error) {
	if s := f.sites[name]; s != nil {
		return s, nil
	}
	known, err := f.world.Site(name)
	if err != nil {
		return nil, err
	}
	s := known.clone()
	put(&f.sites, name, s)
	f.change.Sites = append(f.change.Sites, s)
	return s, nil
}

// trigger folds a trigger: it wakes the runs that wait for it, and starts those
// of the workflows that listen to it.
func (f *fold) trigger() error {
	happened, over, err := f.read()
	if over || err != nil {
		return err
	}
	data := happened.Trigger
	site, ok := f.m.sites(data.Site)
	if !ok {
		return fault.New(fault.UnknownSite, "the trigger names the site %q", data.Site).At("/site")
	}
	s, err := f.session(data.Site, happened.Session)
	if err != nil {
		return err
	}
	if data.Previous != nil {
		if err := f.merge(s, *data.Previous, data.Visitor); err != nil {
			return err
		}
	}
	if visitor := richer(s.Visitor, data.Visitor); visitor != s.Visitor && (len(s.Runs) > 0 || f.m.programs.Facts(data.Site)) {
		s.Visitor = visitor // A fact does not tell it.
		f.changed(s)
	}
	if happened.Topic.Kind == event.KindManual {
		if done, err := f.control(s, happened); done || err != nil {
			return err
		}
	}
	starting := f.m.programs.Starting(happened.Topic, data.Site)
	if len(s.Runs) == 0 && len(starting) == 0 {
		f.change.mark(MarkIgnored, "", "")
		return nil
	}
	return f.happened(s, happened, site, starting)
}

// read reads the trigger. It is over when a glance shows that nobody has to do
// with it.
func (f *fold) read() (h workflow.Happened, over bool, err error) {
	e := f.in.Envelope
	if h, ok := workflow.Glance(e, f.m.schemas); ok {
		if over, err := f.passes(&h); over || err != nil {
			return h, over, err
		}
		return h.Whole(), false, nil
	}
	if err := f.m.schemas.Validate(e.Type, e.Data); err != nil {
		return h, false, errChecking(err)
	}
	h, ok, err := workflow.ReadHappened(e)
	if err == nil && !ok {
		err = fault.New(fault.Malformed, "the type %q is not a trigger's", e.Type)
	}
	return h, false, err
}

func errChecking(err error) error {
	problem := fault.From(err)
	checked := *problem
	checked.Message = "checking the trigger: " + problem.Error()
	checked.Field, checked.Err = problem.Field, nil
	return &checked
}

// fact folds a fact, as trigger does.
func (f *fold) fact() error {
	s, err := f.session(f.in.Site, f.in.Session)
	if err != nil {
		return err
	}
	topic, ok := factTopic(f.in.Envelope.Type)
	if !ok {
		return nil
	}
	starting := f.m.programs.Starting(topic, f.in.Site)
	if len(s.Runs) == 0 && len(starting) == 0 {
		return nil
	}
	happened, ok, err := workflow.ReadHappened(f.in.Envelope)
	if err != nil || !ok {
		return err
	}
	happened.Trigger.Site, happened.Session = f.in.Site, s.Key
	happened.Trigger.Visitor = s.Visitor
	site, ok := f.m.sites(f.in.Site)
	if !ok {
		return fault.New(fault.UnknownSite, "the fact names the site %q", f.in.Site).At("/site")
	}
	return f.happened(s, happened, site, starting)
}

// happened tells the runs under way of what happened, and starts others.
func (f *fold) happened(s *Session, h workflow.Happened, site actions.Site, starting []*workflow.Program) error {
	occurred := h.Trigger.OccurredAt
	late := occurred.Before(s.Seen[h.Source])
	if !late && (len(s.Runs) > 0 || len(starting) > 0) {
		if s.Seen == nil {
			s.Seen = map[string]time.Time{}
		}
		s.Seen[h.Source] = occurred
	}
	f.h = h
	touched := f.tell(s, h, late)
	matched := false
	scene := &workflow.Scene{Start: h, Visitor: s.Visitor, Site: site, Run: workflow.RunInfo{StartedAt: f.in.At, Now: f.in.At}}
	for _, program := range starting {
		began, err := f.begin(s, program, h, scene, site)
		if err != nil {
			return err
		}
		matched = matched || began
	}
	f.settle(s)
	switch {
	case matched:
		f.change.mark(MarkMatched, "", "")
	case touched:
	default:
		f.change.mark(MarkIgnored, "", "")
	}
	switch {
	case matched || touched:
		f.changed(s)
	case len(s.Runs) > 0:
		f.change.Noticed = append(f.change.Noticed, s)
	}
	return nil
}

// settle forgets what is only needed while runs are under way.
func (f *fold) settle(s *Session) {
	if len(s.Runs) == 0 {
		s.Seen = nil
	}
	maps.DeleteFunc(s.Limits, func(_ string, l Limit) bool { return l.Until.Before(f.in.At) })
}

// result folds a result: the run that asked for the command goes on.
func (f *fold) result() error {
	s, err := f.session(f.in.Site, f.in.Session)
	if err != nil || len(s.Runs) == 0 {
		return err
	}
	var result event.Result
	if err := json.Unmarshal(f.in.Envelope.Data, &result); err != nil {
		return errMalformed("result", err)
	}
	for _, run := range s.Runs {
		open, ours := run.Open[result.CommandID]
		if !ours {
			continue
		}
		f.changed(s)
		f.answered(s, run, open, result)
		f.makeRoom(s, result.Action)
		f.settle(s)
		return nil
	}
	return nil
}

// richer returns the visitor with what the newer one tells beyond it.
func richer(old, newer event.Visitor) event.Visitor {
	if newer.UserID != "" {
		old.UserID = newer.UserID
	}
	if newer.Email != "" {
		old.Email = newer.Email
	}
	if newer.AnonymousID != "" {
		old.AnonymousID = newer.AnonymousID
	}
	return old
}
