package crm

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/event"
)

// trigger gives the target a trigger of the session.
func (w *world) trigger(session, kind string, t event.Trigger) {
	t.Site, t.OccurredAt = "shop", time.Now()
	w.flow <- Input{Site: "shop", Session: session, Flow: true, Sequence: w.next(), StoredAt: time.Now(), kind: kind, trigger: &t}
}

// chat has the session chat for a second.
func (w *world) chat(session string) {
	for _, name := range []string{event.FactWidgetOpened, event.FactWidgetClosed} {
		o := event.Occurrence{Site: "shop", Session: session, Provider: "botstar", At: time.Now(), Cause: event.CauseVisitor}
		w.events <- Input{Site: "shop", Session: session, Sequence: w.next(), StoredAt: time.Now(), kind: name, provider: "botstar", fact: &fact{Occurrence: o}}
		w.pass(time.Second)
	}
}

// smallWorld returns a world in the bubble of the test.
func smallWorld(t *testing.T, o Options) *world {
	t.Helper()
	return newWorld(t, newLedger(1, Limits{Contacts: 10, Activities: 10, Parallel: 2}), o)
}

// TestAnonymousVisitors are brought when they become known, with their chats
// until then; or at once, when the target wants them.
func TestAnonymousVisitors(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := smallWorld(t, Options{Anonymous: wanted})
			w.trigger("s1", event.KindPage, event.Trigger{Visitor: event.Visitor{AnonymousID: "a-1"}})
			w.chat("s1")
			w.pass(31 * time.Minute)
			w.chat("s1")
			w.pass(time.Minute)
			before := 0
			if wanted {
				before = 2
			}
			w.want(before/2, before)
			w.trigger("s1", event.KindIdentify, event.Trigger{Visitor: event.Visitor{UserID: "u-1"}})
			w.pass(time.Minute)
			w.want(1, 2)
			w.end()
		})
	}
}

// TestTwoBecomeOne has an anonymous visitor turn out to be a known one: the CRM
// has one contact with the chats of both, also those that come later.
func TestTwoBecomeOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := smallWorld(t, Options{Anonymous: true, Window: 100 * time.Millisecond})
		anonymous, known := event.Visitor{AnonymousID: "a-1"}, event.Visitor{UserID: "u-1"}
		old, now := event.SessionKey("shop", anonymous), event.SessionKey("shop", known)
		w.trigger(old, event.KindPage, event.Trigger{Visitor: anonymous})
		w.chat(old)
		w.trigger(now, event.KindIdentify, event.Trigger{Visitor: known, Previous: &anonymous})
		w.pass(time.Minute)
		w.chat(old) // Its tab is still there.
		w.pass(31 * time.Minute)
		w.chat(now)
		w.pass(time.Minute)
		w.want(1, 2)
		for key, a := range w.crm.activities {
			if a.Contact.Key != now {
				t.Errorf("the chat %s belongs to %s, want %s", key, a.Contact.Key, now)
			}
		}
		w.end()
	})
}

// TestConsentAndErasure brings nobody who did not agree, and erases who asks for
// it: nothing of the person is left in the CRM, or in what is stored.
func TestConsentAndErasure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := smallWorld(t, Options{Consent: []string{"personalization"}})
		who := event.Visitor{UserID: "u-1", Email: "u1@example.test"}
		no := false
		w.trigger("s1", event.KindIdentify, event.Trigger{Visitor: who, Consent: &event.Consent{Personalization: &no}})
		w.chat("s1")
		w.pass(time.Minute)
		w.want(0, 0)
		w.trigger("s1", event.KindIdentify, event.Trigger{Visitor: who, Consent: &event.Consent{Personalization: yes()}})
		w.pass(time.Minute)
		w.want(1, 1)
		w.trigger("s1", event.KindDelete, event.Trigger{Visitor: who})
		w.pass(time.Minute)
		w.want(0, 0)
		if !slices.Equal(w.crm.forgotten, []string{"s1"}) {
			t.Errorf("forgotten are %v, want s1 once", w.crm.forgotten)
		}
		found, err := w.store.load(t.Context(), []place{{"shop", "s1"}})
		if err != nil {
			t.Fatal(err)
		}
		if v := found[place{"shop", "s1"}]; v.Identity != (event.Visitor{}) || v.Traits != nil || v.Sent != nil {
			t.Errorf("what is stored of the person: %+v", v)
		}
		w.chat("s1")
		w.pass(time.Minute)
		w.want(0, 0)
		w.end()
	})
}

// TestOnlyWhatChanged sends each field once, and again when it changes.
func TestOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := smallWorld(t, Options{})
		for _, name := range []string{"Ada", "Ada", "Eve"} {
			w.identify(1, map[string]any{"name": name})
			w.pass(time.Second)
		}
		w.want(1, 0)
		if diff := cmp.Diff([]int{1, 1}, w.crm.batches); diff != "" {
			t.Errorf("items of the calls (-want +got):\n%s", diff)
		}
		if got := w.target.Figures().Saved; got != 0 {
			t.Errorf("%d writes were saved, want 0: a fold that changes nothing leads to none", got)
		}
		w.end()
	})
}

// TestCoalescing counts the calls for 1,000 events of 100 visitors: at most a
// twentieth of one call for each event, and nothing is lost.
func TestCoalescing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newLedger(1, Limits{Contacts: 100, Activities: 100, Parallel: 4}), Options{Window: 2 * time.Second})
		for range 5 {
			for n := range 100 {
				w.identify(n, nil)
				w.happen(n, event.FactWidgetOpened)
				w.pass(10 * time.Millisecond)
				w.happen(n, event.FactWidgetClosed)
			}
		}
		w.pass(time.Minute)
		w.want(100, 100)
		if events := 5 * 100 * 2; w.crm.calls > events/20 {
			t.Errorf("%d calls for %d events, want at most %d", w.crm.calls, events, events/20)
		}
		w.end()
	})
}
