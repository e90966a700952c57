// Package actionstest holds the suite that every provider's actions pass, on
// every kind of page: each action twice, a caller that gives up, a slow vendor,
// long and foreign texts, and texts that try to run as code.
package actionstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// Bench is what a provider's actions are tried on. The suite opens sessions and
// never closes them: Open does, at the end of its test.
type Bench struct {
	Provider actions.Provider
	// Open opens the session of a visitor whom nobody has seen before, with the
	// driver that Watched returns. The environment is the session's: the suite
	// gives each command its own key.
	Open func(t *testing.T, v event.Visitor) actions.Env
	// Further returns the other pages that the session has open now.
	Further func(env actions.Env) []actions.Page
	// Slow holds the vendor back until the test ends.
	Slow func(t *testing.T, by time.Duration)
	// Steps are all actions of the provider, in an order in which each can run.
	Steps []Step
	// Slots are all parameters that take free text.
	Slots []Slot
}

// Step is one action with parameters that succeed.
type Step struct {
	Action string
	Params any
}

// Slot is a parameter, or several, that takes free text.
type Slot struct {
	Action, Parameter string
	// Batch is how many texts one command takes. 0 is one.
	Batch int
	// Params puts the texts in: Batch of them, or the last few.
	Params func(texts []string) any
	// Before are actions that must have run in the session.
	Before []Step
	// Refused says that the action may refuse the text, with these reasons.
	Refused []fault.Reason
	// Arrived checks that the texts reached the vendor unchanged, or came back so
	// in the output. Nil means that they go nowhere.
	Arrived func(t *testing.T, env actions.Env, texts []string, output json.RawMessage)
}

// Watched returns the driver with one function more, which counts how often a
// hostile text ran in the page.
func Watched(d actions.Driver) actions.Driver {
	d.Main = "(function (rt) {\n  const made = (" + strings.TrimRight(d.Main, "; \r\n\t") + ")(rt);\n" +
		"  return Object.assign({}, made, { canary: () => ({\n" +
		"    ran: globalThis.__canary || 0,\n    polluted: ({}).polluted !== undefined || Object.keys(Object.prototype).length > 0,\n  }) });\n})"
	return d
}

// Run runs the suite.
func Run(t *testing.T, b Bench) {
	t.Helper()
	b.check(t)
	t.Run("twice", func(t *testing.T) { t.Parallel(); b.twice(t) })
	t.Run("abandoned", func(t *testing.T) { t.Parallel(); b.abandoned(t) })
	t.Run("fence", func(t *testing.T) { t.Parallel(); b.fence(t) })
	t.Run("texts", func(t *testing.T) {
		t.Parallel()
		b.fill(t, append(Scripts(), Long()))
	})
	t.Run("hostile", func(t *testing.T) {
		t.Parallel()
		b.fill(t, Hostile())
	})
}

// check makes sure that the bench tries every action but those of a REST API,
// which have no page and are tested on their own.
func (b Bench) check(t *testing.T) {
	t.Helper()
	tried := map[string]bool{}
	for _, step := range b.Steps {
		tried[step.Action] = true
	}
	for _, spec := range b.Provider.Actions {
		if !tried[spec.Name] && spec.Plane != actions.PlaneREST {
			t.Errorf("no step tries %s", spec.Name)
		}
	}
}

// Command is one command's way through an action.
type Command struct {
	Outcome actions.Outcome
	Proof   actions.Proof
	// Output is the outcome's output as it would travel.
	Output json.RawMessage
}

// Do runs an action and its verification, as a worker would: the key is the
// command's.
func Do(ctx context.Context, env actions.Env, p actions.Provider, action, key string, params any) (Command, error) {
	spec, raw, err := find(p, action, params)
	if err != nil {
		return Command{}, err
	}
	env.Key, env.CommandID = key, key
	var c Command
	if c.Outcome, err = spec.Run(ctx, env, raw); err != nil {
		return c, fmt.Errorf("running %s: %w", action, err)
	}
	if c.Output, err = json.Marshal(c.Outcome.Output); err != nil {
		return c, fmt.Errorf("encoding the output of %s: %w", action, err)
	}
	if spec.Verify == nil {
		return c, nil
	}
	if c.Proof, err = spec.Verify(ctx, env, raw, c.Outcome); err != nil {
		return c, fmt.Errorf("verifying %s: %w", action, err)
	}
	return c, nil
}

func find(p actions.Provider, action string, params any) (actions.Spec, json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return actions.Spec{}, nil, fmt.Errorf("encoding the parameters of %s: %w", action, err)
	}
	if text, ok := params.(json.RawMessage); ok {
		raw = text
	}
	for _, spec := range p.Actions {
		if spec.Name == action {
			return spec, raw, nil
		}
	}
	return actions.Spec{}, nil, fault.New(fault.UnknownAction, "no action is called %q", action)
}

// do runs an action in the session as it is now: a webview may have been opened
// since the environment was made.
func (b Bench) do(ctx context.Context, env actions.Env, action, key string, params any) (Command, error) {
	if further := b.Further(env); len(further) > 0 {
		env.Webview = further[0]
	}
	return Do(ctx, env, b.Provider, action, key, params)
}

// twice runs every action, then the same command once more, then another
// command with the same parameters.
func (b Bench) twice(t *testing.T) {
	t.Helper()
	env := b.Open(t, event.Visitor{UserID: "twice"})
	for i, step := range b.Steps {
		spec, _, err := find(b.Provider, step.Action, step.Params)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("twice-%d", i)
		first := b.must(t, env, key, step)
		if spec.Idempotent {
			again := b.must(t, env, key, step)
			if spec.Scope == event.ClassWrite && string(again.Output) != string(first.Output) {
				t.Errorf("%s repeated answers %s, the first time %s", step.Action, again.Output, first.Output)
			}
		}
		b.must(t, env, key+"-other", step)
	}
}

// must runs the step and wants it done, and not contradicted.
func (b Bench) must(t *testing.T, env actions.Env, key string, step Step) Command {
	t.Helper()
	c, err := b.do(t.Context(), env, step.Action, key, step.Params)
	if err != nil {
		t.Fatal(err)
	}
	if c.Proof.Verdict == event.Contradicted || c.Proof.Verdict == event.Unconfirmed {
		t.Errorf("%s is %s: %+v", step.Action, c.Proof.Verdict, c.Proof.Evidence)
	}
	return c
}

// abandoned gives up a command while a slow vendor keeps it waiting. The next
// command need not wait for what nobody waits for, and works.
func (b Bench) abandoned(t *testing.T) {
	t.Helper()
	boot := b.Steps[0]
	env := b.Open(t, event.Visitor{UserID: "abandoned"})
	const slow = 700 * time.Millisecond
	b.Slow(t, slow)
	short, cancel := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(slow/7, func() { cancel(errors.New("the caller has gone")) })
	defer timer.Stop()
	start := time.Now()
	if _, err := Do(short, env, b.Provider, boot.Action, "abandoned-1", boot.Params); err == nil {
		t.Fatalf("%s did not notice that its caller has gone", boot.Action)
	}
	if took := time.Since(start); took > slow {
		t.Errorf("the abandoned command came back after %s", took)
	}
	if _, err := Do(t.Context(), env, b.Provider, boot.Action, "abandoned-2", boot.Params); err != nil {
		t.Errorf("after an abandoned command: %v", err)
	}
	// A deadline that is too short gives the page's own reason, in time.
	late := b.Open(t, event.Visitor{UserID: "late"})
	ctx, stop := context.WithTimeoutCause(t.Context(), slow/2, errors.New("the test's deadline"))
	defer stop()
	_, err := Do(ctx, late, b.Provider, boot.Action, "late-1", boot.Params)
	if code := fault.CodeOf(err); code != fault.Unavailable && code != fault.Expired {
		t.Errorf("a vendor that is too slow gives %v (%s)", err, code)
	}
	if _, err := Do(t.Context(), late, b.Provider, boot.Action, "late-2", boot.Params); err != nil {
		t.Errorf("after a deadline: %v", err)
	}
}

// fence lets a stale owner knock.
func (b Bench) fence(t *testing.T) {
	t.Helper()
	boot := b.Steps[0]
	env := b.Open(t, event.Visitor{UserID: "fence"})
	env.Fence = 7
	b.must(t, env, "fence-1", boot)
	env.Fence = 6
	_, err := Do(t.Context(), env, b.Provider, boot.Action, "fence-2", boot.Params)
	if fault.From(err) == nil || fault.From(err).Reason != fault.StaleFence {
		t.Errorf("a stale owner gets %v", err)
	}
	env.Fence = 8
	b.must(t, env, "fence-3", boot)
}

// fill puts every text into every slot: none may run, and each arrives as it
// was.
func (b Bench) fill(t *testing.T, all []string) {
	t.Helper()
	for _, slot := range b.Slots {
		t.Run(slot.Action+"/"+slot.Parameter, func(t *testing.T) {
			env := b.Open(t, event.Visitor{UserID: "fill " + t.Name()})
			for i, step := range slot.Before {
				b.must(t, env, fmt.Sprintf("before-%d", i), step)
			}
			i := 0
			for texts := range slices.Chunk(all, max(slot.Batch, 1)) {
				b.put(t, env, slot, fmt.Sprintf("text-%d", i), texts)
				i++
			}
		})
	}
}

func (b Bench) put(t *testing.T, env actions.Env, slot Slot, key string, texts []string) {
	t.Helper()
	c, err := b.do(t.Context(), env, slot.Action, key, slot.Params(texts))
	switch {
	case err != nil && !refused(err, slot.Refused):
		t.Errorf("%q in %s: %v", texts, slot.Parameter, err)
		return
	case err == nil && c.Proof.Verdict == event.Contradicted:
		t.Errorf("%q in %s is contradicted: %+v", texts, slot.Parameter, c.Proof.Evidence)
	case err == nil && slot.Arrived != nil:
		slot.Arrived(t, env, texts, c.Output)
	}
	for _, page := range append([]actions.Page{env.Page}, b.Further(env)...) {
		var canary struct {
			Ran      int  `json:"ran"`
			Polluted bool `json:"polluted"`
		}
		if err := env.On(page).Look(t.Context(), "canary", nil, &canary); err != nil {
			t.Fatalf("looking for the canary: %v", err)
		}
		if canary.Ran != 0 || canary.Polluted {
			t.Fatalf("%q in %s ran %d time(s), prototype changed: %t", texts, slot.Parameter, canary.Ran, canary.Polluted)
		}
	}
}

func refused(err error, reasons []fault.Reason) bool {
	return slices.Contains(reasons, fault.From(err).Reason)
}
