package botstar

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// env returns what a command of the visitor works with, without a page.
func testEnv(v event.Visitor, id string, now time.Time) actions.Env {
	return actions.Env{
		Visitor: v, CommandID: id, Key: "key-" + id, State: &actions.State{}, Profile: &actions.Profile{},
		Now: func() time.Time { return now },
	}
}

func TestGatherRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		in     UpdateIn
		reason fault.Reason
		field  string
	}{
		{"nothing", UpdateIn{}, fault.NoAttributes, "/params"},
		{"prototype", UpdateIn{"__proto__": "x"}, fault.SchemaViolation, "/params/__proto__"},
		{"constructor", UpdateIn{"constructor": "x"}, fault.SchemaViolation, "/params/constructor"},
		{"null", UpdateIn{"plan": nil}, fault.SchemaViolation, "/params/plan"},
		{"object", UpdateIn{"a/b~c": map[string]any{}}, fault.SchemaViolation, "/params/a~1b~0c"},
		{"list", UpdateIn{"plans": []any{"a"}}, fault.SchemaViolation, "/params/plans"},
		{"tag", UpdateIn{"tags": []any{"a", 1.0}}, fault.SchemaViolation, "/params/tags/1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := gather(testEnv(event.Visitor{UserID: "u"}, "c", time.Time{}), tt.in)
			if f := fault.From(err); f == nil || f.Reason != tt.reason || f.Field != tt.field {
				t.Errorf("gather = %v, want %s at %s", err, tt.reason, tt.field)
			}
		})
	}
}

// TestGatherMerges holds the order: what was kept, what waits, what is new.
func TestGatherMerges(t *testing.T) {
	t.Parallel()
	env := testEnv(event.Visitor{AnonymousID: "a"}, "c3", time.Time{})
	env.Profile.Kept = Attributes{"plan": "solo", "city": "Oslo", "tags": []any{"old"}}
	env.Profile.Pending = Attributes{"plan": "team", "seats": 2.0}
	env.Profile.PendingFrom = []string{"c1", "c2"}

	anonymous, err := gather(env, UpdateIn{"seats": 3.0})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Attributes{"plan": "team", "seats": 3.0}, anonymous.attributes); diff != "" || anonymous.identified {
		t.Errorf("anonymous: %t (-want +got):\n%s", anonymous.identified, diff)
	}
	known, err := gather(env, UpdateIn{"user_id": "u-1", "tags": []any{"new"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Attributes{"user_id": "u-1", "plan": "team", "city": "Oslo", "seats": 2.0, "tags": []any{"new"}}
	if diff := cmp.Diff(want, known.attributes); diff != "" || !known.identified {
		t.Errorf("identified: %t (-want +got):\n%s", known.identified, diff)
	}
	if diff := cmp.Diff([]string{"c1", "c2", "c3"}, known.commands); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// TestQueue lets three commands wait: the first asks for the flush, and asks
// again when it is repeated; nothing is lost.
func TestQueue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	env := testEnv(event.Visitor{UserID: "u"}, "c1", now)
	purse := budget{env.Profile, "botstar.widget.update"}
	for i := range updateCalls {
		purse.spend(now, strconv.Itoa(i))
	}
	at := now.Add(updateWindow + updateMargin)
	wait := func(id string, in UpdateIn) actions.Done[UpdateOut] {
		env.CommandID = id
		b, err := gather(env, in)
		if err != nil {
			t.Fatal(err)
		}
		return b.queue(env, purse, now)
	}
	first := wait("c1", UpdateIn{"plan": "solo", "tags": []any{"a", "b"}})
	if !first.Queued || !first.Output.Throttled || first.Output.Applied || !first.Output.QueuedUntil.Equal(at) {
		t.Errorf("the first waits like this: %+v", first.Output)
	}
	if first.Again == nil || !first.Again.At.Equal(at) {
		t.Fatalf("the first does not ask for the flush: %+v", first.Again)
	}
	if second := wait("c2", UpdateIn{"tags": []any{"c"}, "seats": 2.0}); second.Again != nil {
		t.Errorf("the second asks for a flush of its own: %+v", second.Again)
	}
	if again := wait("c1", UpdateIn{"plan": "solo", "tags": []any{"c"}}); again.Again == nil {
		t.Error("the first, repeated, does not ask again: a crash would lose the flush")
	}
	want := map[string]any{"plan": "solo", "seats": 2.0, "tags": []any{"c"}}
	if diff := cmp.Diff(want, env.Profile.Pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c1", "c2"}, env.Profile.PendingFrom); diff != "" {
		t.Errorf("pending from (-want +got):\n%s", diff)
	}
	// A flush that finds no budget asks for another one.
	if early := wait("flush", UpdateIn{flushKey: true}); early.Again == nil || !early.Queued {
		t.Errorf("an early flush is lost: %+v", early)
	}
	if diff := cmp.Diff([]string{"c1", "c2"}, env.Profile.PendingFrom); diff != "" {
		t.Errorf("the flush counts itself (-want +got):\n%s", diff)
	}
}

// TestKeep keeps what an anonymous visitor said until the visitor is known.
func TestKeep(t *testing.T) {
	t.Parallel()
	env := testEnv(event.Visitor{AnonymousID: "a"}, "c1", time.Time{})
	batch{attributes: Attributes{"plan": "solo", "tags": []any{"a"}}}.keep(env)
	batch{attributes: Attributes{"tags": []any{"b"}}}.keep(env)
	if diff := cmp.Diff(map[string]any{"plan": "solo", "tags": []any{"b"}}, env.Profile.Kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	settings, err := BootIn{AppID: "s0a1b2c3d-0000-4000-8000-000000000001", User: Attributes{"user_id": "u-1"}}.settings(env)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Attributes{"user_id": "u-1", "plan": "solo", "tags": []any{"b"}}, settings.User); diff != "" {
		t.Errorf("the boot that identifies (-want +got):\n%s", diff)
	}
	batch{identified: true}.keep(env)
	if env.Profile.Kept != nil {
		t.Errorf("still kept: %v", env.Profile.Kept)
	}
}

// TestOver never mixes two people.
func TestOver(t *testing.T) {
	t.Parallel()
	ann := Attributes{"user_id": "ann", "plan": "solo"}
	if diff := cmp.Diff(Attributes{"user_id": "bob"}, ann.over(Attributes{"user_id": "bob"})); diff != "" {
		t.Errorf("two people (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Attributes{"user_id": "ann", "plan": "team"}, ann.over(Attributes{"plan": "team"})); diff != "" {
		t.Errorf("one person (-want +got):\n%s", diff)
	}
}

// TestHalfSurrogate reads a JSON escape that is half a character: the text that
// goes on has the replacement character in its place, and nothing breaks.
func TestHalfSurrogate(t *testing.T) {
	t.Parallel()
	var in UpdateIn
	if err := json.Unmarshal([]byte(`{"a":"x\ud800y","b":"\udc00"}`), &in); err != nil {
		t.Fatal(err)
	}
	b, err := gather(testEnv(event.Visitor{UserID: "u"}, "c", time.Time{}), in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Attributes{"a": "x\uFFFDy", "b": "\uFFFD"}, b.attributes); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}
