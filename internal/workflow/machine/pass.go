package machine

import (
	"maps"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/workflow"
)

// passes reports whether the trigger, which was glanced at, passes by: nothing
// waits for it and nothing starts with it, as trigger would find out as well. It
// works on the session itself, and not on a copy; what it cannot tell for certain
// does not pass.
func (f *fold) passes(h *workflow.Happened) (bool, error) {
	site, ok := f.m.sites(h.Trigger.Site)
	if !ok || h.Topic.Kind == event.KindManual {
		return false, nil
	}
	s, err := f.world.Session(h.Trigger.Site, h.Session)
	if err != nil {
		return false, err
	}
	if f.concerns(s, h) || f.starts(s, h, site) {
		return false, nil
	}
	f.change.mark(MarkIgnored, "", "")
	f.notice(s, h)
	return true, nil
}

// concerns reports whether the session, or a run of it, may take note.
func (f *fold) concerns(s *Session, h *workflow.Happened) bool {
	if s.Moved != "" {
		return true
	}
	if richer(s.Visitor, h.Trigger.Visitor) != s.Visitor && (len(s.Runs) > 0 || f.m.programs.Facts(h.Trigger.Site)) {
		return true
	}
	for _, run := range s.Runs {
		if p, ok := f.m.programs.Program(run.Version); !ok || p.Hears(h.Topic) {
			return true
		}
	}
	return false
}

// starts reports whether a program may want to start.
func (f *fold) starts(s *Session, h *workflow.Happened, site actions.Site) bool {
	var scene *workflow.Scene
	for _, p := range f.m.programs.Starting(h.Topic, h.Trigger.Site) {
		if p.Cond == nil || p.Otherwise != workflow.End {
			return true
		}
		if yes, sure := p.Cond.Quick(h); sure {
			if yes {
				return true
			}
			continue
		}
		if scene == nil {
			scene = &workflow.Scene{Start: *h, Visitor: s.Visitor, Site: site, Run: workflow.RunInfo{StartedAt: f.in.At, Now: f.in.At}}
		}
		if yes, err := p.Cond.Bool(p.Vars(scene)); yes || err != nil {
			return true
		}
	}
	return false
}

// notice keeps in mind when the source was heard last, while runs are under way.
// The rest of the session is the one that was.
func (f *fold) notice(s *Session, h *workflow.Happened) {
	if len(s.Runs) == 0 {
		return
	}
	noticed := *s
	if occurred := h.Trigger.OccurredAt; !occurred.Before(s.Seen[h.Source]) {
		noticed.Seen = maps.Clone(s.Seen)
		put(&noticed.Seen, h.Source, occurred)
	}
	if len(s.Limits) > 0 {
		noticed.Limits = maps.Clone(s.Limits)
		maps.DeleteFunc(noticed.Limits, func(_ string, l Limit) bool { return l.Until.Before(f.in.At) })
	}
	f.change.Noticed = append(f.change.Noticed, &noticed)
}

// ofInput reports whether the moment is that of the trigger that is folded.
func (f *fold) ofInput(m Moment) bool {
	data := f.in.Envelope.Data
	return f.in.kind == inTrigger && f.h.ID == m.ID && f.h.Source == m.Source &&
		len(data) > 0 && len(m.Data) == len(data) && &m.Data[0] == &data[0]
}

// happenedAt reads the moment. That of the input was read before.
func (f *fold) happenedAt(m Moment) (workflow.Happened, error) {
	if f.ofInput(m) {
		return f.h, nil
	}
	h, _, err := workflow.ReadHappened(m.envelope())
	return h, err
}
