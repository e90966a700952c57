package machine

import (
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// The kinds of inputs.
const (
	inTrigger = iota
	inFact
	inResult
	inWake
	inClocks
)

// extHops is the extension that counts the workflows that started one another.
const extHops = "hops"

// Input is one thing that happened, in the order of the log.
type Input struct {
	kind int
	// Site and Session are those of the subject.
	Site, Session string
	Envelope      event.Envelope
	// At is when the stream stored it, and not later than now.
	At time.Time
	// run and timer name the timer that fired.
	run, timer string
}

// ReadInput reads a message of the log by its subject. The envelope of a timer's
// message is not looked at. It is not ok for a message that workflows do not
// listen to.
func ReadInput(subject string, e event.Envelope, at time.Time) (in Input, ok bool) {
	tokens := strings.Split(subject, ".")
	in = Input{Envelope: e, At: at}
	switch n := len(tokens); {
	case n == 5 && tokens[0] == "in":
		in.kind, in.Site, in.Session = inTrigger, tokens[3], tokens[4]
	case n == 5 && tokens[0] == "due":
		in.kind, in.Site, in.Session, in.run, in.timer = inWake, tokens[1], tokens[2], tokens[3], tokens[4]
	case n == 6 && tokens[0] == "evt":
		in.kind, in.Site, in.Session = inFact, tokens[4], tokens[5]
	case n == 6 && tokens[0] == "res":
		in.kind, in.Site, in.Session = inResult, tokens[4], tokens[5]
	default:
		return in, false
	}
	return in, true
}

// Clocks returns the input that sets the clocks of schedules: the first one
// after the programs changed.
func Clocks(at time.Time) Input { return Input{kind: inClocks, At: at} }

// Wakes reports whether the input is a timer's.
func (in Input) Wakes() bool { return in.kind == inWake }

// moment returns the input as a run remembers it.
func (in Input) moment() Moment {
	e := in.Envelope
	m := Moment{
		ID: e.ID, Source: e.Source, Type: e.Type, At: in.At,
		Correlation: e.Extension(event.ExtCorrelationID), Trace: e.Extension(event.ExtTraceParent), Data: e.Data,
	}
	if m.Correlation == "" {
		m.Correlation = e.ID
	}
	for _, c := range e.Extension(extHops) {
		if c < '0' || c > '9' || m.Hops > maxHops {
			break
		}
		m.Hops = 10*m.Hops + int(c-'0')
	}
	return m
}

// envelope returns the moment as the event that it was.
func (m Moment) envelope() event.Envelope {
	return event.Envelope{ID: m.ID, Source: m.Source, Type: m.Type, Data: m.Data}
}

// key returns the name of the event everywhere.
func (m Moment) key() string { return event.Key(m.Source, m.ID) }

func errMalformed(what string, err error) error {
	return fault.New(fault.SchemaViolation, "reading the %s: %s", what, err)
}
