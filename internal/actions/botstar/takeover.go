package botstar

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
)

// Why a visitor needs a human, or does not, or nobody knows.
const (
	whyNoWebhook = "no_webhook"      // unknown: nothing on this site tells of takeovers
	whyNothing   = "nothing_told"    // unknown: no webhook has told of a request by this visitor
	whyRequested = "requested"       // true: the visitor has asked for a human, and no clock has run out
	whyBot       = "bot_at_work"     // false: the bot has been seen at work since
	whyIdle      = "idle_clock"      // unknown: the block hands an idle conversation back, and may have
	whyExpired   = "session_expired" // false: the takeover has expired
	whyNoClock   = "no_clock"        // unknown: the request is old, and nobody has told of the clocks
)

// doubtAfter is how long a request counts where no clock is known.
const doubtAfter = 24 * time.Hour

// NeedState says whether the visitor needs a human.
type NeedState struct {
	// Value is null when nobody knows.
	Value  *bool  `json:"value"`
	Origin string `json:"origin" jsonschema:"enum=record,enum=unknown"`
	// Reason says why. no_webhook: nothing on this site tells of takeovers.
	// nothing_told: no webhook has told of a request. requested: the visitor has
	// asked for a human. bot_at_work: the bot was seen at work after that.
	// idle_clock: the conversation may have been handed back, if it was idle.
	// session_expired: the takeover has expired. no_clock: the request is old, and
	// the clocks are not in the configuration.
	Reason string `json:"reason" jsonschema:"enum=no_webhook,enum=nothing_told,enum=requested,enum=bot_at_work,enum=idle_clock,enum=session_expired,enum=no_clock"`
	// Since is when what the reason tells of happened.
	Since *time.Time `json:"since,omitempty"`
	// Until is when a clock runs out, which may change the answer.
	Until *time.Time `json:"until,omitempty"`
}

// needsHuman judges what the webhooks have told. The clocks run from the request:
// what people write to each other is told to nobody, so a conversation that goes
// on may outlast them.
func needsHuman(t actions.Takeover, clocks actions.TakeoverClocks, now time.Time) NeedState {
	if t.RequestedAt.IsZero() {
		return NeedState{nil, fromUnknown, whyNothing, nil, nil}
	}
	since := t.RequestedAt.UTC()
	if t.BotAt.After(since) {
		return NeedState{new(false), fromRecord, whyBot, new(t.BotAt.UTC()), nil}
	}
	idle, expires := since.Add(clocks.Idle), since.Add(clocks.Session)
	hasIdle, hasSession := clocks.Idle > 0, clocks.Session > 0
	switch {
	case hasSession && !now.Before(expires):
		return NeedState{new(false), fromRecord, whyExpired, new(expires), nil}
	case hasIdle && !now.Before(idle):
		state := NeedState{nil, fromUnknown, whyIdle, new(idle), nil}
		if hasSession {
			state.Until = new(expires)
		}
		return state
	case !hasIdle && !hasSession && !now.Before(since.Add(doubtAfter)):
		return NeedState{nil, fromUnknown, whyNoClock, &since, nil}
	}
	until := expires
	switch {
	case hasIdle && (!hasSession || idle.Before(expires)):
		until = idle
	case !hasSession:
		until = since.Add(doubtAfter)
	}
	return NeedState{new(true), fromRecord, whyRequested, &since, &until}
}

// readTakeover asks what the webhooks have told. It asks nobody where there are
// none.
func readTakeover(ctx context.Context, env actions.Env) (*TakeoverState, error) {
	need := NeedState{nil, fromUnknown, whyNoWebhook, nil, nil}
	if env.Site.Takeover != nil && env.Takeover != nil {
		told, err := env.Takeover(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking who talks to the visitor: %w", err)
		}
		need = needsHuman(told, *env.Site.Takeover, env.Now())
	}
	return &TakeoverState{Human: Flag{need.Value, need.Origin}, NeedsHuman: &need}, nil
}
