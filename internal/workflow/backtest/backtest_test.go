package backtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
	"github.com/parley-chat/parley/schemas"
)

// morning is when the histories begin.
var morning = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// options compiles the rules: texts by name. versus may be nil.
func options(tb testing.TB, rules, versus map[string]string) Options {
	tb.Helper()
	catalog, err := actions.NewCatalog(botstar.Provider())
	if err != nil {
		tb.Fatal(err)
	}
	validators, err := event.NewSchemas(schemas.FS)
	if err != nil {
		tb.Fatal(err)
	}
	shop := actions.Site{Name: "shop", Provider: "botstar", Mode: "livechat", URL: "https://shop.example.test/"}
	compiler, err := workflow.NewCompiler(catalog, validators, []actions.Site{shop})
	if err != nil {
		tb.Fatal(err)
	}
	load := func(rules map[string]string) *workflow.Set {
		files := fstest.MapFS{}
		for name, text := range rules {
			files[name+".yaml"] = &fstest.MapFile{Data: []byte(text)}
		}
		set, err := compiler.Load(files, "*.yaml")
		if err != nil {
			tb.Fatal(err)
		}
		return set
	}
	o := Options{
		Rules: load(rules), Schemas: validators,
		Sites: func(name string) (actions.Site, bool) { return shop, name == "shop" },
	}
	if versus != nil {
		o.Versus = load(versus)
	}
	return o
}

// history makes events.
type history struct {
	tb  testing.TB
	all []Event
}

func (h *history) add(subject string, e event.Envelope, at time.Time) {
	h.all = append(h.all, Event{subject, e, at, wordOf(subject), uint64(len(h.all) + 1)})
}

func (h *history) trigger(kind string, data event.Trigger, at time.Time) {
	h.tb.Helper()
	data.Site, data.OccurredAt = "shop", at
	raw, err := json.Marshal(data)
	if err != nil {
		h.tb.Fatal(err)
	}
	session := event.SessionKey("shop", data.Visitor)
	h.add(event.TriggerSubject("web", kind, "shop", session), event.Envelope{
		ID: fmt.Sprintf("t-%d", len(h.all)), Source: "/ingest/web", Type: event.TriggerType(kind), Subject: session, Time: at, Data: raw,
	}, at)
}

func (h *history) closed(visitor event.Visitor, cause event.Cause, at time.Time) {
	h.tb.Helper()
	session := event.SessionKey("shop", visitor)
	raw, err := json.Marshal(event.WidgetClosed{Occurrence: event.Occurrence{
		Site: "shop", Session: session, Provider: "botstar", At: at, Cause: cause,
	}})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.add(event.FactSubject("botstar", event.FactWidgetClosed, "shop", session), event.Envelope{
		ID: fmt.Sprintf("f-%d", len(h.all)), Source: "/parley/session", Type: event.FactType("botstar", event.FactWidgetClosed),
		Subject: session, Time: at, Data: raw,
	}, at)
}

func (h *history) seq() iter.Seq2[Event, error] { return seqOf(h.all) }

func seqOf(events []Event) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func person(n int) event.Visitor { return event.Visitor{UserID: fmt.Sprintf("u-%d", n)} }

func run(tb testing.TB, o Options, h *history) Report {
	tb.Helper()
	test := New(o)
	if err := test.Run(tb.Context(), h.seq()); err != nil {
		tb.Fatal(err)
	}
	return test.Report()
}

const (
	helpPro = `
on: {trigger: track, event: Pricing Viewed}
if: trigger.properties.plan == "pro"
requires: [consent]
limits: {once_per: 24h}
steps:
  - action: botstar.widget.open
    await: true
  - action: botstar.widget.close
`
	helpAll = `
on: {trigger: track, event: Pricing Viewed}
requires: [consent]
limits: {once_per: 24h}
steps:
  - action: botstar.widget.open
`
	comeBack = `
on: {event: widget.closed}
steps:
  - after: 2h
  - action: botstar.widget.open
  - http: {url: "https://crm.example.test/hook"}
`
	countPrices = `
on: {trigger: track, event: Pricing Viewed}
steps:
  - emit: {event: Counted}
`
)

// prices is a history in which so many visitors look at prices, each three times
// in one hour. Every second one looks at "pro", and every tenth has not agreed.
func prices(tb testing.TB, people int) *history {
	tb.Helper()
	h := &history{tb: tb}
	no := false
	for round := range 3 {
		for n := range people {
			data := event.Trigger{Visitor: person(n), Event: "Pricing Viewed", Properties: map[string]any{"plan": []string{"pro", "free"}[n%2]}}
			if n%10 == 0 {
				data.Consent = &event.Consent{Functionality: &no}
			}
			h.trigger(event.KindTrack, data, morning.Add(time.Duration(round)*20*time.Minute+time.Duration(n)*time.Second))
		}
	}
	return h
}

func TestWhatWouldHaveHappened(t *testing.T) {
	t.Parallel()
	report := run(t, options(t, map[string]string{"help": helpPro, "count": countPrices}, nil), prices(t, 100))
	want := []Workflow{
		{
			Name: "count", Fired: 300, Visitors: 100, Emitted: 300, Skipped: map[string]int64{},
			Ended: map[machine.Status]int64{machine.Succeeded: 300}, Commands: map[string]int64{}, Failures: map[string]int64{},
		},
		{
			// 50 look at pro. 10 of them never agreed, three times each; 40 fire once,
			// and are kept from it twice.
			Name: "help", Fired: 40, Visitors: 50, ConsentMissing: 30, Skipped: map[string]int64{"once_per": 80},
			Ended:    map[machine.Status]int64{machine.Succeeded: 40, machine.ConsentMissing: 30},
			Commands: map[string]int64{"botstar.widget.open": 40, "botstar.widget.close": 40}, Failures: map[string]int64{},
		},
	}
	if diff := cmp.Diff(want, report.Tested.Workflows); diff != "" {
		t.Error(diff)
	}
	if n := report.Tested.Overlaps["count and help"]; n != 70 {
		t.Errorf("the workflows overlap %d times, want 70", n)
	}
	if report.Events != 300 || len(report.Tested.Refused) != 0 || report.Tested.Waiting != 0 {
		t.Errorf("the report is %+v", report)
	}
}

func TestTwoVersions(t *testing.T) {
	t.Parallel()
	report := run(t, options(t, map[string]string{"help": helpAll}, map[string]string{"help": helpPro}), prices(t, 100))
	d := report.Differences
	// Of pro: 40 starts and 30 without consent, in both. Of free nobody is without
	// consent: 50 starts, in the new version only.
	if d.Both != 70 || d.OnlyTested != 50 || d.OnlyVersus != 0 || len(d.Examples) != 20 {
		t.Errorf("the differences are %d, %d, %d with %d examples", d.Both, d.OnlyTested, d.OnlyVersus, len(d.Examples))
	}
	first := d.Examples[0]
	if first.Workflow != "help" || first.Only != "tested" || first.Event != "t-1" || first.Session != event.SessionKey("shop", person(1)) {
		t.Errorf("the first example is %+v", first)
	}
}

func TestTimersOfThePast(t *testing.T) {
	t.Parallel()
	h := &history{tb: t}
	for n := range 4 { // A fact does not tell who it was.
		h.trigger(event.KindIdentify, event.Trigger{Visitor: person(n), Event: "Identify"}, morning)
	}
	h.closed(person(1), event.CauseVisitor, morning)
	h.closed(person(2), event.CauseAPI, morning.Add(time.Minute)) // A command did that.
	h.closed(person(3), event.CauseVisitor, morning.Add(3*time.Hour))
	o := options(t, map[string]string{"back": comeBack}, nil)
	report := run(t, o, h)
	back := report.Tested.Workflows[0]
	if back.Fired != 2 || back.Commands["botstar.widget.open"] != 1 || back.Calls != 1 || report.Tested.Waiting != 1 || report.Passed != 1 {
		t.Errorf("until the last event: %+v, %d waiting, %d passed", back, report.Tested.Waiting, report.Passed)
	}
	o.Until = morning.Add(6 * time.Hour)
	report = run(t, o, h)
	if back = report.Tested.Workflows[0]; back.Commands["botstar.widget.open"] != 2 || report.Tested.Waiting != 0 {
		t.Errorf("three hours later: %+v, %d waiting", back, report.Tested.Waiting)
	}
}

// TestStoppedAndResumed stops at every place of a history: the report is the
// same.
func TestStoppedAndResumed(t *testing.T) {
	t.Parallel()
	rules, versus := map[string]string{"help": helpAll, "back": comeBack}, map[string]string{"help": helpPro, "back": comeBack}
	o := options(t, rules, versus)
	h := prices(t, 20)
	for n := range 5 {
		h.closed(person(n), event.CauseVisitor, morning.Add(2*time.Hour+time.Duration(n)*30*time.Minute))
	}
	want := run(t, o, h)
	for stop := 1; stop < len(h.all); stop += 7 {
		first := New(o)
		if err := first.Run(t.Context(), seqOf(h.all[:stop])); err != nil {
			t.Fatal(err)
		}
		var saved bytes.Buffer
		if err := first.Save(&saved); err != nil {
			t.Fatal(err)
		}
		second, err := Resume(&saved, o)
		if err != nil {
			t.Fatal(err)
		}
		if at := second.Place("in"); at.Sequence != min(uint64(stop), 60) || at.Events != min(int64(stop), 60) {
			t.Errorf("after %d events the test goes on behind %+v", stop, at)
		}
		if err := second.Run(t.Context(), seqOf(h.all[stop:])); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, second.Report()); diff != "" {
			t.Fatalf("stopped after %d events: %s", stop, diff)
		}
	}
}

func TestAnotherVersionDoesNotGoOn(t *testing.T) {
	t.Parallel()
	first := New(options(t, map[string]string{"help": helpAll}, nil))
	var saved bytes.Buffer
	if err := first.Save(&saved); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"other rules":  options(t, map[string]string{"help": helpPro}, nil),
		"two versions": options(t, map[string]string{"help": helpAll}, map[string]string{"help": helpPro}),
	} {
		if _, err := Resume(bytes.NewReader(saved.Bytes()), o); fault.From(err) == nil || fault.From(err).Reason != fault.BadRule {
			t.Errorf("%s: %v, want bad_rule", name, err)
		}
	}
	if _, err := Resume(bytes.NewReader([]byte("{")), options(t, map[string]string{"help": helpAll}, nil)); err == nil {
		t.Error("a broken file was taken")
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	o := options(t, map[string]string{"help": helpAll}, nil)
	enough := errors.New("enough")
	o.Tell = func(p Progress) {
		if p.Events != tellEvery {
			t.Errorf("told after %d events", p.Events)
		}
		cancel(enough)
	}
	test := New(o)
	if err := test.Run(ctx, prices(t, 1000).seq()); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if at := test.Place("in"); at.Events != tellEvery {
		t.Errorf("it read until %+v", at)
	}
}

func TestABrokenHistory(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	test := New(options(t, map[string]string{"help": helpAll}, nil))
	err := test.Run(t.Context(), func(yield func(Event, error) bool) { yield(Event{}, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestWhatCannotBeHandledIsCounted(t *testing.T) {
	t.Parallel()
	h := &history{tb: t}
	h.add("in.web.track.shop."+event.SessionKey("shop", person(1)), event.Envelope{
		ID: "bad", Source: "/ingest/web", Type: event.TriggerType(event.KindTrack), Data: []byte(`{"site":1}`),
	}, morning)
	h.trigger(event.KindTrack, event.Trigger{Visitor: person(1), Event: "Pricing Viewed"}, morning)
	report := run(t, options(t, map[string]string{"help": helpAll}, nil), h)
	if len(report.Tested.Refused) != 1 || report.Tested.Workflows[0].Fired != 1 {
		t.Errorf("the report is %+v", report.Tested)
	}
}

// TestMemoryIsFlat has a new visitor every four minutes for 166 days: a session is
// remembered for thirty days, and so no more than twice the visitors of thirty
// days are.
func TestMemoryIsFlat(t *testing.T) {
	t.Parallel()
	const people, thirtyDays = 60_000, 30 * 24 * 15
	test := New(options(t, map[string]string{"help": helpAll}, nil))
	most := 0
	h := &history{tb: t}
	for n := range people {
		h.all = h.all[:0]
		h.trigger(event.KindTrack, event.Trigger{Visitor: person(n), Event: "Pricing Viewed"}, morning.Add(time.Duration(n)*4*time.Minute))
		if err := test.Run(t.Context(), h.seq()); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(test.tested.sessions))
	}
	if most > 2*thirtyDays+1 {
		t.Errorf("%d sessions were remembered at most", most)
	}
	if got := test.Report().Tested.Workflows[0]; got.Fired != people || got.Visitors < people*99/100 || got.Visitors > people*101/100 {
		t.Errorf("the report is %+v", got)
	}
}

func TestMergeKeepsTheOrder(t *testing.T) {
	t.Parallel()
	at := func(seconds ...int) []Event {
		var events []Event
		for _, s := range seconds {
			events = append(events, Event{At: morning.Add(time.Duration(s) * time.Second), Sequence: uint64(s)})
		}
		return events
	}
	tests := map[string]struct{ a, b, want []int }{
		"both":   {[]int{1, 4, 5}, []int{2, 3, 6, 7}, []int{1, 2, 3, 4, 5, 6, 7}},
		"only a": {[]int{1, 2}, nil, []int{1, 2}},
		"only b": {nil, []int{1, 2}, []int{1, 2}},
		"none":   {nil, nil, nil},
	}
	for name, test := range tests {
		var got []int
		for e, err := range Merge(seqOf(at(test.a...)), seqOf(at(test.b...))) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, int(e.Sequence))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	for e, err := range Merge(seqOf(at(1, 2)), func(yield func(Event, error) bool) { yield(Event{}, errors.New("gone")) }) {
		if err == nil {
			t.Errorf("got %v, want the error first", e)
		}
		break
	}
}

func TestVisitorsAreCounted(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, exactly, 50_000, 1_000_000} {
		var v visitors
		for i := range n {
			v.add(event.SessionKey("shop", event.Visitor{UserID: strconv.Itoa(i / 2 * 2)}))
		}
		want := float64((n + 1) / 2)
		if got := float64(v.count()); got < want*0.99 || got > want*1.01 {
			t.Errorf("%v visitors were counted as %v", want, got)
		}
	}
}

// BenchmarkEvents is the cost of one event in a test: one of ten starts a run.
func BenchmarkEvents(b *testing.B) {
	h := &history{tb: b}
	for n := range 10_000 {
		name := "Page Viewed"
		if n%10 == 0 {
			name = "Pricing Viewed"
		}
		h.trigger(event.KindTrack, event.Trigger{Visitor: person(n % 5000), Event: name}, morning.Add(time.Duration(n)*time.Second))
	}
	o := options(b, map[string]string{"help": helpAll, "back": comeBack}, nil)
	b.ReportAllocs()
	for b.Loop() {
		run(b, o, h)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(h.all)), "us/event")
}
