package botstar_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	vendor "github.com/parley-chat/parley/internal/standin/botstar"
)

type m = map[string]any

// hooks is what webhooks have told of the visitor.
type hooks struct {
	told  actions.VendorUser
	err   error
	asked int
}

// hear has the account's commands ask for what webhooks have told.
func (a *account) hear(told actions.VendorUser) *hooks {
	h := &hooks{told: told}
	a.env.Site.Takeover = &actions.TakeoverClocks{}
	a.env.VendorUser = func(context.Context) (actions.VendorUser, error) {
		h.asked++
		return h.told, h.err
	}
	return h
}

// refused wants a failure with the reason.
func (a *account) refused(reason fault.Reason, action string, params any) {
	a.t.Helper()
	if _, err := a.do(action, params); fault.From(err).Reason != reason {
		a.t.Errorf("%s: %v, want %s", action, err, reason)
	}
}

// TestWebhooksTellTheUser: what webhooks have told of the visitor serves every
// action that needs BotStar's id, and is kept.
func TestWebhooksTellTheUser(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	actionsOf := map[string]any{
		"users.get":          m{},
		"users.update":       m{"attributes": m{"first_name": "Eve"}},
		"user.clear_profile": m{"scope": "remote"},
		"messages.broadcast": m{"messages": []any{m{"text": "Hello"}}},
		"session.get_state":  m{"include": []string{"remote"}},
	}
	for name, params := range actionsOf {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := connect(t, actions.RESTOptions{})
			id := a.api.AddUser(a.bot, "", m{"first_name": "Ada", "email": "other@example.test"})
			h := a.hear(actions.VendorUser{ID: id, At: at})
			for range 2 {
				if _, err := a.do(name, params); err != nil {
					t.Fatal(err)
				}
			}
			if a.env.Profile.VendorID != id || h.asked != 1 {
				t.Errorf("%q is kept, and webhooks were asked %d times", a.env.Profile.VendorID, h.asked)
			}
		})
	}
}

// TestWebhooksAreNotAsked where nobody can have told, and not believed where they
// tell of somebody else.
func TestWebhooksAreNotAsked(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	away := fault.New(fault.BusUnavailable, "the bus is away")
	tests := []struct {
		name  string
		spoil func(a *account, h *hooks)
		asked int
		want  fault.Reason
	}{
		{"no source of webhooks", func(a *account, _ *hooks) { a.env.Site.Takeover = nil }, 0, fault.SchemaViolation},
		{"an executor that does not hear them", func(a *account, _ *hooks) { a.env.VendorUser = nil }, 0, fault.SchemaViolation},
		{"a visitor without the site's id", func(a *account, _ *hooks) { a.env.Visitor.UserID = "" }, 0, fault.SchemaViolation},
		{"nothing told", func(_ *account, h *hooks) { h.told = actions.VendorUser{} }, 1, fault.SchemaViolation},
		{"no id that can be asked for", func(_ *account, h *hooks) { h.told.ID = ".." }, 1, fault.SchemaViolation},
		{"told before the browser was cleared", func(a *account, _ *hooks) { a.env.Profile.ClearedAt = at.Add(time.Second) }, 1, fault.SchemaViolation},
		{"the bus is away", func(_ *account, h *hooks) { h.err = away }, 1, fault.BusUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := connect(t, actions.RESTOptions{})
			h := a.hear(actions.VendorUser{ID: a.api.AddUser(a.bot, "", m{}), At: at})
			tt.spoil(a, h)
			a.refused(tt.want, "users.get", m{})
			if h.asked != tt.asked || a.env.Profile.VendorID != "" || len(a.api.Calls("")) != 0 {
				t.Errorf("asked %d times, kept %q, %d calls", h.asked, a.env.Profile.VendorID, len(a.api.Calls("")))
			}
		})
	}
}

// TestAUserThatIsGone: BotStar made a new user of the visitor, and the webhooks
// have told of it.
func TestAUserThatIsGone(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	id := a.api.AddUser(a.bot, "", m{"first_name": "Ada"})
	h := a.hear(actions.VendorUser{ID: id, At: time.Now()})
	for _, tt := range []struct {
		action string
		params m
	}{
		{"users.get", m{}},
		{"users.update", m{"attributes": m{"first_name": "Eve"}}},
		{"user.clear_profile", m{"scope": "remote"}},
	} {
		a.env.Profile.VendorID = "s-gone"
		a.must(event.Confirmed, tt.action, tt.params)
		if a.env.Profile.VendorID != id {
			t.Errorf("%s keeps %q", tt.action, a.env.Profile.VendorID)
		}
	}
	h.told.ID, a.env.Profile.VendorID = "s-gone", "s-gone"
	a.refused(fault.VendorNotFound, "users.get", m{})
	h.err = errors.New("away")
	a.refused(fault.VendorNotFound, "users.get", m{})
	// Whom the command names itself is not replaced by another one.
	h.told.ID, h.err = id, nil
	a.refused(fault.VendorNotFound, "users.get", m{"user_id": "s-gone"})
}

// remote runs get_state of a session that sleeps, and returns what it says of
// BotStar.
func (a *account) remote(params m) (*botstarRemote, event.Verdict) {
	a.t.Helper()
	c, err := a.do("session.get_state", params)
	if err != nil {
		a.t.Fatal(err)
	}
	var out struct {
		Remote *botstarRemote `json:"remote"`
	}
	if err := json.Unmarshal(c.Output, &out); err != nil {
		a.t.Fatal(err)
	}
	return out.Remote, c.Proof.Verdict
}

// botstarRemote is the answer as a stranger reads it.
type botstarRemote struct {
	Status     string   `json:"status"`
	Problem    string   `json:"problem"`
	ID         string   `json:"botstar_user_id"`
	FirstName  string   `json:"first_name"`
	Email      string   `json:"email"`
	Tags       []string `json:"tags"`
	Attributes m        `json:"attributes"`
	ReadAt     string   `json:"read_at"`
}

// TestStateAsksBotStar: only when it is included, one call, and typed.
func TestStateAsksBotStar(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	id := a.api.AddUser(a.bot, "", m{"first_name": "Ada", "email": "ada@example.test", "plan": "free"}, "vip", "lead")
	a.env.Profile.VendorID = id
	for _, cheap := range []m{{}, {"include": []string{"dom", "user", "takeover"}}} {
		if remote, verdict := a.remote(cheap); remote != nil || verdict != event.Unverifiable || len(a.api.Calls("")) != 0 {
			t.Errorf("%v: it says %+v, %s, with %d calls", cheap, remote, verdict, len(a.api.Calls("")))
		}
	}
	got, verdict := a.remote(m{"include": []string{"remote"}})
	if verdict != event.Confirmed || len(a.api.Calls(vendor.GetUser)) != 1 || got.ReadAt == "" {
		t.Errorf("it is %s, with %d calls: %+v", verdict, len(a.api.Calls(vendor.GetUser)), got)
	}
	names := slices.Sorted(maps.Keys(got.Attributes))
	if got.Attributes["plan"] != "free" || slices.ContainsFunc(names, func(name string) bool { return name == "tags" || name == "email" }) {
		t.Errorf("the other attributes are %v", got.Attributes)
	}
	got.Attributes, got.ReadAt = nil, ""
	want := &botstarRemote{Status: "read", ID: id, FirstName: "Ada", Email: "ada@example.test", Tags: []string{"lead", "vip"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("BotStar says (-want +got):\n%s", diff)
	}
	// Beside a page that nobody sees, the record proves nothing more.
	if _, verdict := a.remote(m{"include": []string{"user", "remote"}}); verdict != event.Unverifiable {
		t.Errorf("with the record it is %s", verdict)
	}
}

// TestStateWhenBotStarCannotBeAsked is an answer, and no failure.
func TestStateWhenBotStarCannotBeAsked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(a *account)
		want  botstarRemote
		calls int
	}{
		{"no way to the API", func(a *account) { a.env.REST = nil }, botstarRemote{Status: "no_rest"}, 0},
		{"no token", func(a *account) { a.tokens.account = "" }, botstarRemote{Status: "no_token"}, 0},
		{"no id", func(a *account) { a.env.Profile.VendorID = "" }, botstarRemote{Status: "no_id"}, 0},
		{"nobody there", func(a *account) { a.env.Profile.VendorID = "s-0" }, botstarRemote{Status: "refused", Problem: "vendor_not_found", ID: "s-0"}, 1},
		{"a token that is refused", func(a *account) { a.api.Revoke("next") }, botstarRemote{Status: "refused", Problem: "token_refused", ID: "s-1"}, 1},
		{"another user", func(a *account) {
			a.api.Set(vendor.RESTFaults{Plan: map[vendor.Operation][]vendor.RESTFault{vendor.GetUser: {{Hollow: `{"id":"s-2"}`}}}})
		}, botstarRemote{Status: "read", ID: "s-2"}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := connect(t, actions.RESTOptions{})
			a.env.Profile.VendorID = "s-1"
			tt.spoil(a)
			got, verdict := a.remote(m{"include": []string{"remote"}})
			want := event.Unverifiable
			if got.ReadAt != "" {
				want = event.Contradicted
			}
			got.ReadAt, got.Attributes = "", nil
			if diff := cmp.Diff(&tt.want, got); diff != "" || verdict != want || len(a.api.Calls("")) != tt.calls {
				t.Errorf("it is %s, with %d calls (-want +got):\n%s", verdict, len(a.api.Calls("")), diff)
			}
		})
	}
}

// TestClearWithoutAPage empties what BotStar keeps of a visitor whom no page
// reaches. What is in a browser cannot be cleared so.
func TestClearWithoutAPage(t *testing.T) {
	t.Parallel()
	a := connect(t, actions.RESTOptions{})
	var way *actions.Detour
	for _, spec := range botstar.Provider().Actions {
		if spec.Name == "botstar.user.clear_profile" {
			way = spec.Detour
		}
	}
	if way == nil {
		t.Fatal("there is no way around a page")
	}
	plain := a.api.AddUser(a.bot, "", m{"first_name": "Ada", "email": "ada@example.test"})
	tagged := a.api.AddUser(a.bot, "", m{"first_name": "Eve"}, "vip")
	raw := func(scope, id string) json.RawMessage {
		text, err := json.Marshal(botstar.ClearProfileIn{Scope: scope, BotStarUserID: id})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	open := func(params json.RawMessage, want bool) {
		t.Helper()
		if got := way.Open(t.Context(), a.env, params); got != want {
			t.Errorf("%s: the way is open: %t, want %t", params, got, want)
		}
	}
	open(raw("remote", ""), false)
	open(raw("remote", plain), true)
	for _, scope := range []string{"", "browser", "both"} {
		open(raw(scope, plain), false)
	}
	open(json.RawMessage(`{`), false)
	a.env.Profile.VendorID = plain
	open(raw("remote", ""), true)
	out, proof, err := way.Run(t.Context(), a.env, raw("remote", ""))
	if err != nil || proof.Verdict != event.Confirmed || out.Advice != "" || len(out.Notices) != 1 || a.env.Profile.VendorID != plain {
		t.Errorf("it is %s, %v, with the advice %q", proof.Verdict, err, out.Advice)
	}
	out, proof, err = way.Run(t.Context(), a.env, raw("remote", tagged))
	if err != nil || proof.Verdict != event.Unconfirmed || !strings.Contains(out.Advice, "tags stay") {
		t.Errorf("with tags it is %s, %v, with the advice %q", proof.Verdict, err, out.Advice)
	}
	if _, _, err := way.Run(t.Context(), a.env, raw("remote", "s-nobody")); fault.From(err).Reason != fault.VendorNotFound {
		t.Errorf("of nobody: %v", err)
	}
	if n := a.api.Effects(vendor.UpdateUser); n != 2 {
		t.Errorf("the users were changed %d times, want 2", n)
	}
	a.tokens.account = ""
	open(raw("remote", plain), false)
	a.env.REST = nil
	open(raw("remote", plain), false)
}
