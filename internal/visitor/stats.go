package visitor

import (
	"slices"
	"sync/atomic"

	"github.com/parley-chat/parley/internal/visitor/wire"
)

// counters are what a gateway has done since its start.
type counters struct {
	opened, returned, refused, forged, replayed, origins, flooded, malformed, slow atomic.Int64
	frames, calls, answers, signals, facts, tracks, dropped, handed, drained       atomic.Int64
	in, out                                                                        atomic.Int64
	refusals                                                                       [allRefusals]atomic.Int64
	ends                                                                           [len(endCodes) + 1]atomic.Int64
}

// Stats are what a gateway has done since its start, and what it holds.
type Stats struct {
	// Connections are open; Visitors are remembered.
	Connections, Visitors int
	// Opened counts connections that were welcomed, Refused those that were not:
	// of them Forged by a token or an identity that is not good, Replayed by a
	// token that was used before, and Origins by the page's origin. Beacons that
	// are not good are among Forged and Origins too.
	Opened, Refused, Forged, Replayed, Origins int64
	// Returned counts those of the opened ones whose page had been connected before,
	// here or elsewhere.
	Returned int64
	// Flooded, Malformed and Slow count connections that were closed for what they
	// sent, and did not read.
	Flooded, Malformed, Slow int64
	// Frames came in. Calls went out, and Answers came to them. Signals and Tracks
	// were taken, Facts stored, and Dropped came to nothing.
	Frames, Calls, Answers, Signals, Facts, Tracks, Dropped int64
	// Handed counts connections that gave way to another one of their visitor, and
	// Drained those that were asked to connect elsewhere.
	Handed, Drained int64
	// In and Out are bytes of connections, without their handshakes' requests.
	In, Out int64
	// Refusals are the refused connections by their reason: see Refusals.
	Refusals map[string]int64
	// Ends are the connections that ended, by the code that they were closed with;
	// 0 is those that broke off.
	Ends map[int]int64
}

// refusal is why a connection is not let in.
type refusal int

const (
	byOrigin   refusal = iota // no site, or another one, has the page's origin
	byRate                    // too many connections of the address begin
	byRoom                    // too many connections are open, or the gateway stops
	bySite                    // no such key, another version, or switched off
	byIdentity                // the token or the identity is not good
	byReplay                  // the token was used before
	byBus                     // the bus could not be asked
	allRefusals
)

// Refusals returns the reasons that connections are refused for.
func Refusals() []string {
	return []string{byOrigin: "origin", byRate: "rate", byRoom: "room", bySite: "site", byIdentity: "identity", byReplay: "replay", byBus: "bus"}
}

// endCodes are the codes that connections are closed with.
var endCodes = [...]int{ //nolint:gochecknoglobals // A constant.
	wire.CloseNormal, wire.CloseGoing, wire.CloseProtocol, wire.CloseInvalid, wire.ClosePolicy, wire.CloseTooBig,
	wire.CloseInternal, wire.CloseBusy, wire.CloseToken, wire.CloseRefused, wire.CloseReplaced,
}

// EndCodes returns the codes that connections are closed with, and 0 for those
// that break off.
func EndCodes() []int { return append(endCodes[:len(endCodes):len(endCodes)], 0) }

// refuse counts a connection that is not let in.
func (c *counters) refuse(why refusal) {
	c.refused.Add(1)
	c.refusals[why].Add(1)
	if also, ok := map[refusal]*atomic.Int64{byOrigin: &c.origins, byRate: &c.flooded, byReplay: &c.replayed}[why]; ok {
		also.Add(1)
	}
}

// end counts why a connection ended.
func (c *counters) end(code int) {
	switch code {
	case wire.CloseProtocol, wire.CloseInvalid, wire.CloseTooBig:
		c.malformed.Add(1)
	case wire.CloseReplaced:
		c.handed.Add(1)
	}
	at := slices.Index(endCodes[:], code)
	if at < 0 {
		at = len(endCodes)
	}
	c.ends[at].Add(1)
}

// Stats returns the gateway's counters.
func (g *Gateway) Stats() Stats {
	c := &g.seen
	s := Stats{
		Opened: c.opened.Load(), Returned: c.returned.Load(), Refused: c.refused.Load(), Forged: c.forged.Load(),
		Replayed: c.replayed.Load(), Origins: c.origins.Load(), Flooded: c.flooded.Load(), Malformed: c.malformed.Load(),
		Slow: c.slow.Load(), Frames: c.frames.Load(), Calls: c.calls.Load(), Answers: c.answers.Load(), Signals: c.signals.Load(),
		Facts: c.facts.Load(), Tracks: c.tracks.Load(), Dropped: c.dropped.Load(), Handed: c.handed.Load(),
		Drained: c.drained.Load(), In: c.in.Load(), Out: c.out.Load(),
		Refusals: map[string]int64{}, Ends: map[int]int64{},
	}
	for why, name := range Refusals() {
		s.Refusals[name] = c.refusals[why].Load()
	}
	for i, code := range EndCodes() {
		s.Ends[code] = c.ends[i].Load()
	}
	s.Connections, s.Visitors = g.hub.count()
	return s
}
