package backtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/workflow"
	"github.com/parley-chat/parley/internal/workflow/machine"
)

// state is a test that was stopped.
type state struct {
	Report Report     `json:"report"`
	Tested sideState  `json:"tested"`
	Versus *sideState `json:"versus,omitempty"`
}

// sideState is what one version remembers.
type sideState struct {
	// Programs names the programs: another version cannot go on with it.
	Programs string              `json:"programs"`
	Now      time.Time           `json:"now"`
	Sessions []*machine.Session  `json:"sessions"`
	Sites    []*machine.Site     `json:"sites"`
	Timers   []machine.Timer     `json:"timers"`
	Figures  map[string]*figures `json:"figures"`
	Refused  map[string]int64    `json:"refused"`
	Overlaps map[string]int64    `json:"overlaps"`
}

// Save writes what a test that was stopped needs to go on. Report must not have
// been called.
func (t *Test) Save(to io.Writer) error {
	s := state{Report: t.report, Tested: t.tested.save()}
	if t.versus != nil {
		versus := t.versus.save()
		s.Versus = &versus
	}
	if err := json.NewEncoder(to).Encode(s); err != nil {
		return fmt.Errorf("saving the back-test: %w", err)
	}
	return nil
}

// Resume returns the test that was saved, with the same programs.
func Resume(from io.Reader, o Options) (*Test, error) {
	var s state
	if err := json.NewDecoder(from).Decode(&s); err != nil {
		return nil, fault.New(fault.Malformed, "reading the back-test that was stopped: %s", err).WithFix("begin it anew")
	}
	t := New(o)
	t.report = s.Report
	if (s.Versus == nil) != (t.versus == nil) {
		return nil, changed()
	}
	if err := t.tested.load(s.Tested); err != nil {
		return nil, err
	}
	if t.versus != nil {
		return t, t.versus.load(*s.Versus)
	}
	return t, nil
}

func changed() error {
	return fault.New(fault.BadRule, "the back-test that was stopped had other workflows").
		WithFix("begin it anew, or test the same files and versions again")
}

// digest names the programs of a set.
func digest(set *workflow.Set) string {
	var all []string
	for _, p := range set.Programs() {
		all = append(all, p.Digest)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func (s *side) save() sideState {
	to := sideState{
		Programs: digest(s.set), Now: s.now, Figures: s.figures, Refused: s.refused, Overlaps: s.overlaps,
		Sessions: slices.Collect(maps.Values(s.sessions)), Sites: slices.Collect(maps.Values(s.sites)),
	}
	for _, set := range s.timers.queue.set {
		to.Timers = append(to.Timers, set.Timer)
	}
	return to
}

func (s *side) load(from sideState) error {
	if from.Programs != digest(s.set) {
		return changed()
	}
	s.now = from.Now
	for _, session := range from.Sessions {
		s.sessions[session.Site+"."+session.Key] = session
	}
	for _, site := range from.Sites {
		s.sites[site.Name] = site
	}
	for _, timer := range from.Timers {
		s.timers.set(timer)
	}
	maps.Copy(s.figures, from.Figures)
	maps.Copy(s.refused, from.Refused)
	maps.Copy(s.overlaps, from.Overlaps)
	return nil
}
