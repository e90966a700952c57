package visitor

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/visitor/wire"
)

const (
	// maxDrift is how far a page's clock may be from ours.
	maxDrift = time.Minute
	// The pauses between attempts to store something while the bus is away.
	firstPause = 50 * time.Millisecond
	longPause  = 2 * time.Second
	// ackEvery is how many are stored before the page hears of it, at most.
	ackEvery = 16
)

var signalName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,3}$`)

// item is one signal or track of a page.
type item struct {
	n      int64
	signal *wire.Signal
	track  *wire.Track
}

// parcel is what is to be stored of an item, in its turn. One without anything
// only moves the page's acknowledgement on.
type parcel struct {
	life     *life
	n        int64
	subject  string
	envelope *event.Envelope
	track    *Track
}

// take takes an item of the document, once. The session's owner hears a signal
// at once, and its fact is stored in its turn. It is false when too much waits.
func (g *Gateway) take(e *entry, document, address string, it item) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxQueued {
		return false
	}
	l := e.life(document)
	if it.n <= l.taken {
		if it.n <= l.stored {
			e.acknowledge(l)
		}
		return true // It came before.
	}
	l.taken = it.n
	p := parcel{life: l, n: it.n}
	if it.signal != nil {
		g.seen.signals.Add(1)
		g.digest(e, &p, address, it.signal.JSON)
	} else {
		g.seen.tracks.Add(1)
		g.track(e, &p, it.track)
	}
	e.queue = append(e.queue, p)
	if !e.storing {
		e.storing = true
		g.work.Go(func() { g.store(e) })
	}
	return true
}

// digest lets the state take note of the signal, and makes its fact, if there is
// one. What does not look like a signal is dropped: it is page data.
func (g *Gateway) digest(e *entry, p *parcel, address, text string) {
	signal, ok := readSignal(text)
	if !ok {
		g.seen.dropped.Add(1)
		return
	}
	if err := g.tabs.Say(e.site.Name, e.session, []byte(text)); err != nil {
		g.log.LogAttrs(g.life, slog.LevelDebug, "a session does not hear its tab", slog.Any("err", err))
	}
	if e.site.Provider.Digest == nil {
		return
	}
	by := e.cause(signal.Key)
	if by == (cause{}) && signal.Cause == string(event.CauseAPI) {
		// No command of ours: somebody else has called the vendor's functions.
		signal.Cause = string(event.CauseVisitor)
	}
	notice, publish := e.site.Provider.Digest(&e.state, signal)
	if !publish {
		return
	}
	if err := g.fact(e, p, notice, signal, by, address); err != nil {
		g.seen.dropped.Add(1)
		g.log.LogAttrs(g.life, slog.LevelError, "making a fact", slog.String("session", e.session), slog.Any("err", err))
	}
}

// fact makes the fact of a signal. Its id follows from the signal's number, so
// that the same signal again is the same fact.
func (g *Gateway) fact(e *entry, p *parcel, n actions.Notice, signal actions.Signal, by cause, address string) error {
	site, provider, at := e.site.Name, e.site.Provider.Name, g.happened(signal.AtMS)
	if signal.Cause != string(event.CauseAPI) {
		by = cause{}
	}
	data := n.Data(event.Occurrence{
		Site: site, Session: e.session, Provider: provider, At: at,
		Cause: event.Cause(signal.Cause), CommandID: by.ID, Page: bare(address),
	})
	made, err := event.New(Source, event.FactType(provider, n.Name), site+"/"+e.session, data)
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	made.ID = event.DerivedID("visitor", site, e.session, p.life.name, strconv.FormatInt(p.n, 10))
	made.Time = at
	for name, value := range map[string]string{
		event.ExtPartitionKey: e.session, event.ExtCausationID: by.ID, event.ExtCorrelationID: by.Correlation, event.ExtTraceParent: by.Trace,
	} {
		if value != "" {
			made.Extensions[name] = value
		}
	}
	p.subject, p.envelope = event.FactSubject(provider, n.Name, site, e.session), &made
	return nil
}

// cause returns the command of a signal's key, which is the effect key with the
// function's name behind it. The caller holds the lock.
func (e *entry) cause(key string) cause {
	key, _, _ = strings.Cut(key, "/")
	for i := len(e.causes) - 1; i >= 0 && key != ""; i-- {
		if e.causes[i].Key == key {
			return e.causes[i]
		}
	}
	return cause{}
}

// happened returns when something happened: by the page's clock, unless that is
// far from ours.
func (g *Gateway) happened(atMS float64) time.Time {
	now := g.o.Now()
	if math.Abs(atMS) < 1e15 {
		page := time.UnixMicro(int64(atMS * 1000))
		if d := now.Sub(page); d < maxDrift && d > -maxDrift {
			return page.UTC()
		}
	}
	return now.UTC()
}

// store stores what waits, in order, until nothing does or the gateway ends.
func (g *Gateway) store(e *entry) {
	for unheard := 0; ; unheard++ {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.queue, e.storing = nil, false
			e.mu.Unlock()
			return
		}
		p := e.queue[0]
		e.mu.Unlock()
		if !g.deliver(p) {
			return // The page sends it again, to another gateway.
		}
		e.mu.Lock()
		e.queue = e.queue[1:]
		p.life.stored = p.n
		if len(e.queue) == 0 || unheard%ackEvery == ackEvery-1 {
			e.acknowledge(p.life)
		}
		e.mu.Unlock()
	}
}

// deliver stores the parcel, however long the bus is away. It is false when the
// gateway ends.
func (g *Gateway) deliver(p parcel) bool {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := g.put(p)
		switch {
		case err == nil:
			return true
		case g.life.Err() != nil:
			return false
		case !fault.Retryable(err) && fault.CodeOf(err) != fault.Expired:
			g.seen.dropped.Add(1)
			g.log.LogAttrs(g.life, slog.LevelWarn, "what a page said cannot be stored", slog.String("subject", p.subject), slog.Any("err", err))
			return true // It will never be taken: do not hold up the others.
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-g.life.Done():
			timer.Stop()
			return false
		}
	}
}

func (g *Gateway) put(p parcel) error {
	ctx, cancel := context.WithTimeout(g.life, 4*proofWithin)
	defer cancel()
	switch {
	case p.envelope != nil:
		err := g.o.Publish(ctx, p.subject, *p.envelope)
		if err == nil {
			g.seen.facts.Add(1)
		}
		return err
	case p.track != nil:
		return g.o.Track(ctx, *p.track)
	}
	return nil
}

// acknowledge tells the page what is stored, if it is still that document. The
// caller holds the lock.
func (e *entry) acknowledge(l *life) {
	if e.conn != nil && e.conn.life == l.name {
		e.conn.send(wire.Ack{T: wire.KindAck, N: l.stored})
	}
}

// readSignal reads a signal and refuses what does not look like one.
func readSignal(text string) (actions.Signal, bool) {
	var signal actions.Signal
	if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &signal) != nil {
		return actions.Signal{}, false
	}
	switch event.Cause(signal.Cause) {
	case event.CauseAPI, event.CauseVisitor, event.CauseNavigation:
	default:
		return actions.Signal{}, false
	}
	ok := len(signal.Name) <= wire.MaxID && signalName.MatchString(signal.Name) &&
		len(signal.Key) <= wire.MaxName && signal.Seq > 0 && !math.IsNaN(signal.AtMS) && !math.IsInf(signal.AtMS, 0)
	return signal, ok
}
