package crm

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// Input is one message of the log that tells of a visitor.
type Input struct {
	Site, Session string
	// Flow is true of triggers and commands of workflows, and false of facts and
	// results: two streams, each with its own order.
	Flow bool
	// Sequence is the place in its stream.
	Sequence uint64
	// StoredAt is when the bus stored it.
	StoredAt time.Time

	kind     string // the name of the fact, the action of the result, the kind of the trigger, or "command"
	provider string
	trigger  *event.Trigger
	command  *event.Command
	result   *event.Result
	fact     *fact
	workflow string // the run's workflow, of a command of one
}

// fact is what any of the facts may carry.
type fact struct {
	event.Occurrence
	Why        string         `json:"why"`
	URL        string         `json:"url"`
	Response   string         `json:"response"`
	Outputs    map[string]any `json:"outputs"`
	Attributes []string       `json:"attributes"`
	Commands   []string       `json:"commands"`
}

// ReadInput reads a message. It is false when the message is nothing that
// records tell, or is no message that can be read: that is for its sender to
// hear, and others bury it.
func ReadInput(d *bus.Delivery) (Input, bool) {
	tokens := strings.Split(d.Subject, ".")
	in := Input{Sequence: d.Sequence, StoredAt: d.StoredAt, Flow: d.Stream == bus.StreamFlow}
	n := len(tokens)
	if n < 5 {
		return in, false
	}
	in.Site, in.Session = tokens[n-2], tokens[n-1]
	if !event.IsToken(in.Site) || !event.IsToken(in.Session) {
		return in, false
	}
	var data any
	switch {
	case tokens[0] == "evt" && n == 6:
		in.provider, in.kind, in.fact = tokens[1], tokens[2]+"."+tokens[3], &fact{}
		data = in.fact
	case tokens[0] == "res" && n == 6:
		in.provider, in.kind, in.result = tokens[1], strings.Join(tokens[1:4], "."), &event.Result{}
		data = in.result
	case tokens[0] == "in" && n == 5:
		in.kind, in.trigger = tokens[2], &event.Trigger{}
		data = in.trigger
	case tokens[0] == "go" && n == 7:
		in.kind, in.command = "command", &event.Command{}
		data = in.command
	default:
		return in, false
	}
	envelope, err := d.Envelope()
	if err != nil || json.Unmarshal(envelope.Data, data) != nil {
		return in, false
	}
	if in.command != nil {
		in.workflow = strings.TrimPrefix(envelope.Source, "/workflows/")
	}
	return in, true
}

// at is when it happened, as far as its sender says so.
func (in Input) at() time.Time {
	var at time.Time
	switch {
	case in.fact != nil:
		at = in.fact.At
	case in.result != nil:
		at = in.result.StartedAt
	case in.trigger != nil:
		at = in.trigger.OccurredAt
	}
	if at.IsZero() {
		at = in.StoredAt
	}
	return at.UTC()
}
