//go:build browser

package botstar_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

func updateOf(t *testing.T, c actionstest.Command) botstar.UpdateOut {
	t.Helper()
	var out botstar.UpdateOut
	if err := json.Unmarshal(c.Output, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func updatedOf(t *testing.T, c actionstest.Command) event.UserUpdated {
	t.Helper()
	if len(c.Outcome.Notices) != 1 {
		t.Fatalf("the command tells %d facts", len(c.Outcome.Notices))
	}
	fact, ok := c.Outcome.Notices[0].Data(event.Occurrence{}).(event.UserUpdated)
	if !ok {
		t.Fatalf("the command tells a %T", c.Outcome.Notices[0].Data(event.Occurrence{}))
	}
	return fact
}

// TestUpdateBudget sends 20 updates, lets further ones wait, and flushes them
// when the vendor takes updates again. The vendor ignores none.
func TestUpdateBudget(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{UserID: "busy"})
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	const action = "botstar.widget.update"
	for i := range 20 {
		out := updateOf(t, s.must(event.Unverifiable, action, map[string]any{"count": i, "tags": []string{strconv.Itoa(i)}}))
		if !out.Applied || out.Throttled || out.BudgetLeft != 19-i || !out.Persisted {
			t.Fatalf("update %d answers %+v", i, out)
		}
	}
	var flush any
	for i := range 5 {
		c := s.must(event.Unverifiable, action, map[string]any{"late": i, fmt.Sprintf("only_%d", i): true, "tags": []string{"late", strconv.Itoa(i)}})
		out := updateOf(t, c)
		if out.Applied || !out.Throttled || out.BudgetLeft != 0 || out.QueuedUntil == nil || !c.Outcome.Queued || len(c.Outcome.Notices) != 0 {
			t.Errorf("update %d beyond the budget answers %s", i, c.Output)
		}
		if again := c.Outcome.Again; (again != nil) != (i == 0) {
			t.Errorf("update %d asks for a flush: %+v", i, again)
		} else if again != nil {
			flush = again.Params
			if wait := again.At.Sub(w.clock.Now()); wait < 29*time.Minute || wait > 31*time.Minute {
				t.Errorf("the flush is in %s", wait)
			}
		}
	}
	state := s.must(event.Confirmed, "botstar.session.get_state", nil)
	var known botstar.StateOut
	if err := json.Unmarshal(state.Output, &known); err != nil {
		t.Fatal(err)
	}
	if *known.User.BudgetLeft.Value != 0 || len(known.User.PendingUpdates.Value) != 7 || known.User.PendingUntil.Value == nil {
		t.Errorf("the state says %s", state.Output)
	}
	w.clock.forward(31 * time.Minute)
	c := s.must(event.Unverifiable, action, flush)
	if out := updateOf(t, c); !out.Applied || out.Throttled {
		t.Errorf("the flush answers %s", c.Output)
	}
	fact := updatedOf(t, c)
	if !fact.Flushed || !fact.Persisted || len(fact.Commands) != 5 {
		t.Errorf("the flush tells %+v", fact)
	}
	last := w.reached(t, "busy", vendor.Updated, 21)[20]
	if last.After.Attributes["late"] != 4.0 || last.After.Attributes["only_0"] != true || last.After.Attributes["count"] != 19.0 {
		t.Errorf("the vendor knows %v", last.After.Attributes)
	}
	if diff := cmp.Diff([]string{"late", "4"}, last.After.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if n := w.vendor.Ledger().Counts()[vendor.Ignored]; n != 0 {
		t.Errorf("the vendor ignored %d updates", n)
	}
	// A second flush has nothing to do, and says so.
	if out := updateOf(t, s.must(event.Unverifiable, action, flush)); out.Applied || out.Throttled {
		t.Errorf("the second flush answers %+v", out)
	}
}

// TestAnonymous keeps what an anonymous visitor said, and sends it again when
// the visitor is identified.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for name, identify := range map[string]func(s *session){
		"by update": func(s *session) {
			c := s.must(event.Unverifiable, "botstar.widget.update", map[string]any{"user_id": "known by update"})
			if fact := updatedOf(t, c); !fact.Persisted || len(fact.Attributes) != 4 {
				t.Errorf("the update tells %+v", fact)
			}
		},
		"by boot": func(s *session) {
			s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"user_id": "known by boot"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := w.open(t, site(), event.Visitor{AnonymousID: "nobody " + name})
			s.must(event.Confirmed, "botstar.widget.boot", nil)
			c := s.must(event.Unverifiable, "botstar.widget.update", map[string]any{"plan": "pro", "seats": 3, "tags": []string{"a"}})
			if out := updateOf(t, c); !out.Applied || out.Persisted || c.Outcome.Advice == "" {
				t.Errorf("an anonymous update answers %s, %q", c.Output, c.Outcome.Advice)
			}
			if len(s.env.Profile.Kept) != 3 {
				t.Errorf("kept: %v", s.env.Profile.Kept)
			}
			identify(s)
			if s.env.Profile.Kept != nil {
				t.Errorf("still kept: %v", s.env.Profile.Kept)
			}
			entry := w.reached(t, "known "+name, map[string]vendor.Kind{"by update": vendor.Updated, "by boot": vendor.Booted}[name], 1)[0]
			if entry.After.Attributes["plan"] != "pro" || entry.After.Attributes["seats"] != 3.0 || len(entry.After.Tags) != 1 {
				t.Errorf("the vendor knows %+v", entry.After)
			}
		})
	}
}

// TestClearProfile forgets the visitor in the browser.
func TestClearProfile(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{AnonymousID: "someone"})
	s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"plan": "pro"}})
	before := w.reached(t, "", vendor.Booted, 1)[0]
	c := s.must(event.Confirmed, "botstar.user.clear_profile", map[string]any{"scope": "browser"})
	if want := `{"browser_cleared":true,"page_cleared":true,"remote_cleared":false,"remote_deleted":false,"remounted":true}`; string(c.Output) != want {
		t.Errorf("clear answers %s", c.Output)
	}
	after := w.reached(t, "", vendor.Booted, 2)[1]
	if after.Visitor == before.Visitor || len(after.Attributes) != 0 {
		t.Errorf("the vendor still knows %q with %v", after.Visitor, after.Attributes)
	}
	if len(s.env.Profile.Kept) != 0 || s.env.State.User != nil {
		t.Errorf("Parley still knows %v and %v", s.env.Profile.Kept, s.env.State.User)
	}
	s.must(event.Confirmed, "botstar.widget.open", nil)

	if _, err := s.do("botstar.user.clear_profile", map[string]any{"scope": "remote"}); fault.From(err) == nil || fault.From(err).Reason != fault.UnsupportedExecutor {
		t.Errorf("clearing at BotStar gives %v", err)
	}
}

// TestClearOwnTab forgets the visitor as far as a page can, and says what is
// left.
func TestClearOwnTab(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{AnonymousID: "guest"})
	s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"plan": "pro"}})
	before := w.reached(t, "", vendor.Booted, 1)[0]
	s.act("keep", nil, nil)
	s.env.Browser = nil
	c := s.must(event.Unverifiable, "botstar.user.clear_profile", nil)
	if want := `{"browser_cleared":false,"page_cleared":true,"remote_cleared":false,"remote_deleted":false,"remounted":true}`; string(c.Output) != want {
		t.Errorf("clear answers %s", c.Output)
	}
	if !strings.Contains(c.Outcome.Advice, "frame") || len(c.Proof.Evidence) < 3 {
		t.Errorf("it says neither %q nor %+v", c.Outcome.Advice, c.Proof.Evidence)
	}
	want := event.UserCleared{OwnPage: true}
	if diff := cmp.Diff(want, c.Outcome.Notices[0].Data(event.Occurrence{})); diff != "" {
		t.Errorf("the fact (-want +got):\n%s", diff)
	}
	var kept []string
	if s.act("kept", nil, &kept); !slices.Equal(kept, []string{"cart", "cart=2", "session"}) {
		t.Errorf("the page keeps %q", kept)
	}
	after := w.reached(t, "", vendor.Booted, 2)[1]
	if after.Visitor != before.Visitor || len(after.Attributes) != 0 {
		t.Errorf("the vendor knows %q with %v, and knew %q", after.Visitor, after.Attributes, before.Visitor)
	}
}

// TestClearLies: a page that keeps what it was to remove is found out.
func TestClearLies(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{AnonymousID: "liar"})
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	s.act("keep", nil, nil)
	s.act("stick", nil, nil)
	s.must(event.Contradicted, "botstar.user.clear_profile", nil)
}

// TestState reads twice, changes something, and reads again.
func TestState(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	s := w.open(t, site(), event.Visitor{UserID: "state"})
	read := func() string {
		t.Helper()
		return string(s.must(event.Confirmed, "botstar.session.get_state", nil).Output)
	}
	before := read()
	var known botstar.StateOut
	if err := json.Unmarshal([]byte(before), &known); err != nil {
		t.Fatal(err)
	}
	if *known.Dom.Booted.Value || known.Dom.Mode.Value != nil || known.Dom.Open.Value != nil || known.Takeover.Human.Origin != "unknown" {
		t.Errorf("before the boot: %s", before)
	}
	s.must(event.Unverifiable, "botstar.widget.on_open", map[string]any{"callback": "alert"})
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	sub := s.must(event.Confirmed, "botstar.widget.on_close", map[string]any{"callback_code": "globalThis.__canary=1"})
	first := read()
	if second := read(); first != second {
		t.Errorf("two reads differ (-first +second):\n%s", cmp.Diff(first, second))
	}
	s.must(event.Confirmed, "botstar.widget.open", nil)
	if err := json.Unmarshal([]byte(read()), &known); err != nil {
		t.Fatal(err)
	}
	if !*known.Dom.Booted.Value || *known.Dom.Mode.Value != "livechat" || !*known.Dom.Open.Value || *known.Dom.Containers.Value != 1 ||
		!*known.Dom.Listening.Value || *known.User.BudgetLeft.Value != 20 || *known.User.UserID.Value != "state" {
		t.Errorf("after open: %+v", known)
	}
	var subscribed botstar.SubscribeOut
	if err := json.Unmarshal(sub.Output, &subscribed); err != nil {
		t.Fatal(err)
	}
	if len(known.Subscriptions.Value) != 2 || known.Subscriptions.Value[1] != subscribed.SubscriptionID {
		t.Errorf("subscriptions: %v, the last one is %+v", known.Subscriptions.Value, subscribed)
	}
	narrow := s.must(event.Unverifiable, "botstar.session.get_state", map[string]any{"include": []string{"takeover"}})
	if want := `{"state":"held","takeover":{"human":{"value":null,"origin":"unknown"},"needs_human":{"value":null,"origin":"unknown","reason":"no_webhook"}},"subscriptions"`; string(narrow.Output)[:len(want)] != want {
		t.Errorf("the narrow state: %s", narrow.Output)
	}
}

// TestSetMode goes through all modes; the listeners survive.
func TestSetMode(t *testing.T) {
	t.Parallel()
	w := setup(t, vendor.Options{})
	for _, where := range []string{"light", "full"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			light := botstar.Provider().Light(site())
			if where == "full" {
				light = ""
			}
			s := w.visit(t, site(), event.Visitor{UserID: "mode " + where}, light)
			s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"plan": "pro", "tags": []string{"x"}}})
			s.must(event.Confirmed, "botstar.widget.open", nil)
			set := func(mode, selector string, remounted bool) {
				t.Helper()
				c := s.must(event.Confirmed, "botstar.widget.set_mode", map[string]any{"mode": mode, "selector": selector})
				var out botstar.SetModeOut
				if err := json.Unmarshal(c.Output, &out); err != nil {
					t.Fatal(err)
				}
				if out.Mode != mode || out.Remounted != remounted || (len(c.Outcome.Notices) == 1) != remounted {
					t.Errorf("set_mode %s answers %s", mode, c.Output)
				}
			}
			set("popup", "", true)
			if closed := s.heard("widget.closed", 1); closed[0].Cause != "api" {
				t.Errorf("the window that the remount closed: %+v", closed)
			}
			set("popup", "", false)
			s.must(event.Confirmed, "botstar.widget.open", nil)
			s.heard("widget.opened", 2)
			set("fullpage", "", true)
			if _, err := s.do("botstar.widget.open", nil); fault.From(err) == nil || fault.From(err).Reason != fault.ModeNotSupported {
				t.Errorf("open in fullpage gives %v", err)
			}
			set("inline", "body > main", true)
			set("livechat", "", true)
			s.must(event.Confirmed, "botstar.widget.open", nil)
			s.must(event.Confirmed, "botstar.widget.close", nil)
			if n := len(s.heard("widget.closed", 3)); n != 3 {
				t.Errorf("three windows were closed, and it was heard %d times", n)
			}
			boots := w.reached(t, "mode "+where, vendor.Booted, 5)
			if last := boots[len(boots)-1]; last.After.Attributes["plan"] != "pro" || last.Mode != "livechat" || len(last.After.Tags) != 1 {
				t.Errorf("after all modes the vendor knows %+v in the mode %s", last.After, last.Mode)
			}
			for _, selector := range []string{"#nowhere", "][", `"); alert(1); ("`} {
				_, err := s.do("botstar.widget.set_mode", map[string]any{"mode": "inline", "selector": selector})
				if f := fault.From(err); f == nil || f.Reason != fault.NoInlineTarget && f.Reason != fault.SchemaViolation {
					t.Errorf("the selector %q gives %v", selector, err)
				}
			}
			s.must(event.Confirmed, "botstar.widget.open", nil)
		})
	}
}
