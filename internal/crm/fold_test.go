package crm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// noon is when the traces of the tests begin.
func noon() time.Time { return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) }

// factAt is a fact of a trace, so many seconds after noon.
func factAt(sequence uint64, seconds int, name string, more fact) Input {
	more.Occurrence = event.Occurrence{
		Site: "shop", Session: "s1", Provider: "botstar", At: noon().Add(time.Duration(seconds) * time.Second), Cause: event.CauseVisitor,
		Page: fmt.Sprintf("https://shop.test/%d", seconds/60),
	}
	return Input{Site: "shop", Session: "s1", Sequence: sequence, StoredAt: more.At, kind: name, provider: "botstar", fact: &more}
}

func triggerAt(sequence uint64, seconds int, kind string, t event.Trigger) Input {
	t.Site, t.OccurredAt = "shop", noon().Add(time.Duration(seconds)*time.Second)
	return Input{Site: "shop", Session: "s1", Flow: true, Sequence: sequence, StoredAt: t.OccurredAt, kind: kind, trigger: &t}
}

func yes() *bool { v := true; return &v }

// trace is one chat: two streams, each in its own order.
func trace() (events, flow []Input) {
	result := func(sequence uint64, seconds int, action string) Input {
		return Input{Site: "shop", Session: "s1", Sequence: sequence, StoredAt: noon(), kind: action, provider: "botstar", result: &event.Result{
			Action: action, Status: event.Succeeded, CommandSource: "/workflows/pricing", StartedAt: noon().Add(time.Duration(seconds) * time.Second),
		}}
	}
	events = []Input{
		factAt(1, 0, event.FactWidgetBooted, fact{}),
		result(2, 1, "botstar.widget.open"),
		factAt(3, 2, event.FactWidgetOpened, fact{}),
		factAt(4, 5, event.FactUserUpdated, fact{Attributes: []string{"plan", "email"}}),
		factAt(5, 62, event.FactWidgetClosed, fact{}),
		factAt(6, 80, event.FactWidgetOpened, fact{}),
		factAt(7, 90, event.FactWebviewResponded, fact{URL: "https://shop.test/form", Response: "yes", Outputs: map[string]any{"size": "M"}}),
		factAt(8, 100, event.FactSessionEnded, fact{Why: "idle"}),
	}
	flow = []Input{
		triggerAt(1, 1, event.KindIdentify, event.Trigger{Visitor: event.Visitor{AnonymousID: "a-1"}, Traits: map[string]any{"plan": "free"}}),
		triggerAt(2, 4, event.KindIdentify, event.Trigger{
			Visitor: event.Visitor{UserID: "u-1", Email: "ADA@example.test "}, Traits: map[string]any{"plan": "pro"}, Group: "Analytical Engines",
			Consent: &event.Consent{Personalization: yes()},
		}),
		triggerAt(3, 50, event.KindTakeover, event.Trigger{Visitor: event.Visitor{UserID: "u-1"}, Properties: map[string]any{"reason": "price"}}),
	}
	return events, flow
}

// TestFoldInAnyOrder folds the two streams of a trace in a thousand orders
// between them, with repetitions: the record is the same each time.
func TestFoldInAnyOrder(t *testing.T) {
	t.Parallel()
	events, flow := trace()
	var want string
	for seed := range uint64(1000) {
		random := rand.New(rand.NewPCG(seed, 1))
		v := &Visitor{Site: "shop", Session: "s1"}
		var before []Input
		for i, j := 0, 0; i < len(events) || j < len(flow); {
			var in Input
			if j == len(flow) || i < len(events) && random.IntN(2) == 0 {
				in, i = events[i], i+1
			} else {
				in, j = flow[j], j+1
			}
			v.Fold(in)
			before = append(before, in)
			if random.IntN(3) == 0 && v.Fold(before[random.IntN(len(before))]) {
				t.Fatal("an input that was folded before changed something")
			}
			if random.IntN(4) == 0 { // Through the store and back.
				v = again(t, v)
			}
		}
		got, err := json.MarshalIndent(struct {
			*Visitor
			Chat Record
		}{v, v.record(v.last())}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(got)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Fatalf("seed %d (-first +now):\n%s", seed, diff)
		}
	}
}

func again(t *testing.T, v *Visitor) *Visitor {
	t.Helper()
	data, err := json.Marshal(v)
	out := &Visitor{}
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecord says what the trace's record is.
func TestRecord(t *testing.T) {
	t.Parallel()
	v := &Visitor{Site: "shop", Session: "s1"}
	events, flow := trace()
	for _, in := range append(flow, events...) {
		v.Fold(in)
	}
	at := func(seconds int) time.Time { return noon().Add(time.Duration(seconds) * time.Second) }
	want := Record{
		Key: event.DerivedID("chat", "shop", "s1", "1"), Site: "shop", Session: "s1", Number: 1, Provider: "botstar",
		OpenedAt: at(2), ClosedAt: at(100), OpenedBy: event.CauseVisitor, ClosedBy: event.CauseVisitor, StartedAt: at(0), LastAt: at(100),
		Seconds: 80, Ended: true, Why: "idle", Opens: 2, Pages: []string{"https://shop.test/0", "https://shop.test/1"},
		Attributes: []string{"email", "plan"}, Handoff: &Handoff{At: at(50), Reason: "price"},
		Webviews: []Webview{{At: at(90), URL: "https://shop.test/form", Response: "yes", Outputs: map[string]any{"size": "M"}}},
		Runs:     []string{"pricing"}, Actions: map[string]int{"botstar.widget.open succeeded": 1}, Seq: 11,
	}
	if diff := cmp.Diff(want, v.record(v.last())); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
	if want := (event.Visitor{UserID: "u-1", Email: "ada@example.test", AnonymousID: "a-1"}); v.Identity != want {
		t.Errorf("the identity is %+v, want %+v", v.Identity, want)
	}
}

// TestChats says where one chat ends and the next begins.
func TestChats(t *testing.T) {
	t.Parallel()
	const minute = 60
	open, closed, ended := event.FactWidgetOpened, event.FactWidgetClosed, event.FactSessionEnded
	tests := []struct {
		name  string
		trace []Input
		want  []int // openings of each chat
	}{
		{"one", []Input{factAt(1, 0, open, fact{}), factAt(2, 9, closed, fact{})}, []int{1}},
		{"soon again", []Input{factAt(1, 0, open, fact{}), factAt(2, 9, closed, fact{}), factAt(3, 29*minute, open, fact{})}, []int{2}},
		{"later again", []Input{factAt(1, 0, open, fact{}), factAt(2, 9, closed, fact{}), factAt(3, 31*minute, open, fact{})}, []int{1, 1}},
		{"open for long", []Input{factAt(1, 0, open, fact{}), factAt(2, 90*minute, closed, fact{})}, []int{1}},
		{"ended, and back", []Input{factAt(1, 0, open, fact{}), factAt(2, 9, ended, fact{Why: "crash"}), factAt(3, 60, open, fact{})}, []int{2}},
		{"only booted", []Input{factAt(1, 0, event.FactWidgetBooted, fact{}), factAt(2, 60*minute, open, fact{})}, []int{1}},
		{"hibernated", []Input{factAt(1, 0, open, fact{}), factAt(2, 9, event.FactHibernated, fact{}), factAt(3, 60, closed, fact{})}, []int{1}},
		{"opened twice", []Input{factAt(1, 0, open, fact{}), factAt(2, 1, open, fact{}), factAt(3, 9, closed, fact{})}, []int{1}},
		{"closed only", []Input{factAt(1, 9, closed, fact{})}, []int{0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v := &Visitor{Site: "shop", Session: "s1"}
			for _, in := range test.trace {
				v.Fold(in)
			}
			var got []int
			for _, c := range v.Chats {
				got = append(got, c.Opens)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("openings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestManyMarks has a visitor open and close a chat a thousand times: what is
// kept is bounded, and the sums are right.
func TestManyMarks(t *testing.T) {
	t.Parallel()
	v := &Visitor{Site: "shop", Session: "s1"}
	for n := range uint64(1000) {
		v.Fold(factAt(2*n+1, int(10*n), event.FactWidgetOpened, fact{}))
		v.Fold(factAt(2*n+2, int(10*n+4), event.FactWidgetClosed, fact{}))
	}
	c := v.last()
	if c.Opens != 1000 || c.Seconds != 4000 || len(c.Marks) > maxMarks || !c.OpenedAt.Equal(noon()) || len(c.Pages) > maxPages {
		t.Errorf("opens %d, seconds %g, marks %d, opened %s, pages %d", c.Opens, c.Seconds, len(c.Marks), c.OpenedAt, len(c.Pages))
	}
}

// TestReadInput reads what is on the bus, and nothing else.
func TestReadInput(t *testing.T) {
	t.Parallel()
	encode := func(typ string, data any) (map[string][]string, []byte) {
		e, err := event.New("/workflows/pricing", typ, "s1", data)
		if err != nil {
			t.Fatal(err)
		}
		return event.Encode(e)
	}
	tests := []struct {
		subject, stream, typ string
		data                 any
		ok                   bool
		kind                 string
	}{
		{"evt.botstar.widget.opened.shop.s1", bus.StreamEvents, event.FactType("botstar", event.FactWidgetOpened), event.WidgetOpened{}, true, event.FactWidgetOpened},
		{"res.botstar.widget.open.shop.s1", bus.StreamEvents, event.ResultType("botstar.widget.open"), event.Result{}, true, "botstar.widget.open"},
		{"in.segment.identify.shop.s1", bus.StreamFlow, event.TriggerType(event.KindIdentify), event.Trigger{}, true, event.KindIdentify},
		{"go.w.botstar.widget.open.shop.s1", bus.StreamFlow, event.CommandType("botstar.widget.open"), event.Command{}, true, "command"},
		{"go.http.shop.s1.key", bus.StreamFlow, "", nil, false, ""},
		{"in.segment.identify.shop.s1.past", bus.StreamFlow, event.TriggerType(event.KindIdentify), event.Trigger{}, false, ""},
		{"evt.botstar.widget.opened.shop.-", bus.StreamEvents, event.FactType("botstar", event.FactWidgetOpened), event.WidgetOpened{}, false, ""},
		{"evt.botstar.widget.opened.shop.s1", bus.StreamEvents, event.FactType("botstar", event.FactWidgetOpened), []int{1}, false, ""},
	}
	for _, test := range tests {
		header, body := encode(test.typ, test.data)
		in, ok := ReadInput(&bus.Delivery{Subject: test.subject, Stream: test.stream, Sequence: 7, Header: header, Body: body})
		if ok != test.ok || ok && (in.kind != test.kind || in.Site != "shop" || in.Session != "s1" || in.Sequence != 7 || in.Flow != (test.stream == bus.StreamFlow)) {
			t.Errorf("%s is %t %+v, want %t of kind %q", test.subject, ok, in, test.ok, test.kind)
		}
	}
}
