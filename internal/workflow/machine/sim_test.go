package machine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/schemas"
)

// noon is when the simulations begin.
var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// ada is the visitor of most tests.
var ada = event.Visitor{UserID: "u-42", Email: "ada@example.test"}

// shop is the site of the tests.
var shop = actions.Site{Name: "shop", Provider: "botstar", Mode: "livechat", URL: "https://shop.example.test/"}

// sim is a log with a machine behind it: what the machine asks for is done at
// once, and its timers fire when their time comes.
type sim struct {
	tb       testing.TB
	machine  *Machine
	site     actions.Site
	now      time.Time
	sessions map[string]*Session
	sites    map[string]*Site
	ended    map[string]*Run
	timers   map[string]Timer
	number   int

	messages []Message // commands and triggers, in their order
	calls    []Call
	refused  []error
	marks    []Mark
}

// compile compiles rule files, given as name and text.
func compile(tb testing.TB, files ...string) (*workflow.Set, *event.Schemas) {
	tb.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		tb.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	compiler, err := workflow.NewCompiler(catalog, validators, []actions.Site{shop, {Name: "docs", Provider: "botstar"}})
	if err != nil {
		tb.Fatal(err)
	}
	tree := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		tree[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	set, err := compiler.Load(tree, "*.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	return set, validators
}

// simulate begins a simulation with the rule files.
func simulate(tb testing.TB, files ...string) *sim {
	tb.Helper()
	set, validators := compile(tb, files...)
	s := &sim{
		tb: tb, site: shop, now: noon, sessions: map[string]*Session{}, sites: map[string]*Site{},
		ended: map[string]*Run{}, timers: map[string]Timer{},
	}
	s.machine = New(NewLibrary(set), func(name string) (actions.Site, bool) { return s.site, name == "shop" }, validators)
	s.feed(Clocks(s.now))
	return s
}

func (s *sim) world() World {
	return World{
		Session: func(site, key string) (*Session, error) {
			if known := s.sessions[site+"."+key]; known != nil {
				return known, nil
			}
			return &Session{Site: site, Key: key}, nil
		},
		Site: func(name string) (*Site, error) {
			if known := s.sites[name]; known != nil {
				return known, nil
			}
			return &Site{Name: name}, nil
		},
		Run: func(_, _, id string) (*Run, error) { return s.ended[id], nil },
	}
}

// feed folds one input, and stores what changed as the bus would: as JSON.
func (s *sim) feed(in Input) {
	s.tb.Helper()
	change, err := s.machine.Step(s.world(), in, s.now)
	if err != nil {
		s.refused = append(s.refused, err)
		return
	}
	for _, session := range slices.Concat(change.Sessions, change.Noticed) {
		s.sessions[session.Site+"."+session.Key] = through(s.tb, session)
		s.check(session)
	}
	for _, site := range change.Sites {
		s.sites[site.Name] = through(s.tb, site)
	}
	for _, run := range change.Ended {
		s.ended[run.ID] = through(s.tb, run)
	}
	for _, timer := range change.Timers {
		if timer.Due.IsZero() {
			delete(s.timers, timer.Subject())
			continue
		}
		s.timers[timer.Subject()] = timer
	}
	s.calls = append(s.calls, change.Calls...)
	s.marks = append(s.marks, change.Marks...)
	s.refused = append(s.refused, change.Refused...)
	for _, m := range change.Messages {
		s.messages = append(s.messages, m)
		if strings.HasPrefix(m.Subject, "in.") { // It is read from the log next.
			in, _ := ReadInput(m.Subject, m.Envelope, s.now)
			s.feed(in)
		}
	}
}

// through returns the value after its way through JSON.
func through[T any](tb testing.TB, value *T) *T {
	tb.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	read := new(T)
	if err := json.Unmarshal(raw, read); err != nil {
		tb.Fatal(err)
	}
	return read
}

// check holds what is true of every session at any time.
func (s *sim) check(session *Session) {
	s.tb.Helper()
	if len(session.Runs) > MaxRuns {
		s.tb.Errorf("%d runs are under way", len(session.Runs))
	}
	open := map[string]int{}
	for _, run := range session.Runs {
		if run.Status != Running || len(run.Threads) == 0 && len(run.Open) == 0 {
			s.tb.Errorf("the run %s is under way with status %s, %d threads and %d open", run.ID, run.Status, len(run.Threads), len(run.Open))
		}
		if run.Session != session.Key {
			s.tb.Errorf("the run %s is in the session %s and says %s", run.ID, session.Key, run.Session)
		}
		for _, o := range run.Open {
			if o.Until.After(s.now) {
				open[o.Action]++
			}
		}
		for _, thread := range run.Threads {
			if thread.Wait == nil {
				s.tb.Errorf("the run %s has a thread that neither waits nor ended", run.ID)
			}
		}
	}
	for action, n := range open {
		if n > maxOpen && action != CallAction {
			s.tb.Errorf("%d commands %s are under way", n, action)
		}
	}
}

// trigger feeds a trigger of ada's.
func (s *sim) trigger(kind string, data event.Trigger) event.Envelope {
	s.tb.Helper()
	s.number++
	return s.triggerID(fmt.Sprintf("t-%d", s.number), kind, data)
}

func (s *sim) triggerID(id, kind string, data event.Trigger) event.Envelope {
	s.tb.Helper()
	if data.Site == "" {
		data.Site = "shop"
	}
	if data.Visitor.Key() == "" {
		data.Visitor = ada
	}
	if data.OccurredAt.IsZero() {
		data.OccurredAt = s.now
	}
	raw, err := json.Marshal(data)
	if err != nil {
		s.tb.Fatal(err)
	}
	e := event.Envelope{ID: id, Source: "/ingest/cli", Type: event.TriggerType(kind), Time: s.now, Data: raw}
	in, ok := ReadInput(event.TriggerSubject("cli", kind, data.Site, event.SessionKey(data.Site, data.Visitor)), e, s.now)
	if !ok {
		s.tb.Fatal("the trigger's subject is none of the log")
	}
	s.feed(in)
	return e
}

// track feeds a track call of ada's.
func (s *sim) track(name string) {
	s.tb.Helper()
	s.trigger(event.KindTrack, event.Trigger{Event: name})
}

// fact feeds a fact of the visitor's session.
func (s *sim) fact(name string, visitor event.Visitor, at time.Time) {
	s.tb.Helper()
	s.number++
	session := event.SessionKey("shop", visitor)
	raw, err := json.Marshal(event.WidgetOpened{Occurrence: event.Occurrence{
		Site: "shop", Session: session, Provider: "botstar", At: at, Cause: event.CauseVisitor, Page: "https://shop.example.test/",
	}})
	if err != nil {
		s.tb.Fatal(err)
	}
	e := event.Envelope{
		ID: fmt.Sprintf("f-%d", s.number), Source: "/workers/w1", Type: event.FactType("botstar", name), Subject: session, Time: at, Data: raw,
	}
	in, ok := ReadInput(event.FactSubject("botstar", name, "shop", session), e, s.now)
	if !ok {
		s.tb.Fatal("the fact's subject is none of the log")
	}
	s.feed(in)
}

// answer feeds the result of the last command that has none.
func (s *sim) answer(command event.Envelope, status event.Status, output string) {
	s.tb.Helper()
	action, _ := event.ActionOfType(command.Type)
	s.answerID(command.ID, action, command.Subject, status, output)
}

func (s *sim) answerID(id, action, session string, status event.Status, output string) {
	s.tb.Helper()
	result := event.Result{
		CommandID: id, Action: action, Site: "shop", Session: session, Status: status, Verified: status == event.Succeeded,
		Output: json.RawMessage(output),
	}
	if output == "" {
		result.Output = nil
	}
	if status == event.Failed {
		result.Problem = &event.Problem{Reason: "widget_failed"}
	}
	raw, err := json.Marshal(result)
	if err != nil {
		s.tb.Fatal(err)
	}
	in, ok := ReadInput(event.ResultSubject(action, "shop", session), event.Envelope{
		ID: "r-" + id, Source: "/workers/w1", Type: event.ResultType(action), Subject: session, Data: raw,
	}, s.now)
	if !ok {
		s.tb.Fatal("the result's subject is none of the log")
	}
	s.feed(in)
}

// pass lets time pass: timers that become due fire, in their order.
func (s *sim) pass(d time.Duration) {
	s.tb.Helper()
	end := s.now.Add(d)
	for {
		var next Timer
		for _, timer := range s.timers {
			if !timer.Due.After(end) && (next.Due.IsZero() || timer.Due.Before(next.Due)) {
				next = timer
			}
		}
		if next.Due.IsZero() {
			s.now = end
			return
		}
		if next.Due.After(s.now) {
			s.now = next.Due
		}
		s.fire(next)
	}
}

// fire feeds the firing of the timer.
func (s *sim) fire(timer Timer) {
	s.tb.Helper()
	delete(s.timers, timer.Subject())
	in, ok := ReadInput(timer.Target(), event.Envelope{}, s.now)
	if !ok {
		s.tb.Fatal("the timer's subject is none of the log")
	}
	s.feed(in)
}

// session returns the visitor's session.
func (s *sim) session(v event.Visitor) *Session {
	known, err := s.world().Session("shop", event.SessionKey("shop", v))
	if err != nil {
		s.tb.Fatal(err)
	}
	return known
}

// commands returns the actions of the commands that were issued.
func (s *sim) commands() []string {
	var names []string
	for _, m := range s.messages {
		if action, ok := event.ActionOfType(m.Envelope.Type); ok {
			names = append(names, strings.TrimPrefix(action, "botstar.widget."))
		}
	}
	return names
}

// last returns the last command.
func (s *sim) last() event.Envelope {
	s.tb.Helper()
	for _, m := range slices.Backward(s.messages) {
		if _, ok := event.ActionOfType(m.Envelope.Type); ok {
			return m.Envelope
		}
	}
	s.tb.Fatal("no command was issued")
	return event.Envelope{}
}

// outcomes returns the statuses of the runs that ended, in the order of the
// workflows.
func (s *sim) outcomes() []string {
	var all []string
	for _, run := range s.ended {
		all = append(all, run.Workflow+" "+string(run.Status))
	}
	slices.Sort(all)
	return all
}

// clean fails the test when something was refused.
func (s *sim) clean() {
	s.tb.Helper()
	for _, err := range s.refused {
		s.tb.Errorf("refused: %v", err)
	}
}

// replaced returns the rule with the limits in it.
func replaced(rule, limits string) string { return strings.Replace(rule, "LIMITS", limits, 1) }

func contains(text, part string) bool { return strings.Contains(text, part) }
