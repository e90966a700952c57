package backtest

import (
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

const (
	// exactly is how many visitors are counted one by one. More are estimated.
	exactly = 4096
	// bitmap is the number of bits of an estimate. With so many the error is about
	// a quarter of a per cent at a million visitors.
	bitmap = 1 << 22
)

// visitors counts different visitors in bounded memory.
type visitors struct {
	Known map[uint64]bool `json:"known,omitempty"`
	Bits  []uint64        `json:"bits,omitempty"`
}

// add counts the visitor, who may have been counted before.
func (v *visitors) add(session string) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(session)) // It cannot fail.
	sum := h.Sum64()
	if v.Bits != nil {
		v.mark(sum)
		return
	}
	if v.Known == nil {
		v.Known = map[uint64]bool{}
	}
	v.Known[sum] = true
	if len(v.Known) <= exactly {
		return
	}
	v.Bits = make([]uint64, bitmap/64)
	for known := range v.Known {
		v.mark(known)
	}
	v.Known = nil
}

func (v *visitors) mark(sum uint64) {
	sum ^= sum >> 29 // FNV mixes its low bits least.
	at := sum % bitmap
	v.Bits[at/64] |= 1 << (at % 64)
}

// count returns how many there were: exactly, or by linear counting (Whang et
// al., 1990).
func (v *visitors) count() int64 {
	if v.Bits == nil {
		return int64(len(v.Known))
	}
	empty := bitmap
	for _, word := range v.Bits {
		empty -= bits.OnesCount64(word)
	}
	return int64(math.Round(-bitmap * math.Log(float64(max(empty, 1))/bitmap)))
}

// figures are what one workflow did.
type figures struct {
	Started  int64                    `json:"started"`
	Visitors visitors                 `json:"visitors"`
	Ended    map[machine.Status]int64 `json:"ended"`
	Skipped  map[string]int64         `json:"skipped"`
	Commands map[string]int64         `json:"commands"`
	Failures map[string]int64         `json:"failures"`
	Calls    int64                    `json:"calls"`
	Emitted  int64                    `json:"emitted"`
}

func newFigures() *figures {
	return &figures{Ended: map[machine.Status]int64{}, Skipped: map[string]int64{}, Commands: map[string]int64{}, Failures: map[string]int64{}}
}

// of returns the figures of the workflow.
func (s *side) of(workflow string) *figures {
	f := s.figures[workflow]
	if f == nil {
		f = newFigures()
		s.figures[workflow] = f
	}
	return f
}

// count adds what a step did, and returns the workflows that began.
func (s *side) count(in machine.Input, change machine.Change) []string {
	var began []string
	for _, mark := range change.Marks {
		switch mark.What {
		case machine.MarkStarted:
			f := s.of(mark.Workflow)
			f.Started++
			f.Visitors.add(in.Session)
			began = append(began, mark.Workflow)
		case machine.MarkSkipped:
			s.of(mark.Workflow).Skipped[mark.Detail]++
		case machine.MarkEnded:
			s.of(mark.Workflow).Ended[machine.Status(mark.Detail)]++
		}
	}
	for _, run := range change.Ended {
		if run.Status == machine.Failed {
			bounded(s.of(run.Workflow).Failures, run.Reason)
		}
	}
	for _, m := range change.Messages {
		f := s.of(strings.TrimPrefix(m.Envelope.Source, "/workflows/"))
		if action, ok := event.ActionOfType(m.Envelope.Type); ok {
			f.Commands[action]++
		} else if wordOf(m.Subject) == "in" {
			f.Emitted++
		}
	}
	for _, call := range change.Calls {
		s.of(call.Workflow).Calls++
	}
	slices.Sort(began)
	return began
}

// refuse counts what could not be handled.
func (s *side) refuse(err error) { bounded(s.refused, err.Error()) }

// bounded counts by a text, of which there may be any number.
func bounded(counts map[string]int64, text string) {
	const most = 100 // different texts; the rest is counted together
	if _, known := counts[text]; !known && len(counts) >= most {
		text = "other reasons"
	}
	counts[text]++
}
