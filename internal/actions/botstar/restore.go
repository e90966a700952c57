package botstar

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
)

// restoreWait is the most that a restored widget may take.
const restoreWait = 20 * time.Second

// restore makes a new page be as the state says, with one call of the driver.
// The visitor's profile is left alone: what is kept there is the boot's to send.
func restore(ctx context.Context, env actions.Env) error {
	s := env.State
	want := settings{
		AppID: firstOf(s.AppID, env.Site.AppID), Mode: firstOf(s.Mode, env.Site.Mode, modeLivechat),
		User:      identity(env.Visitor).over(s.User),
		Variables: mergeVariables(env.Site.Variables, s.Variables),
		Block:     firstOf(s.Block, env.Site.Block),
	}
	arg := struct {
		Settings settings `json:"settings"`
		Open     bool     `json:"open"`
		WaitMS   int64    `json:"wait_ms"`
	}{want, s.Open, waitMS(ctx, restoreWait)}
	var answer struct {
		bootAnswer
		Open bool `json:"open"`
	}
	if err := env.Do(ctx, "restore", arg, &answer); err != nil {
		disbelieve(env, err)
		return fmt.Errorf("bringing the widget back: %w", err)
	}
	s.AppID, s.Mode, s.User, s.Variables, s.Block = answer.AppID, answer.Mode, want.User, want.Variables, want.Block
	s.Booted, s.Open = true, answer.Open
	return nil
}
