package visitor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/bus/bustest"
	"github.com/parley-chat/parley/internal/visitor"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

// G1: connections are cut in the middle of commands: before the page heard the
// call, before it did it, before its answer left, and after. Each command is done
// once, and each call ends well.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	cuts := bustest.Count(24, 1000)
	r := setup(t)
	p := r.connect(t, hello("one"))
	tab, err := visitor.Open(t.Context(), r.bus, "shop", p.welcome.Session)
	must(t, err)
	defer func() { must(t, tab.Close(context.WithoutCancel(t.Context()))) }()
	done := map[string]int{} // by key
	for i := range cuts {
		ended := make(chan error, 1)
		key := fmt.Sprintf("k-%d", i)
		if i%4 == 0 { // Nobody is there when it is asked.
			p.leave()
		}
		go func() { ended <- tab.Call(t.Context(), "open", map[string]any{"key": key}, nil) }()
		if i%4 != 0 {
			if !p.wait(wire.KindCall, 1) {
				t.Fatalf("cut %d: no call came", i)
			}
			var c wire.Call
			must(t, json.Unmarshal(p.all(wire.KindCall)[0], &c))
			if i%4 > 1 {
				done[c.Key]++
			}
			if i%4 > 2 {
				p.say(wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true, JSON: `{"ok":true,"value":null}`})
			}
			p.leave()
		}
		p = r.connect(t, hello("one", func(h *wire.Hello) { h.Epoch = p.welcome.Epoch }))
		finish(t, p, ended, done)
		p = r.connect(t, hello("one", func(h *wire.Hello) { h.Epoch = p.welcome.Epoch })) // With nothing heard.
	}
	for key, n := range done {
		if n != 1 {
			t.Errorf("%s was done %d times", key, n)
		}
	}
	if s := r.gateway.Stats(); len(done) != cuts || s.Returned < int64(2*cuts) {
		t.Errorf("%d commands were done, want %d: %+v", len(done), cuts, s)
	}
	t.Logf("%d cut connections: %d commands done once, %d calls, %d answers", cuts, len(done), r.gateway.Stats().Calls, r.gateway.Stats().Answers)
}

// finish answers calls until the one that was asked has ended. What was done
// before is not done again.
func finish(t *testing.T, p *page, ended <-chan error, done map[string]int) {
	t.Helper()
	over := time.After(patience)
	for heard := 0; ; {
		p.mu.Lock()
		more := p.more
		p.mu.Unlock()
		calls := p.all(wire.KindCall)
		for ; heard < len(calls); heard++ {
			var c wire.Call
			must(t, json.Unmarshal(calls[heard], &c))
			again := done[c.Key] > 0
			if !again {
				done[c.Key]++
			}
			p.say(wire.Answer{T: wire.KindAnswer, ID: c.ID, Seq: c.Seq, OK: true, JSON: `{"ok":true,"value":null}`, Again: again})
		}
		select {
		case err := <-ended:
			must(t, err)
			return
		case <-more:
		case <-over:
			t.Fatalf("the call did not end; %d came", heard)
		}
	}
}
