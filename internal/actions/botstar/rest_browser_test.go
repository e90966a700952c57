//go:build browser

package botstar_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
	"github.com/parley-chat/parley/internal/standin/shop"
)

// identified opens a session of a visitor whom BotStar knows, with a way to its
// REST API, and returns it with BotStar's id of the visitor.
func identified(t *testing.T, visitor string) (w *world, s *session, id string) {
	t.Helper()
	w = setup(t, vendor.Options{Bots: []vendor.Bot{{ID: "1", AppID: shop.AppID, Name: "Shop Bot"}}})
	s = w.open(t, site(), event.Visitor{UserID: visitor})
	client := actions.NewREST(slog.New(slog.DiscardHandler), actions.RESTOptions{
		Tokens: &tokens{account: w.vendor.REST().Token()}, Resolve: w.server.Resolve(), Roots: w.server.Roots(),
	})
	t.Cleanup(client.Close)
	s.env.REST = client
	s.must(event.Confirmed, "botstar.widget.boot", nil)
	return w, s, w.reached(t, visitor, vendor.Booted, 1)[0].After.ID
}

// TestUpdateIsReadBack confirms what a page has sent, by the REST API.
func TestUpdateIsReadBack(t *testing.T) {
	t.Parallel()
	w, s, id := identified(t, "u-1")
	const action = "botstar.widget.update"
	s.must(event.Unverifiable, action, map[string]any{"plan": "free"})
	told := s.must(event.Confirmed, action, map[string]any{
		"botstar_user_id": id, "plan": "pro", "seats": 5, "vip": true, "first_name": "Ada",
		"avatar": "https://shop.example.test/ada.png", "tags": []string{"b", "a"},
	})
	if out := updateOf(t, told); strings.Contains(strings.Join(out.Attributes, " "), "botstar") {
		t.Errorf("the output names %v", out.Attributes)
	}
	for _, e := range w.reached(t, "u-1", vendor.Updated, 2) {
		if _, sent := e.Attributes["botstar_user_id"]; sent {
			t.Errorf("BotStar was sent its own id: %v", e.Attributes)
		}
	}
	// The id alone is remembered, and nothing is sent.
	only := s.must(event.Unverifiable, action, map[string]any{"botstar_user_id": id})
	if out := updateOf(t, only); out.Applied || out.BudgetLeft != 18 {
		t.Errorf("the id alone answers %+v", out)
	}
	// A boot may tell it as well.
	s.env.Profile.VendorID = ""
	booted := s.must(event.Confirmed, "botstar.widget.boot", map[string]any{"user": map[string]any{"botstar_user_id": id, "city": "Oslo"}})
	if s.env.Profile.VendorID != id || strings.Contains(string(booted.Output), "botstar_user_id") || s.env.State.User["botstar_user_id"] != nil {
		t.Errorf("the boot keeps %q, and answers %s", s.env.Profile.VendorID, booted.Output)
	}
	// BotStar ignores updates beyond its limit, without a word.
	w.vendor.Set(vendor.Faults{Throttle: vendor.Throttle{Limit: -1}})
	s.must(event.Contradicted, action, map[string]any{"plan": "team"})
	// A read-back that fails proves nothing.
	w.vendor.Set(vendor.Faults{})
	w.vendor.REST().Set(vendor.RESTFaults{Shares: []vendor.RESTShare{{Share: 1, Fault: vendor.RESTFault{Status: 403}}}})
	s.must(event.Unconfirmed, action, map[string]any{"plan": "enterprise"})
}

// TestClearRemote empties what BotStar keeps of a visitor.
func TestClearRemote(t *testing.T) {
	t.Parallel()
	w, s, id := identified(t, "u-2")
	const action = "botstar.user.clear_profile"
	if _, err := s.do(action, map[string]any{"scope": "remote"}); fault.From(err).Reason != fault.SchemaViolation {
		t.Errorf("without BotStar's id of the visitor: %v", err)
	}
	s.must(event.Confirmed, "botstar.widget.update", map[string]any{
		"botstar_user_id": id, "email": "ada@example.test", "first_name": "Ada", "last_name": "Lovelace", "birthday": "1815-12-10", "gender": "female", "tags": []string{"vip"},
	})
	cleared := s.must(event.Confirmed, action, map[string]any{"scope": "remote"})
	if want := `{"browser_cleared":false,"page_cleared":false,"remote_cleared":true,"remote_deleted":false,"remounted":false}`; string(cleared.Output) != want {
		t.Errorf("the output is %s, want %s", cleared.Output, want)
	}
	fact, ok := cleared.Outcome.Notices[0].Data(event.Occurrence{}).(event.UserCleared)
	if !ok || fact.Browser || !fact.Remote {
		t.Errorf("the fact is %+v", cleared.Outcome.Notices[0].Data(event.Occurrence{}))
	}
	after := w.reached(t, "u-2", vendor.Updated, 2)[1].After
	want := map[string]any{"email": "", "first_name": "", "last_name": "", "birthday": "", "gender": ""}
	if diff := cmp.Diff(want, after.Attributes); diff != "" || len(after.Tags) != 0 {
		t.Errorf("BotStar keeps the tags %v and (-want +got):\n%s", after.Tags, diff)
	}
	s.must(event.Confirmed, "botstar.widget.update", map[string]any{"tags": []string{"again"}, "first_name": "Eve"})
	both := s.must(event.Confirmed, action, map[string]any{"scope": "both", "botstar_user_id": id})
	if want := `{"browser_cleared":true,"page_cleared":true,"remote_cleared":true,"remote_deleted":false,"remounted":true}`; string(both.Output) != want {
		t.Errorf("the output is %s, want %s", both.Output, want)
	}
	if s.env.Profile.VendorID != "" {
		t.Errorf("the profile still knows %s", s.env.Profile.VendorID)
	}
}

// TestClearRemoteKeepsTags: without a widget, tags stay, and that is said.
func TestClearRemoteKeepsTags(t *testing.T) {
	t.Parallel()
	w, s, id := identified(t, "u-3")
	s.must(event.Confirmed, "botstar.widget.update", map[string]any{"botstar_user_id": id, "first_name": "Ada", "tags": []string{"vip"}})
	s.env.State.Booted = false
	cleared := s.must(event.Unconfirmed, "botstar.user.clear_profile", map[string]any{"scope": "remote"})
	if !strings.Contains(cleared.Outcome.Advice, "tags") || w.vendor.REST().Effects(vendor.UpdateUser) != 1 {
		t.Errorf("the advice is %q", cleared.Outcome.Advice)
	}
}
