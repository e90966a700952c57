package crm

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// TestConsentOfUpdates: a visitor who did not agree is told nothing, and is told
// when it agrees; one who was erased never is.
func TestConsentOfUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := twoWay()
		o.Consent = []string{"personalization"}
		w, crm := twoWayWorld(t, o)
		at, no := 0, false
		who, session := person(1)
		agree := func(flag *bool) {
			w.trigger(session, event.KindIdentify, event.Trigger{Visitor: who, Traits: map[string]any{"name": "Ada"}, Consent: &event.Consent{Personalization: flag}})
			w.settle(crm)
		}
		agree(yes())
		agree(&no)
		crm.human(t, session, "name", "Countess")
		w.settle(crm)
		if got := w.updates(&at); len(got) != 0 {
			t.Errorf("updates of a visitor who did not agree: %v", got)
		}
		agree(yes())
		if got := w.updates(&at); len(got) != 1 || got[0].Attributes["name"] != "Countess" {
			t.Errorf("updates after the visitor agreed: %v, want the name Countess", got)
		}
		crm.human(t, session, "notes", "a secret")
		w.trigger(session, event.KindDelete, event.Trigger{Visitor: who})
		w.settle(crm)
		if got := w.updates(&at); len(got) != 0 {
			t.Errorf("updates of a visitor who was erased: %v", got)
		}
		if left := string(w.store.visitors[place{"shop", session}]); strings.Contains(left, "Countess") || strings.Contains(left, "secret") {
			t.Errorf("what is stored of a visitor who was erased: %s", left)
		}
		w.end()
	})
}

// TestRefusedUpdate: what the widget cannot take is a dead letter. When somebody
// has mended it in the CRM, or replays it, it is brought.
func TestRefusedUpdate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, crm := twoWayWorld(t, twoWay())
		at := 0
		_, session := person(1)
		w.knows(1, map[string]any{"name": "Ada"})
		w.settle(crm)
		dead := func() []DeadLetter {
			w.pass(time.Second)
			found, err := w.store.load(t.Context(), []place{{"shop", session}})
			if err != nil {
				t.Fatal(err)
			}
			return found[place{"shop", session}].rejected()
		}
		crm.human(t, session, "name", "unspeakable")
		w.settle(crm)
		if all := dead(); len(all) != 1 || all[0].Kind != "update" || all[0].Field != "/name" || len(w.updates(&at)) != 0 {
			t.Errorf("dead letters: %+v, want one update with the field", all)
		}
		w.asks <- asked{Ask{Kind: AskReplay, Site: "shop", Session: session}, w.next()}
		w.settle(crm)
		if all := dead(); len(all) != 1 {
			t.Errorf("dead letters after a replay that mended nothing: %+v, want one", all)
		}
		crm.human(t, session, "name", "Countess")
		w.settle(crm)
		if all, got := dead(), w.updates(&at); len(all) != 0 || len(got) != 1 {
			t.Errorf("dead letters %+v and updates %v, want none and one", all, got)
		}
		w.end()
	})
}

// TestTwoBecomeOneInTheCRM: what a person wrote into the contact of a session is
// told to the visitor that it turned out to be, and not written over by it.
func TestTwoBecomeOneInTheCRM(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, crm := twoWayWorld(t, twoWay())
		at := 0
		anonymous := event.Visitor{AnonymousID: "a-1"}
		who, now := person(1)
		old := event.SessionKey("shop", anonymous)
		w.trigger(old, event.KindPage, event.Trigger{Visitor: anonymous, Traits: map[string]any{"name": "Guest"}})
		w.settle(crm)
		crm.human(t, old, "name", "Ada from the phone")
		w.settle(crm)
		if got := w.updates(&at); len(got) != 1 || got[0].Session != old {
			t.Fatalf("updates %v, want one of the anonymous visitor", got)
		}
		w.trigger(now, event.KindIdentify, event.Trigger{Visitor: who, Previous: &anonymous, Traits: map[string]any{"name": "Guest"}})
		w.settle(crm)
		if got := crm.value(now, "name"); got != "Ada from the phone" {
			t.Errorf("the CRM has the name %v, want what a person wrote", got)
		}
		crm.mu.Lock()
		crm.contacts[old] = map[string]any{"name": "Countess"} // A CRM that still calls it by the old key.
		crm.mu.Unlock()
		crm.note(old)
		w.settle(crm)
		if got := w.updates(&at); len(got) != 1 || got[0].Session != now {
			t.Errorf("updates %v, want one of the visitor that it turned out to be", got)
		}
		w.end()
	})
}

// TestDeafCRM: when changes cannot be read the target goes on, and tells them when
// they can be read again.
func TestDeafCRM(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, crm := twoWayWorld(t, twoWay())
		at := 0
		_, session := person(1)
		w.knows(1, map[string]any{"name": "Ada"})
		w.settle(crm)
		for _, why := range []fault.Reason{fault.VendorUnavailable, fault.Malformed, fault.RateLimited} {
			crm.moment.Lock()
			crm.failed = fault.New(why, "not now")
			crm.moment.Unlock()
			crm.human(t, session, "notes", string(why))
			w.pass(10 * time.Minute)
			crm.moment.Lock()
			crm.failed = nil
			crm.moment.Unlock()
			w.settle(crm)
			if got := w.updates(&at); len(got) != 1 || got[0].Attributes["memo"] != string(why) {
				t.Errorf("after %s: updates %v, want one", why, got)
			}
		}
		w.end()
	})
}

// TestFreshContacts: a person changes contacts in the moment in which they are
// made, while nobody knows that, and nothing is stored of their visitors. All are
// told.
func TestFreshContacts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := twoWay()
		o.Return.Every, o.Window = time.Millisecond, 5*time.Millisecond
		w, crm := twoWayWorld(t, o)
		at := 0
		const people = 40
		for n := range people {
			_, session := person(n)
			crm.set(faults{unanswered: 1})
			w.knows(n, map[string]any{"name": "Ada"})
			for crm.value(session, "name") == nil {
				w.pass(time.Millisecond)
			}
			crm.human(t, session, "notes", "Countess")
			w.pass(10 * time.Millisecond)
			crm.set(faults{})
			w.settle(crm)
		}
		w.settle(crm)
		if got := w.updates(&at); len(got) != people {
			t.Errorf("%d updates, want %d", len(got), people)
		}
		w.end()
	})
}
