package botstar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// UpdateIn is the input of botstar.widget.update: a visitor's attributes, flat.
type UpdateIn map[string]any

// UpdateOut is the output of botstar.widget.update.
type UpdateOut struct {
	// Applied is true when the attributes were handed to the widget now.
	Applied bool `json:"applied"`
	// Throttled is true when they wait for BotStar's budget.
	Throttled bool `json:"throttled"`
	// BudgetLeft is how many updates may still be sent now.
	BudgetLeft int `json:"budget_left" jsonschema:"minimum=0,maximum=20"`
	// Persisted is false when BotStar would forget the attributes, because the
	// visitor is anonymous. Parley keeps them for the day of identification.
	Persisted bool `json:"persisted"`
	// Attributes are the names of what was sent or waits, sorted.
	Attributes []string `json:"attributes"`
	// QueuedUntil is when the attributes will be sent, if they wait.
	QueuedUntil *time.Time `json:"queued_until,omitempty"`
}

// flushKey is the parameter of the run that sends what waits. Only Parley
// itself uses it.
const flushKey = "parley_flush"

// updateAction names the action, for its budget.
const updateAction = "botstar.widget.update"

const updateInput = `{
  "type": "object",
  "description": "The visitor's attributes, flat. Tags replace the tags that were there; everything else is merged.",
  "minProperties": 1,
  "properties": {` + attributeProperties + `,
    "parley_flush": {"type": "boolean", "description": "Sends what waits for the budget. Parley itself schedules this."}
  },` + attributeRest + `
}`

const adviceAnonymous = "the visitor is anonymous: BotStar keeps these attributes on this browser only. " +
	"Parley keeps them, and sends them again when the visitor is identified by user_id"

func update() actions.Spec {
	spec := actions.Spec{
		Name:  updateAction,
		Title: "Update user details",
		Description: "Hands attributes of the visitor to BotStar. Tags replace, everything else is merged. " +
			"BotStar takes 20 updates in 30 minutes: beyond that, Parley puts the waiting attributes together and sends them " +
			"as soon as the budget allows; the result is then queued, with the time, and an event tells when they were sent. " +
			"The attributes of an anonymous visitor are kept, and sent when the visitor is identified. When no page can be reached, " +
			"and BotStar's id of the visitor is known, botstar.users.update takes its place where that can change all of it.",
		Aliases: names("Update user details", hubName("Livechat update"), slug("BOTSTAR_LIVECHAT_UPDATE", "snippet")),
		Scope:   event.ClassWrite, Plane: actions.PlanePage,
		Needs: []actions.Fact{actions.Booted}, Idempotent: true,
		Budget:  &actions.Budget{Calls: updateCalls, Window: updateWindow},
		Timeout: bounds(10*time.Second, 60*time.Second),
		Verification: "Nothing on the page shows an update, and BotStar answers nothing: the verdict is unverifiable, " +
			"with the record of what was sent. Where the site has a token of BotStar's REST API, and BotStar's id of the visitor is known, " +
			"the user is read back.",
		Reasons:     pageReasons(fault.NotBooted, fault.NoAttributes, fault.SchemaViolation, fault.WidgetFailed),
		InputSchema: json.RawMessage(updateInput),
		Snippet:     updateSnippet,
		Detour:      updateDetour(),
	}
	return actions.New(spec, runUpdate, verifyUpdate)
}

// batch is what one run has to send: its own attributes, those that wait, and
// those that were kept while the visitor was anonymous.
type batch struct {
	attributes Attributes
	commands   []string
	flushed    bool // some of it had waited
	flush      bool // this run is the scheduled one
	identified bool
}

func runUpdate(ctx context.Context, env actions.Env, in UpdateIn) (actions.Done[UpdateOut], error) {
	b, err := gather(env, in)
	if err != nil {
		return actions.Done[UpdateOut]{}, err
	}
	purse := budget{env.Profile, updateAction}
	now := env.Now().UTC()
	switch {
	case len(b.attributes) == 0: // A flush that came after everything was sent.
		return actions.Done[UpdateOut]{Output: UpdateOut{
			BudgetLeft: purse.left(now), Persisted: b.identified, Attributes: []string{},
		}}, nil
	case purse.left(now) == 0:
		return b.queue(env, purse, now), nil
	}
	return b.send(ctx, env, purse, now)
}

// gather puts together what is to be sent. Later wins: what was kept, what
// waits, what is new.
func gather(env actions.Env, in UpdateIn) (batch, error) {
	fresh, learnt := Attributes{}, false
	b := batch{flushed: len(env.Profile.Pending) > 0, commands: slices.Clone(env.Profile.PendingFrom)}
	for key, value := range in {
		switch key {
		case flushKey:
			b.flush = value == true
		case vendorKey:
			if err := learnID(env, value); err != nil {
				return b, err
			}
			learnt = true
		default:
			fresh[key] = value
		}
	}
	if err := fresh.check("/params"); err != nil {
		return b, err
	}
	if len(fresh) == 0 && !b.flush && !learnt {
		return b, fault.New(fault.NoAttributes, "there is nothing to update").At("/params")
	}
	b.attributes = merge(env.Profile.Pending, fresh)
	b.identified = identified(env, b.attributes)
	if b.identified {
		b.attributes = merge(env.Profile.Kept, b.attributes)
	}
	if len(fresh) > 0 && !slices.Contains(b.commands, env.CommandID) {
		b.commands = append(b.commands, env.CommandID)
	}
	return b, nil
}

// queue lets the batch wait for the budget. The first command that waits asks
// for the flush, and asks again when it is repeated, so that a crash between
// the two does not lose it.
func (b batch) queue(env actions.Env, purse budget, now time.Time) actions.Done[UpdateOut] {
	p := env.Profile
	p.Pending, p.PendingFrom = merge(p.Pending, b.attributes), b.commands
	if p.FlushAt.IsZero() || b.flush {
		p.FlushAt = purse.freeAt(now)
	}
	b.keep(env)
	done := actions.Done[UpdateOut]{
		Output: UpdateOut{
			Throttled: true, Persisted: b.identified, Attributes: b.attributes.names(), QueuedUntil: new(p.FlushAt),
		},
		Queued: true,
		Advice: b.advice(),
	}
	if b.flush || p.PendingFrom[0] == env.CommandID {
		done.Again = &actions.Again{At: p.FlushAt, Params: UpdateIn{flushKey: true}}
	}
	return done
}

// send hands the batch to the widget.
func (b batch) send(ctx context.Context, env actions.Env, purse budget, now time.Time) (actions.Done[UpdateOut], error) {
	arg := struct {
		Attributes Attributes `json:"attributes"`
	}{b.attributes}
	if err := env.Do(ctx, "update", arg, nil); err != nil {
		disbelieve(env, err)
		return actions.Done[UpdateOut]{}, fmt.Errorf("updating the visitor: %w", err)
	}
	purse.spend(now, env.Key)
	done := b.sent(env, purse, now)
	done.Evidence = []event.Evidence{evidence(env, "record", "BotStarApi('update') was called with: "+strings.Join(b.attributes.names(), ", "))}
	return done, nil
}

// sent is what follows from the batch's being on its way.
func (b batch) sent(env actions.Env, purse budget, now time.Time) actions.Done[UpdateOut] {
	p := env.Profile
	p.Pending, p.PendingFrom, p.FlushAt = nil, nil, time.Time{}
	env.State.User = Attributes(env.State.User).over(b.attributes)
	b.keep(env)
	fact := event.UserUpdated{
		Attributes: b.attributes.names(), Persisted: b.identified, Flushed: b.flushed, Commands: b.commands,
	}
	return actions.Done[UpdateOut]{
		Output: UpdateOut{
			Applied: true, BudgetLeft: purse.left(now), Persisted: b.identified, Attributes: b.attributes.names(),
		},
		Advice: b.advice(),
		Notices: []actions.Notice{{Name: event.FactUserUpdated, Data: func(o event.Occurrence) any {
			fact.Occurrence = o
			return fact
		}}},
	}
}

// keep keeps an anonymous visitor's attributes, and lets go of them once they
// are on their way to an identified one.
func (b batch) keep(env actions.Env) {
	if b.identified {
		env.Profile.Kept = nil
		return
	}
	env.Profile.Kept = merge(env.Profile.Kept, b.attributes)
}

func (b batch) advice() string {
	if b.identified {
		return ""
	}
	return adviceAnonymous
}
