//go:build browser

package visitor_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/actions/actionstest"
	"github.com/parley-chat/parley/internal/actions/botstar"
	"github.com/parley-chat/parley/internal/event"
)

// A visitor's clock that is wrong by hours, and jumps, changes neither how long
// a command may take nor when something is said to have happened.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-3 * time.Hour, 26 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.head = `<script>{ const real = Date.now; let calls = 0; Date.now = () => real() + (` +
				strconv.FormatInt(skew.Milliseconds(), 10) + `) * (1 + calls++ % 3); }</script>`
			began := time.Now()
			g := w.visit(t, "guest")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			env := g.env(event.Visitor{UserID: "guest"})
			for i, action := range []string{"botstar.widget.boot", "botstar.widget.open"} {
				c, err := actionstest.Do(ctx, env, botstar.Provider(), action, strconv.Itoa(i), map[string]any{})
				must(t, err)
				if c.Proof.Verdict != event.Confirmed {
					t.Errorf("%s is %s", action, c.Proof.Verdict)
				}
			}
			fact := w.history("evt.botstar.widget.opened.shop."+g.name, 1)[0]
			var opened event.WidgetOpened
			must(t, json.Unmarshal(fact.Data, &opened))
			for name, at := range map[string]time.Time{"the event": fact.Time, "the fact": opened.At} {
				if at.Before(began.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute)) {
					t.Errorf("%s happened at %s, and it is %s", name, at, time.Now())
				}
			}
		})
	}
}
