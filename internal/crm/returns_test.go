package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// living is a ledger in which people work, too. It tells what changed, and cannot
// say who did it: what Parley wrote is told like everything else.
type living struct {
	*ledger
	moment sync.Mutex // guards the fields below
	change int
	at     map[string]int // when a contact changed last
	asked  int
	failed error
	fields []string
	page   int
}

func newLiving(seed uint64, l Limits) *living {
	return &living{ledger: newLedger(seed, l), at: map[string]int{}, page: 7}
}

// note notes that the contact changed.
func (l *living) note(key string) {
	l.moment.Lock()
	defer l.moment.Unlock()
	l.change++
	l.at[key] = l.change
}

// UpsertContacts notes what changed, also when the answer is lost.
func (l *living) UpsertContacts(ctx context.Context, contacts []Contact) ([]Outcome, error) {
	before := map[string]string{}
	for _, c := range contacts {
		before[c.Key] = l.state(c.Key)
	}
	out, err := l.ledger.UpsertContacts(ctx, contacts)
	for _, c := range contacts {
		if l.state(c.Key) != before[c.Key] {
			l.note(c.Key)
		}
	}
	return out, err
}

func (l *living) state(key string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.contacts[key], l.seqs[key])
}

// human writes a field, as a person in the CRM does.
func (l *living) human(t testing.TB, key, field string, value any) {
	t.Helper()
	l.mu.Lock()
	is := l.contacts[key]
	if is == nil {
		l.mu.Unlock()
		t.Fatalf("the CRM has no contact %s", key)
	}
	is[field] = value
	l.mu.Unlock()
	l.note(key)
}

// value returns a field of a contact.
func (l *living) value(key, field string) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.contacts[key][field]
}

// Changes tells contacts that changed behind the cursor, a few at a time.
func (l *living) Changes(_ context.Context, cursor string, fields []string) ([]Change, string, error) {
	l.moment.Lock()
	defer l.moment.Unlock()
	l.asked, l.fields = l.asked+1, fields
	switch {
	case l.failed != nil:
		return nil, cursor, l.failed
	case cursor == "":
		return nil, strconv.Itoa(l.change), nil
	}
	from, err := strconv.Atoi(cursor)
	if err != nil {
		return nil, cursor, fault.New(fault.Malformed, "the cursor %q", cursor)
	}
	var keys []string
	for key, at := range l.at {
		if at > from {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return l.at[a] - l.at[b] })
	var all []Change
	for _, key := range keys[:min(len(keys), l.page)] {
		all, cursor = append(all, l.told(key, fields)), strconv.Itoa(l.at[key])
	}
	return all, cursor, nil
}

func (l *living) told(key string, fields []string) Change {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Change{Ref: Ref{Key: key, ID: "id-" + key}, At: time.Now(), Seq: l.seqs[key]}
	for _, name := range fields {
		if value := l.contacts[key][name]; value != nil {
			c.Fields = append(c.Fields, Field{Name: name, Value: value})
		}
	}
	return c
}

// command is what the command of the tests is.
func command(_ string, attributes map[string]any) (Update, error) {
	if attributes["name"] == "unspeakable" {
		return Update{}, fault.New(fault.SchemaViolation, "the widget does not take it").At("/name")
	}
	params, err := json.Marshal(attributes)
	return Update{event.ClassWrite, "botstar.widget.update", params}, err
}

// twoWay are the options of a target whose changes come back.
func twoWay() Options {
	return Options{
		Window: 200 * time.Millisecond, Anonymous: true,
		Mapping: Mapping{
			Contact: map[string]FieldMapping{
				"email": {Value: "${visitor.email}"}, "name": {Value: "${traits.name}"}, "age": {Value: "${traits.age}"},
				"last_chat_at": {Value: "${record.opened_at}"},
			},
			Back: map[string]string{"name": "${contact.name}", "age": "${contact.age}", "memo": "${contact.notes}"},
		},
		Return: Return{Every: 5 * time.Second, Command: command},
	}
}

// twoWayWorld is a world whose visitors have real sessions.
func twoWayWorld(t *testing.T, o Options) (*world, *living) {
	t.Helper()
	l := newLiving(1, Limits{Contacts: 10, Activities: 10, Parallel: 2})
	return newWorldOf(t, l.ledger, l, o), l
}

// person is the n-th person of the tests, and its session.
func person(n int) (event.Visitor, string) {
	who := event.Visitor{UserID: fmt.Sprintf("u-%d", n), Email: fmt.Sprintf("u%d@example.test", n)}
	return who, event.SessionKey("shop", who)
}

// knows tells the target of the person.
func (w *world) knows(n int, traits map[string]any) {
	who, session := person(n)
	w.trigger(session, event.KindIdentify, event.Trigger{Visitor: who, Traits: traits})
}

// update is a command that came back, as it is on the bus.
type update struct {
	ID, Session string
	Attributes  map[string]any
}

// updates returns the commands since the last call.
func (w *world) updates(from *int) []update {
	w.t.Helper()
	var all []update
	for _, msg := range w.store.updates[*from:] {
		var c event.Command
		u := update{ID: msg.Envelope.ID, Session: msg.Envelope.Subject}
		if err := json.Unmarshal(msg.Envelope.Data, &c); err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(c.Params, &u.Attributes); err != nil {
			w.t.Fatal(err)
		}
		if msg.Envelope.Source != "/crm/local" || event.SessionKey(c.Site, c.Visitor) != u.Session || msg.Envelope.Check() != nil {
			w.t.Errorf("the command %+v of %+v is not one that a worker takes", msg.Envelope, c.Visitor)
		}
		all = append(all, u)
	}
	*from = len(w.store.updates)
	return all
}

// widget does the updates, as a worker and the vendor of the widget do: there is a
// command, a result and a fact, and the vendor's webhook tells the attributes.
func (w *world) widget(all []update) {
	for _, u := range all {
		who := event.Visitor{}
		for n := range 200 {
			if id, session := person(n); session == u.Session {
				who = id
			}
		}
		in := func(kind string) Input {
			return Input{Site: "shop", Session: u.Session, Sequence: w.next(), StoredAt: time.Now(), kind: kind, provider: "botstar"}
		}
		c := in("command")
		c.Flow, c.command = true, &event.Command{Site: "shop", Visitor: who}
		w.flow <- c
		r := in("botstar.widget.update")
		r.result = &event.Result{Action: "botstar.widget.update", CommandID: u.ID, CommandSource: "/crm/local", Status: event.Succeeded, StartedAt: time.Now()}
		w.events <- r
		f := in(event.FactUserUpdated)
		f.fact = &fact{Occurrence: event.Occurrence{Site: "shop", Session: u.Session, Provider: "botstar", At: time.Now()}, Commands: []string{u.ID}}
		w.events <- f
		w.trigger(u.Session, event.KindAttribute, event.Trigger{Visitor: who, Traits: u.Attributes})
	}
}

// TestWhatComesBack: what a person writes in the CRM becomes an update of the
// visitor, once; what Parley wrote does not, and the update does not go out again.
func TestWhatComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, crm := twoWayWorld(t, twoWay())
		at := 0
		_, session := person(1)
		w.knows(1, map[string]any{"name": "Ada", "age": 36.0})
		w.pass(time.Minute)
		if got := w.updates(&at); len(got) != 0 {
			t.Errorf("updates after what Parley wrote itself: %v", got)
		}
		if diff := cmp.Diff([]string{"age", "name", "notes"}, crm.fields); diff != "" {
			t.Errorf("fields asked for (-want +got):\n%s", diff)
		}
		steps := []struct {
			field string
			value any
			want  map[string]any
		}{
			{"name", "Ada Lovelace", map[string]any{"name": "Ada Lovelace"}},
			{"notes", "likes engines", map[string]any{"memo": "likes engines"}},
			{"age", 37.0, map[string]any{"age": 37.0}},
			{"email", "other@example.test", nil}, // It is not on the way back.
			{"notes", "", map[string]any{"memo": ""}},
			{"name", "Ada", map[string]any{"name": "Ada"}}, // What we had is news by now.
		}
		for i, step := range steps {
			crm.human(t, session, step.field, step.value)
			w.pass(time.Minute)
			var got map[string]any
			all := w.updates(&at)
			if len(all) > 0 {
				got = all[0].Attributes
			}
			if diff := cmp.Diff(step.want, got); diff != "" || len(all) > 1 {
				t.Errorf("step %d: %d updates (-want +got):\n%s", i, len(all), diff)
			}
			calls := w.crm.calls
			w.widget(all)
			w.pass(time.Minute)
			if more := w.updates(&at); len(more) != 0 || w.crm.calls != calls {
				t.Errorf("step %d: the update came round as %v, and %d calls", i, more, w.crm.calls-calls)
			}
			if value := crm.value(session, step.field); value != step.value {
				t.Errorf("step %d: the CRM has %v, want what the person wrote: %v", i, value, step.value)
			}
		}
		w.knows(1, map[string]any{"name": "Eve"})
		w.pass(time.Minute)
		if got := crm.value(session, "name"); got != "Eve" {
			t.Errorf("the CRM has the name %v, want Eve: the visitor said so last", got)
		}
		if got := w.updates(&at); len(got) != 0 {
			t.Errorf("updates after what the visitor said: %v", got)
		}
		w.end()
	})
}

// TestTheirsHold: as long as the visitor says nothing else, what a person wrote in
// the CRM is not written over: not by other changes, and not by a backfill.
func TestTheirsHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, crm := twoWayWorld(t, twoWay())
		at := 0
		_, session := person(1)
		w.knows(1, map[string]any{"name": "Ada", "age": 36.0})
		w.pass(time.Minute)
		crm.human(t, session, "name", "Countess")
		w.pass(time.Minute)
		if got := w.updates(&at); len(got) != 1 {
			t.Fatalf("%d updates, want 1", len(got))
		}
		w.knows(1, map[string]any{"name": "Ada", "age": 37.0}) // The widget did not take it, and says the old name.
		w.pass(time.Minute)
		w.asks <- asked{Ask{Kind: AskReplay, Site: "shop", Session: session}, w.next()}
		w.pass(time.Minute)
		w.end()
		w.lead()
		w.chat(session)
		w.pass(time.Minute)
		if name, age := crm.value(session, "name"), crm.value(session, "age"); name != "Countess" || age != 37.0 {
			t.Errorf("the CRM has %v and %v, want Countess and 37", name, age)
		}
		if crm.value(session, "last_chat_at") == nil {
			t.Error("the chat did not reach the contact")
		}
		w.knows(1, map[string]any{"name": "Augusta"})
		w.pass(time.Minute)
		w.knows(1, map[string]any{"name": "Ada"})
		w.pass(time.Minute)
		if got := crm.value(session, "name"); got != "Ada" {
			t.Errorf("the CRM has the name %v, want Ada: the visitor changed it twice since", got)
		}
		if got := w.updates(&at); len(got) != 0 {
			t.Errorf("updates after what the visitor said: %v", got)
		}
		w.end()
	})
}

// settle lets time pass until the CRM has everything, and everything that changed in
// it was read.
func (w *world) settle(crm *living) {
	w.t.Helper()
	for range 10_000 {
		w.pass(6 * time.Second)
		crm.moment.Lock()
		read := w.store.at.Cursor == strconv.Itoa(crm.change)
		crm.moment.Unlock()
		if read && w.target.Figures().Waiting == 0 {
			return
		}
	}
	w.t.Fatal("it does not settle")
}

// tale is what happened in TestToAndFro.
type tale struct {
	*world
	crm           *living
	random        *rand.Rand
	at            int
	human, told   map[string]int
	last          map[string]any
	humans, total int
}

// hear does the updates that came back.
func (w *tale) hear() {
	all := w.updates(&w.at)
	for _, u := range all {
		for name, value := range u.Attributes {
			w.told[fmt.Sprintf("%s %s %v", u.Session, name, value)]++
		}
	}
	w.widget(all)
}

// turn has somebody change something of the person: in the CRM, or on the site.
func (w *tale) turn(n int) {
	w.total++
	_, session := person(n)
	if w.random.IntN(2) == 0 {
		value := fmt.Sprintf("v-%d", w.total)
		w.knows(n, map[string]any{"name": value, "age": float64(w.total)})
		w.last[session+" name"], w.last[session+" age"] = value, float64(w.total)
		return
	}
	field, attribute, value := "name", "name", fmt.Sprintf("h-%d", w.total)
	if w.random.IntN(3) == 0 {
		field, attribute = "notes", "memo"
	}
	w.crm.human(w.t, session, field, value)
	w.human[fmt.Sprintf("%s %s %s", session, attribute, value)]++
	w.last[session+" "+field] = value
	w.humans++
}

// TestToAndFro: 1,000 changes by people in the CRM and by visitors, while answers
// are lost, calls fail and leaders change. Each change of a person is told once,
// none that Parley wrote is, everything settles, and both sides have the last word
// of each field.
func TestToAndFro(t *testing.T) {
	t.Parallel()
	const people, rounds, each = 50, 200, 5
	synctest.Test(t, func(t *testing.T) {
		world, crm := twoWayWorld(t, twoWay())
		w := &tale{world: world, crm: crm, random: rand.New(rand.NewPCG(7, 7)), human: map[string]int{}, told: map[string]int{}, last: map[string]any{}}
		for n := range people {
			w.knows(n, map[string]any{"name": fmt.Sprintf("v-start-%d", n), "age": float64(n)})
		}
		w.settle(crm)
		crm.set(faults{unanswered: 0.05, unavailable: 0.1, partial: 0.05})
		for round := range rounds {
			for _, n := range w.random.Perm(people)[:each] {
				w.turn(n)
				w.pass(time.Duration(w.random.IntN(1000)) * time.Millisecond)
			}
			if round%20 == 19 { // In the middle of it all.
				w.end()
				w.lead()
			}
			w.settle(crm)
			w.hear()
			w.settle(crm)
		}
		crm.set(faults{})
		w.settle(crm)
		calls, updates := w.world.crm.calls, len(w.store.updates)
		w.pass(time.Hour)
		f := w.target.Figures()
		t.Logf("%d changes, %d of them by people in the CRM; %d updates; %d contacts told as changed, in %d nothing was others'; %d calls",
			w.total, w.humans, len(w.store.updates), f.Changes, f.Echoes, w.world.crm.calls)
		if w.world.crm.calls != calls || len(w.store.updates) != updates {
			t.Errorf("%d calls and %d updates in an hour in which nobody did anything", w.world.crm.calls-calls, len(w.store.updates)-updates)
		}
		if diff := cmp.Diff(w.human, w.told); diff != "" {
			t.Errorf("what people wrote and what visitors were told (-wrote +told):\n%s", diff)
		}
		for at, want := range w.last {
			session, field, _ := strings.Cut(at, " ")
			if got := crm.value(session, field); got != want {
				t.Errorf("the CRM has %v for %s, want the last word %v", got, at, want)
			}
		}
		w.end()
	})
}
