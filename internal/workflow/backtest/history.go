package backtest

import (
	"encoding/json"
	"iter"
	"strings"

	"github.com/parley-chat/parley/internal/event"
)

// Merge yields the events of both histories in the order of their times. Both
// are in order themselves.
func Merge(a, b iter.Seq2[Event, error]) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		next, stop := iter.Pull2(b)
		defer stop()
		other, err, more := next()
		for e, failed := range a {
			for failed == nil && more && (err != nil || other.At.Before(e.At)) {
				if !yield(other, err) {
					return
				}
				other, err, more = next()
			}
			if !yield(e, failed) {
				return
			}
		}
		for ; more; other, err, more = next() {
			if !yield(other, err) {
				return
			}
		}
	}
}

// wordOf returns the first token of a subject.
func wordOf(subject string) string {
	word, _, _ := strings.Cut(subject, ".")
	return word
}

// acts reports whether the event would have happened without workflows: what
// commands did is left out, since the test makes results of its own, and so is
// what workflows emitted, started or were told by a person.
func acts(word string, e event.Envelope) bool {
	switch word {
	case "in":
		kind := e.Type
		return kind != event.TriggerType(event.KindEmitted) && kind != event.TriggerType(event.KindSchedule) && kind != event.TriggerType(event.KindManual)
	case "evt":
		var common event.Occurrence
		return json.Unmarshal(e.Data, &common) != nil || common.Cause != event.CauseAPI
	}
	return false
}
