package worker

import (
	"testing"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/fault"
)

// A page that is loaded again between two steps is no widget without a window:
// the command is tried again, and not refused.
func TestUnmet(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		need  actions.Fact
		state actions.State
		want  fault.Reason
	}{
		"no window":      {actions.Windowed, actions.State{Booted: true, Mode: "inline"}, fault.ModeNotSupported},
		"the page went":  {actions.Windowed, actions.State{Mode: "livechat"}, fault.PageNavigated},
		"no webview":     {actions.WebviewOpen, actions.State{}, fault.WebviewNotOpen},
		"not booted yet": {actions.Booted, actions.State{}, fault.NotBooted},
	} {
		if got := fault.From(unmet(tt.need, &tt.state)); got == nil || got.Reason != tt.want {
			t.Errorf("%s: %v, want %s", name, got, tt.want)
		}
	}
	if !fault.Retryable(unmet(actions.Windowed, &actions.State{})) {
		t.Error("a page that went is not tried again")
	}
}
