package botstar

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/actions"
)

// The two clocks, second by second around each of their ends.
func TestNeedsHuman(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	both := actions.TakeoverClocks{Idle: 10 * time.Minute, Session: time.Hour}
	at := func(d time.Duration) *time.Time { return new(asked.Add(d)) }
	const tick = time.Nanosecond
	tests := []struct {
		name   string
		told   actions.Takeover
		clocks actions.TakeoverClocks
		after  time.Duration
		want   NeedState
	}{
		{"nothing told", actions.Takeover{}, both, 0, NeedState{nil, fromUnknown, whyNothing, nil, nil}},
		{"the bot was seen, and nobody asked", actions.Takeover{BotAt: asked}, both, 0, NeedState{nil, fromUnknown, whyNothing, nil, nil}},
		{"just now", actions.Takeover{RequestedAt: asked}, both, 0, NeedState{new(true), fromRecord, whyRequested, at(0), at(10 * time.Minute)}},
		{"before it is asked, by a clock that differs", actions.Takeover{RequestedAt: asked}, both, -time.Second, NeedState{new(true), fromRecord, whyRequested, at(0), at(10 * time.Minute)}},
		{"before the idle clock ends", actions.Takeover{RequestedAt: asked}, both, 10*time.Minute - tick, NeedState{new(true), fromRecord, whyRequested, at(0), at(10 * time.Minute)}},
		{"when the idle clock ends", actions.Takeover{RequestedAt: asked}, both, 10 * time.Minute, NeedState{nil, fromUnknown, whyIdle, at(10 * time.Minute), at(time.Hour)}},
		{"before the session expires", actions.Takeover{RequestedAt: asked}, both, time.Hour - tick, NeedState{nil, fromUnknown, whyIdle, at(10 * time.Minute), at(time.Hour)}},
		{"when the session expires", actions.Takeover{RequestedAt: asked}, both, time.Hour, NeedState{new(false), fromRecord, whyExpired, at(time.Hour), nil}},
		{"a session shorter than the idle clock", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{Idle: time.Hour, Session: time.Minute}, time.Second, NeedState{new(true), fromRecord, whyRequested, at(0), at(time.Minute)}},
		{"and when that expires", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{Idle: time.Hour, Session: time.Minute}, time.Minute, NeedState{new(false), fromRecord, whyExpired, at(time.Minute), nil}},
		{"the idle clock alone", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{Idle: time.Minute}, 90 * 24 * time.Hour, NeedState{nil, fromUnknown, whyIdle, at(time.Minute), nil}},
		{"the session alone", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{Session: time.Minute}, 0, NeedState{new(true), fromRecord, whyRequested, at(0), at(time.Minute)}},
		{"no clock", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{}, 24*time.Hour - tick, NeedState{new(true), fromRecord, whyRequested, at(0), at(24 * time.Hour)}},
		{"no clock, a day later", actions.Takeover{RequestedAt: asked}, actions.TakeoverClocks{}, 24 * time.Hour, NeedState{nil, fromUnknown, whyNoClock, at(0), nil}},
		{"the bot was seen after", actions.Takeover{RequestedAt: asked, BotAt: asked.Add(tick)}, both, time.Minute, NeedState{new(false), fromRecord, whyBot, at(tick), nil}},
		{"the bot was seen in the same moment", actions.Takeover{RequestedAt: asked, BotAt: asked}, both, time.Minute, NeedState{new(true), fromRecord, whyRequested, at(0), at(10 * time.Minute)}},
		{"the bot was seen before", actions.Takeover{RequestedAt: asked, BotAt: asked.Add(-time.Hour)}, both, time.Minute, NeedState{new(true), fromRecord, whyRequested, at(0), at(10 * time.Minute)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := needsHuman(test.told, test.clocks, asked.Add(test.after))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (got.Value == nil) != (got.Origin == fromUnknown) {
				t.Errorf("%+v is known and unknown", got)
			}
		})
	}
}

// stateOf runs get_state of a session that sleeps, so that no page is needed.
func stateOf(t *testing.T, env actions.Env) (string, error) {
	t.Helper()
	env.State, env.Profile = &actions.State{}, &actions.Profile{}
	spec := getState()
	out, err := spec.Run(t.Context(), env, json.RawMessage(`{"include":["takeover"]}`))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(out.Output)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func TestGetStateTellsOfTakeovers(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	clocks := &actions.TakeoverClocks{Idle: 10 * time.Minute}
	times := 0
	told := func(context.Context) (actions.Takeover, error) {
		times++
		return actions.Takeover{RequestedAt: asked}, nil
	}
	env := actions.Env{Site: actions.Site{Takeover: clocks}, Takeover: told, Now: func() time.Time { return asked.Add(time.Minute) }}
	const rest = `"subscriptions":{"value":[],"origin":"record"}}`
	got, err := stateOf(t, env)
	want := `{"state":"hibernated","takeover":{"human":{"value":true,"origin":"record"},"needs_human":{"value":true,"origin":"record","reason":"requested",` +
		`"since":"2026-11-25T09:00:00Z","until":"2026-11-25T09:10:00Z"}},` + rest
	if got != want || err != nil {
		t.Errorf("the state is\n%s, %v, want\n%s", got, err, want)
	}
	env.Site.Takeover = nil
	got, err = stateOf(t, env)
	want = `{"state":"hibernated","takeover":{"human":{"value":null,"origin":"unknown"},"needs_human":{"value":null,"origin":"unknown","reason":"no_webhook"}},` + rest
	if got != want || err != nil || times != 1 {
		t.Errorf("without webhooks the state is\n%s, %v, and it was asked %d times; want\n%s", got, err, times, want)
	}
	away := errors.New("the bus is away")
	env.Site.Takeover, env.Takeover = clocks, func(context.Context) (actions.Takeover, error) { return actions.Takeover{}, away }
	if _, err := stateOf(t, env); !errors.Is(err, away) {
		t.Errorf("the error is %v", err)
	}
}
