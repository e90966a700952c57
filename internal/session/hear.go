package session

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
)

// The limits of a signal. What goes beyond is dropped and counted: it is page
// data.
const (
	maxSignal = 64 << 10
	maxKey    = 256
	// maxUnheard is how many signals may wait while a command has the session.
	maxUnheard = 1024
	// maxDrift is how far the page's clock may be from ours.
	maxDrift = time.Minute
	// closeTimeout bounds the closing of a page that no command waits for.
	closeTimeout = 10 * time.Second
)

// signalStarted is what the page runtime reports first of every document.
const signalStarted = "page.started"

var signalName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,3}$`)

// heard is one thing that a page said, or that it is gone.
type heard struct {
	page   *page
	signal actions.Signal
	at     time.Time
	first  bool // the first document of the tab
	gone   bool
}

// listen hears everything that the page says, until it ends.
func (h *held) listen(ctx context.Context, p *page) {
	defer close(p.ended)
	var last int64
	for raw, err := range p.tab.Events(ctx) {
		if err != nil {
			break
		}
		signal, ok := decodeSignal(raw)
		if !ok || signal.Seq <= last && signal.Seq != 1 {
			h.m.seen.dropped.Add(1)
			continue
		}
		last = signal.Seq
		x := heard{page: p, signal: signal, at: h.m.o.Now()}
		if signal.Name == signalStarted {
			x.first = p.lives.Add(1) == 1
			select {
			case p.born <- struct{}{}:
			default:
			}
		}
		if !h.hear(x) {
			h.overflow(p)
			break
		}
	}
	h.silence(ctx, p)
	h.hear(heard{page: p, gone: true, at: h.m.o.Now()})
}

// silence makes sure that a page that is no longer heard is closed.
func (h *held) silence(ctx context.Context, p *page) {
	if p.gone() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := p.tab.Close(ctx); err != nil {
		h.m.log.LogAttrs(ctx, slog.LevelWarn, "closing a page that is no longer heard", slog.String("session", h.key), slog.Any("err", err))
	}
}

// overflow ends a page that says more than can be published.
// Its listener closes it.
func (h *held) overflow(p *page) {
	if !p.why.CompareAndSwap(nil, "overflow") {
		return
	}
	h.m.seen.overflows.Add(1)
	p.deafen()
	h.m.log.LogAttrs(h.m.life, slog.LevelWarn, "a page says more than can be published",
		slog.String("session", h.key))
}

// decodeSignal reads a signal and refuses what does not look like one.
func decodeSignal(raw json.RawMessage) (actions.Signal, bool) {
	var signal actions.Signal
	if len(raw) > maxSignal || !utf8.Valid(raw) || json.Unmarshal(raw, &signal) != nil {
		return actions.Signal{}, false
	}
	switch event.Cause(signal.Cause) {
	case event.CauseAPI, event.CauseVisitor, event.CauseNavigation:
	default:
		return actions.Signal{}, false
	}
	ok := len(signal.Name) <= 64 && signalName.MatchString(signal.Name) &&
		len(signal.Key) <= maxKey && signal.Seq > 0 && !math.IsNaN(signal.AtMS) && !math.IsInf(signal.AtMS, 0)
	return signal, ok
}

// happened returns when the signal happened: by the page's clock, unless that
// is far from ours.
func (x heard) happened() time.Time {
	if math.Abs(x.signal.AtMS) < 1e15 {
		page := time.UnixMicro(int64(x.signal.AtMS * 1000))
		if d := x.at.Sub(page); d < maxDrift && d > -maxDrift {
			return page.UTC()
		}
	}
	return x.at.UTC()
}
