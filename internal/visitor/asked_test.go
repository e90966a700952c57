package visitor_test

import (
	"context"
	"testing"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// A page that answers as fast as it is asked, and tells what came of it, floods
// nobody: that does not use up what it may send, and what nobody asked for still
// does.
func TestAnswersAreNoFlood(t *testing.T) {
	t.Parallel()
	r := setup(t, func(o *visitor.Options) { o.Limits.Visitor = 10 })
	p := r.connect(t, hello("life"), func(wire.Call) string { return `{"ok":true,"value":null}` })
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	t.Cleanup(func() { must(t, tab.Close(context.WithoutCancel(t.Context()))) })
	for i := range 3 * wire.FramesBurst {
		if err := tab.Call(t.Context(), "look.page", nil, nil); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		p.say(signal(int64(2*i+1), "widget.opened", "api", "", "null"))
		p.say(signal(int64(2*i+2), "widget.closed", "api", "", "null"))
	}
	if s := r.gateway.Stats(); s.Flooded != 0 || s.Opened != 1 {
		t.Errorf("%d frames were too many, on %d connections", s.Flooded, s.Opened)
	}
	for range 3 * wire.FramesBurst { // Answers to nothing.
		p.say(wire.Answer{T: wire.KindAnswer, ID: "nobody-asked", OK: true, JSON: `{"ok":true,"value":null}`})
	}
	bustest.Until(t, "the flood is seen", func() bool { return r.gateway.Stats().Flooded > 0 })
}
