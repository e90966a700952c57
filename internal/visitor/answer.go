package visitor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// maxDeadline bounds how long a call may wait for its page.
	maxDeadline = 2 * time.Minute
	// maxSubscriptions bounds what is remembered of a session's subscriptions.
	maxSubscriptions = 100
)

// answer answers a question of the session's owner. The error is
// fault.VisitorAway while the visitor is not here: then asking again makes sense,
// here or elsewhere.
func (g *Gateway) answer(ctx context.Context, site, session string, body []byte) ([]byte, error) {
	var r request
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fault.New(fault.Malformed, "the question cannot be read").Because(err)
	}
	e := g.hub.find(site, session)
	if e == nil {
		return nil, away()
	}
	e.mu.Lock()
	c := e.conn
	if c == nil {
		e.mu.Unlock()
		return nil, away()
	}
	e.know(r.Behind)
	if r.Told {
		e.state.Subscriptions = r.Subscriptions[:min(len(r.Subscriptions), maxSubscriptions)]
	}
	here := e.presence(g.o.Name)
	e.mu.Unlock()
	switch r.Ask {
	case askFind, askTell:
		return json.Marshal(here) //nolint:wrapcheck // Texts can always be written.
	case askStop:
		c.send(wire.Stop{T: wire.KindStop, Reason: "revoked"})
		c.close(closing{wire.CloseToken, "the connection is revoked"})
		return json.Marshal(here) //nolint:wrapcheck // As above.
	case askCall:
		if r.Call != nil && legalID(r.Call.ID) && r.Call.Name != "" && len(r.Call.Name) <= wire.MaxName {
			return g.call(ctx, e, *r.Call)
		}
	}
	return nil, fault.New(fault.Malformed, "there is no question %q", r.Ask)
}

// call has the page run a function, and waits for its answer. The same call
// again joins the one that is under way, or gets the answer of that time.
func (g *Gateway) call(ctx context.Context, e *entry, ask call) ([]byte, error) {
	e.mu.Lock()
	if before, ok := e.answer(ask.ID); ok {
		e.mu.Unlock()
		return json.Marshal(before) //nolint:wrapcheck // Texts can always be written.
	}
	w, under := e.calls[ask.ID]
	if !under {
		if e.conn == nil {
			e.mu.Unlock()
			return nil, away()
		}
		if len(e.calls) >= wire.MaxCalls {
			e.mu.Unlock()
			return nil, fault.New(fault.Overloaded, "the visitor's tab has %d calls under way", wire.MaxCalls)
		}
		w = &waiting{done: make(chan struct{})}
		if e.calls == nil {
			e.calls = map[string]*waiting{}
		}
		e.calls[ask.ID] = w
		g.seen.calls.Add(1)
		frame := wire.Call{T: wire.KindCall, ID: ask.ID, Key: ask.Key, DeadlineMS: ask.DeadlineMS, Name: ask.Name, JSON: string(ask.JSON)}
		if ask.Key != "" {
			frame.Seq = e.number(ask.ID)
		}
		e.conn.send(frame)
	}
	e.mu.Unlock()
	ask.JSON = nil // It is not needed while the page is waited for.
	timer := time.NewTimer(min(time.Duration(ask.DeadlineMS)*time.Millisecond, maxDeadline))
	defer timer.Stop()
	select {
	case <-w.done:
		if w.ok {
			return json.Marshal(w.answer) //nolint:wrapcheck // As above.
		}
		return nil, away()
	case <-timer.C:
		e.mu.Lock()
		if e.calls[ask.ID] == w {
			delete(e.calls, ask.ID)
		}
		e.mu.Unlock()
		return nil, fault.New(fault.DeadlineExceeded, "the visitor's tab did not answer within %d ms", ask.DeadlineMS)
	case <-ctx.Done():
		return nil, away()
	}
}

// away says that the visitor has just gone from here, and may be elsewhere: unlike
// the bus's own word that nobody has him, it has a field.
func away() error {
	return fault.New(fault.VisitorAway, "the visitor's tab is not connected").At(hereOnly)
}

const hereOnly = "/gateway"
