package actions

import (
	"context"
	"encoding/json"
)

// Detour is another way to an action's effect, for when there is no way to a
// page.
type Detour struct {
	// Action names the action that does the same, for the steps of the result.
	Action string
	// Open reports whether the way can be taken: everything is known that it
	// needs, and it can do all of what was asked.
	Open func(ctx context.Context, env Env, params json.RawMessage) bool
	// Run takes it. The outcome is one of the asked action. env.Page is nil.
	Run func(ctx context.Context, env Env, params json.RawMessage) (Outcome, Proof, error)
}
