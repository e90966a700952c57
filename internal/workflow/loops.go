package workflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
)

// loops finds workflows that start each other by emit, for ever. A ring in
// which something holds the run up - a wait, or once_per - is only noted as a
// warning of its programs.
func loops(programs []*Program) []error {
	var wrong []error
	seen := map[string]bool{}
	for _, p := range programs {
		ring := ringFrom(p, p, programs, nil)
		if ring == nil {
			continue
		}
		names := make([]string, len(ring))
		for i, member := range ring {
			names[i] = member.Name
		}
		key := slices.Sorted(slices.Values(names))
		text := strings.Join(key, " ")
		if seen[text] {
			continue
		}
		seen[text] = true
		message := fmt.Sprintf("the workflow starts itself: %s → %s", strings.Join(names, " → "), p.Name)
		if slices.ContainsFunc(ring, (*Program).held) {
			p.Warnings = append(p.Warnings, Problem{File: p.File, Message: message, Fix: "make sure that its condition ends it", Warning: true})
			continue
		}
		wrong = append(wrong, &SourceError{fault.BadRule, []Problem{{
			File: p.File, Message: message, Fix: "emit another event, or add `limits: {once_per: …}`",
		}}})
	}
	return wrong
}

// ringFrom returns a way from the program over what it emits back to the goal,
// or nil.
func ringFrom(p, goal *Program, all []*Program, way []*Program) []*Program {
	if slices.Contains(way, p) {
		return nil
	}
	way = append(way, p)
	for _, op := range p.Ops {
		if op.Emit == nil {
			continue
		}
		topic := Topic{Kind: event.KindEmitted, Name: op.Emit.Event}
		for _, next := range all {
			if !slices.ContainsFunc(next.Starts, func(s Start) bool { return s.Topic.Covers(topic) }) {
				continue
			}
			if next == goal {
				return way
			}
			if ring := ringFrom(next, goal, all, slices.Clone(way)); ring != nil {
				return ring
			}
		}
	}
	return nil
}

// held reports whether something keeps the program from running all the time.
func (p *Program) held() bool {
	return p.Bounds.OncePer > 0 || p.Bounds.Debounce > 0 || p.Bounds.PerSite.N > 0 ||
		slices.ContainsFunc(p.Ops, func(op Op) bool { return op.Kind == OpDelay || op.Kind == OpWait })
}
