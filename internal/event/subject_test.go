package event

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	const action, site, session = "botstar.widget.open", "shop", "abc"
	for got, want := range map[string]string{
		CommandSubject(ClassWrite, action, site, session):               "cmd.w.botstar.widget.open.shop.abc",
		WorkflowCommandSubject(ClassRead, action, site, session):        "go.r.botstar.widget.open.shop.abc",
		DueCommandSubject(ClassAdmin, action, site, session):            "due.a.botstar.widget.open.shop.abc",
		ResultSubject(action, site, session):                            "res.botstar.widget.open.shop.abc",
		FactSubject("botstar", FactWidgetOpened, site, session):         "evt.botstar.widget.opened.shop.abc",
		TriggerSubject("cli", "track", site, session):                   "in.cli.track.shop.abc",
		PastSubject(TriggerSubject("ga4export", "page", site, session)): "in.ga4export.page.shop.abc.past",
		TimerSubject(site, session, "flush"):                            "timer.shop.abc.flush",
		EffectSubject(site, session, "k"):                               "jrn.shop.abc.k",
		DeadSubject(fault.PageHung, site, session):                      "dead.page_hung.shop.abc",
		DeadSubject(fault.Malformed, "", ""):                            "dead.malformed_message.-.-",
		CommandType(action):                                             "chat.parley.command.botstar.widget.open.v1",
		ResultType(action):                                              "chat.parley.result.botstar.widget.open.v1",
		FactType("botstar", FactWidgetOpened):                           "chat.parley.event.botstar.widget.opened.v1",
		TriggerType("track"):                                            "chat.parley.trigger.track.v1",
		SchemaURI(TriggerType("track")):                                 "https://parley.chat/schemas/v1/trigger/track.schema.json",
		SchemaURI("com.example.other"):                                  "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestActionOfType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		CommandType("a.b.c"): "a.b.c", ResultType("a.b.c"): "a.b.c", FactType("a", "b.c"): "", TriggerType("track"): "",
		"chat.parley.command.a.b.c.v2": "", "com.example": "", "": "",
	} {
		if got, ok := ActionOfType(typ); ok != (want != "") || ok && got != want {
			t.Errorf("ActionOfType(%q) = %q, %t, want %q", typ, got, ok, want)
		}
	}
}

func TestParseCommandSubject(t *testing.T) {
	t.Parallel()
	want := Address{Class: ClassWrite, Action: "botstar.widget.open", Site: "shop", Session: "abc"}
	for _, subject := range []string{
		"cmd.w.botstar.widget.open.shop.abc", "go.w.botstar.widget.open.shop.abc",
		"due.w.botstar.widget.open.shop.abc", "cq.63.w.botstar.widget.open.shop.abc",
	} {
		if got, err := ParseCommandSubject(subject); err != nil || got != want {
			t.Errorf("%s was read as %+v, %v", subject, got, err)
		}
	}
	for _, subject := range []string{
		"", "cmd", "cmd.w.botstar.widget.open.shop", "cmd.w.botstar.widget.open.shop.abc.x", "res.w.botstar.widget.open.shop.abc",
		"cmd.w.botstar.widget.open.shop.>", "cmd.w.botstar.widget.*.shop.abc", "cmd.w.botstar.Widget.open.shop.abc",
		"cmd.w.botstar.widget.open.-shop.abc", "cmd.w.botstar.widget.open.shop.a b",
	} {
		if got, err := ParseCommandSubject(subject); !errors.Is(err, fault.New(fault.Malformed, "")) {
			t.Errorf("%q was read as %+v, %v", subject, got, err)
		}
	}
	if got := want.String(); got != "botstar.widget.open on shop for abc" {
		t.Errorf("the address reads %q", got)
	}
}

func TestQueueFilter(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"*": "cq.*.*.*.*.*.*.*", "": "cq.*.*.*.*.*.*.*", "botstar.*": "cq.*.*.botstar.*.*.*.*",
		"botstar.widget.*": "cq.*.*.botstar.widget.*.*.*", "botstar.widget.open": "cq.*.*.botstar.widget.open.*.*", "*.*.open": "cq.*.*.*.*.open.*.*",
		"botstar": "", "botstar.widget": "", "a.b.c.d": "", "botstar.widget.>": "", "Botstar.widget.open": "", "a..b": "",
	} {
		got, err := QueueFilter(pattern)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("QueueFilter(%q) = %q, %v, want %q", pattern, got, err, want)
		}
		if err != nil && fault.From(err).Fix == "" {
			t.Errorf("%q: the error has no fix", pattern)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	user, same := Visitor{UserID: "u-42", Email: "a@example.test"}, Visitor{UserID: "u-42", AnonymousID: "x"}
	if SessionKey("shop", user) != SessionKey("shop", same) {
		t.Error("the user id alone does not decide the session")
	}
	if a, b := SessionKey("shop", Visitor{Email: "Ada@Example.test"}), SessionKey("shop", Visitor{Email: "ada@example.test"}); a != b {
		t.Error("the case of the e-mail address decides the session")
	}
	seen := map[string]bool{}
	for _, key := range []string{
		SessionKey("shop", user), SessionKey("docs", user), SessionKey("shop", Visitor{Email: "u-42"}), SessionKey("shop", Visitor{AnonymousID: "u-42"}),
		Key("a", "bc"), Key("ab", "c"), Key("a\x00b", "c"), DerivedID("a", "b", "d"),
	} {
		if seen[key] || !IsToken(key) || strings.Contains(key, "u-42") {
			t.Errorf("the key %q is used twice, no token, or tells who it is", key)
		}
		seen[key] = true
	}
	if got := SessionKey("shop", user); got != SessionKey("shop", user) || len(got) != 26 || len(Key("a", "b")) != 32 {
		t.Errorf("the keys have other lengths: %q, %q", got, Key("a", "b"))
	}
	if got := (Visitor{}).Key(); got != "" {
		t.Errorf("nobody has the key %q", got)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	e, err := New("/s", TriggerType("track"), "x", map[string]int{"a": 1})
	if err != nil || e.ID == "" || time.Since(e.Time) > time.Minute || string(e.Data) != `{"a":1}` {
		t.Fatalf("New gave %+v, %v", e, err)
	}
	if at, err := e.Expiry(); err != nil || !at.IsZero() {
		t.Errorf("without an expiry: %v, %v", at, err)
	}
	e.Extensions[ExtExpiryTime] = "2026-11-24T09:31:00.5Z"
	if at, err := e.Expiry(); err != nil || !at.Equal(time.Date(2026, 11, 24, 9, 31, 0, 5e8, time.UTC)) {
		t.Errorf("the expiry is %v, %v", at, err)
	}
	e.Extensions[ExtExpiryTime] = "soon"
	if _, err := e.Expiry(); err == nil {
		t.Error("soon is a time")
	}
	if _, err := New("/s", "t", "x", func() {}); err == nil {
		t.Error("a function became JSON")
	}
}
