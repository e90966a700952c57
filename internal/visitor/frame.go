package visitor

import (
	"encoding/json"
	"net/url"
	"time"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

// frame takes one frame of the page. It returns how the connection ends, or nil.
func (g *Gateway) frame(c *conn, data []byte, now time.Time) *closing {
	g.seen.frames.Add(1)
	if !c.greeted.Load() {
		return g.greet(c, data)
	}
	if end := g.within(c, now); end != nil {
		return end
	}
	if string(data) == ping {
		c.reply([]byte(pong))
		return nil
	}
	return g.heed(c, data)
}

// within refuses a frame that is one too many of its visitor, address or site.
func (g *Gateway) within(c *conn, now time.Time) *closing {
	c.e.mu.Lock()
	within := c.e.rate.take(now, g.o.Limits.Visitor, 4*g.o.Limits.Visitor)
	c.e.mu.Unlock()
	switch {
	case !within:
		g.seen.flooded.Add(1)
		return &closing{wire.ClosePolicy, "too many frames of the visitor"}
	case !g.ips.take(c.ip, now) || !g.bySite.take(c.site.Name, now):
		g.seen.flooded.Add(1)
		return &closing{wire.CloseBusy, "too much to do"}
	}
	return nil
}

// heed does what a frame says.
func (g *Gateway) heed(c *conn, data []byte) *closing {
	var head wire.Head
	if json.Unmarshal(data, &head) != nil {
		return misshapen
	}
	switch head.T {
	case wire.KindPing:
		c.reply([]byte(pong))
	case wire.KindAnswer:
		return g.answered(c, data)
	case wire.KindSignal, wire.KindTrack:
		return g.said(c, head.T, data)
	case wire.KindFocus, wire.KindPage, wire.KindConsent:
		return g.told(c, head.T, data)
	case wire.KindBye:
		return &closing{wire.CloseNormal, ""}
	default:
		return &closing{wire.CloseProtocol, "a kind of frame that there is not"}
	}
	return nil
}

// misshapen is how a connection ends whose frames do not fit their kind.
var misshapen = &closing{wire.CloseProtocol, "a frame that does not fit its kind"} //nolint:gochecknoglobals // A constant.

// answered takes the answer to a call. One to nothing is dropped: whoever asked
// has gone, or never was.
func (g *Gateway) answered(c *conn, data []byte) *closing {
	var a wire.Answer
	if json.Unmarshal(data, &a) != nil || !legalID(a.ID) || a.JSON == "" {
		return misshapen
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	if c.e.conn == c && c.e.settle(a.ID, replied{c.life, a.JSON}) {
		g.seen.answers.Add(1)
		g.asked(c)
	} else {
		g.seen.dropped.Add(1)
	}
	return nil
}

// perCall is how many frames come of a call: its answer, and the signals of what
// it did, such as that the widget is ready and that its window is open.
const perCall = 3

// asked makes up for the frames that we have asked for: who answers as fast as he
// is asked floods nobody. The caller holds the entry's lock.
func (g *Gateway) asked(c *conn) {
	c.frames.give(perCall, wire.FramesBurst)
	c.e.rate.give(perCall, 4*g.o.Limits.Visitor)
}

// said takes a signal or a track.
func (g *Gateway) said(c *conn, kind string, data []byte) *closing {
	var it item
	var err error
	if kind == wire.KindSignal {
		it.signal = &wire.Signal{}
		err = json.Unmarshal(data, it.signal)
		it.n = it.signal.N
	} else {
		it.track = &wire.Track{}
		err = json.Unmarshal(data, it.track)
		it.n = it.track.N
	}
	if err != nil || it.n < 1 || it.n > 1<<53 {
		return misshapen
	}
	c.e.mu.Lock()
	address := c.url
	c.e.mu.Unlock()
	if !g.take(c.e, c.life, address, it) {
		return &closing{wire.CloseBusy, "too much waits to be stored"}
	}
	return nil
}

// told takes what the page says of itself.
func (g *Gateway) told(c *conn, kind string, data []byte) *closing {
	var f struct {
		On      *bool         `json:"on"`
		URL     string        `json:"url"`
		Consent *wire.Consent `json:"consent"`
	}
	if json.Unmarshal(data, &f) != nil || len(f.URL) > wire.MaxURL {
		return misshapen
	}
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	switch {
	case kind == wire.KindFocus && f.On != nil:
		c.focused = *f.On
	case kind == wire.KindPage && f.URL != "":
		c.url = f.URL
	case kind == wire.KindConsent && f.Consent != nil:
		c.e.consent = *f.Consent
	default:
		return misshapen
	}
	return nil
}

// bare returns the address without its query and fragment, which may be
// personal.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.RawFragment, u.User = "", "", "", nil
	return u.String()
}
