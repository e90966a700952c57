package app

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-chat/parley/internal/actions"
	"github.com/parley-chat/parley/internal/telemetry"
)

// measureEvery is the time between two measurements of the browsers' memory. A
// measurement costs a millisecond for each process.
const measureEvery = 10 * time.Second

// watch adds the figures of the bus, the sessions and the browsers to the
// metrics. docs/operations.md explains them.
func (s *System) watch() {
	s.metrics.Watch(s.ownership()...)
	s.metrics.Watch(s.residency()...)
	s.metrics.Watch(s.browsers()...)
	s.metrics.Watch(restFigures(s.rest.Stats)...)
}

// restFigures are the figures of the calls to vendors' REST APIs.
func restFigures(r func() actions.RESTStats) []telemetry.Figure {
	return []telemetry.Figure{
		counter("parley_rest_calls_total", "Calls that were sent to vendors' REST APIs.", func() int64 { return r().Calls }),
		counter("parley_rest_again_total", "Calls of them that were sent again.", func() int64 { return r().Again }),
		counter("parley_rest_limited_total", "Calls of them that the vendor refused for their number.", func() int64 { return r().Limited }),
		counter("parley_rest_held_total", "Calls that waited for the budget of their token.", func() int64 { return r().Held }),
		counter("parley_rest_held_milliseconds_total", "How long they waited, in all.", func() int64 { return r().HeldFor.Milliseconds() }),
		counter("parley_rest_refused_total", "Calls that were not sent, because the budget had no room in their time.", func() int64 { return r().Refused }),
		gauge("parley_rest_waiting", "Calls that wait for the budget of their token now.", func() int64 { return r().Waiting }),
	}
}

// gauge and counter make figures out of whole numbers.
func gauge[N int | int64 | uint64](name, help string, read func() N) telemetry.Figure {
	return telemetry.Figure{Name: name, Help: help, Read: func() float64 { return float64(read()) }}
}

func counter[N int | int64 | uint64](name, help string, read func() N) telemetry.Figure {
	f := gauge(name, help, read)
	f.Counts = true
	return f
}

// labelled gives a figure a label.
func labelled(f telemetry.Figure, name, value string) telemetry.Figure {
	f.Labels = map[string]string{name: value}
	return f
}

// ownership are the figures of the partitions.
func (s *System) ownership() []telemetry.Figure {
	b := s.bus.Stats
	return []telemetry.Figure{
		gauge("parley_partitions_owned", "Partitions of commands that this worker owns.", func() int64 { return b().Owned }),
		gauge("parley_queue_pending", "Commands that wait in the partitions of this worker, or run.", s.pending.Load),
		counter("parley_takeovers_total", "Partitions taken from a worker that was gone.", func() uint64 { return b().Takeovers }),
		counter("parley_claims_total", "Partitions taken that nobody owned.", func() uint64 { return b().Claims }),
		counter("parley_handovers_total", "Partitions given up to plan.", func() uint64 { return b().Handovers }),
		counter("parley_partitions_lost_total", "Partitions that were taken from this worker.", func() uint64 { return b().Lost }),
		counter("parley_worker_evictions_total", "Times that the others thought this worker dead.", func() uint64 { return b().Evictions }),
		counter("parley_fences_total", "Times that this worker did not act because its lease was not sure.", func() uint64 { return b().Fences }),
	}
}

// residency are the figures of the sessions.
func (s *System) residency() []telemetry.Figure {
	m := s.sessions.Stats
	const sessions, evictions = "parley_sessions", "parley_evictions_total"
	const about, why = "Sessions that this worker remembers, by state: held with a page, or hibernated.", "Pages closed to be opened again later, by why: room, idle or memory."
	return []telemetry.Figure{
		labelled(gauge(sessions, about, func() int { return m().Pages }), "state", "held"),
		labelled(gauge(sessions, about, func() int { held := m(); return max(held.Sessions-held.Pages, 0) }), "state", "hibernated"),
		gauge("parley_sessions_waiting", "Commands that wait for a page.", func() int { return m().Residency.Waiting }),
		gauge("parley_pages_limit", "Pages that may be open now; fewer when memory is short.", func() int { return m().Residency.Limit }),
		counter("parley_pages_opened_total", "Pages that were opened.", func() int64 { return m().Opened }),
		counter("parley_sessions_hibernated_total", "Sessions that were stored, and whose page was closed.", func() int64 { return m().Hibernated }),
		counter("parley_sessions_restored_total", "Sessions that were brought back.", func() int64 { return m().Restored }),
		labelled(counter(evictions, why, func() int64 { return m().Residency.Evicted }), "why", "room"),
		labelled(counter(evictions, why, func() int64 { return m().Residency.Idled }), "why", "idle"),
		labelled(counter(evictions, why, func() int64 { return m().Residency.Pressed }), "why", "memory"),
		counter("parley_refusals_total", "Commands that got no page, because too many waited or no time was left.", func() int64 { return m().Residency.Refused }),
		counter("parley_snapshots_invalid_total", "Stored sessions that could not be used: damaged, too old, or sealed with a key that is not here.", func() int64 { return m().Invalid }),
		counter("parley_snapshots_unstored_total", "Tries to store a session that failed, and are made again.", func() int64 { return m().Unstored }),
	}
}

// browsers are the figures of the browsers.
func (s *System) browsers() []telemetry.Figure {
	p := s.pool.Stats
	return []telemetry.Figure{
		gauge("parley_browsers", "Browsers that run.", func() int { return len(p().Browsers) }),
		gauge("parley_browser_processes", "Processes of all browsers, as last measured.", s.processes.Load),
		gauge("parley_browser_pss_bytes", "Memory of all browsers, as last measured. What processes share counts once.", func() int64 { return s.sessions.Stats().Memory }),
		counter("parley_browsers_started_total", "Browsers that were started.", func() int { return p().Started }),
		counter("parley_browsers_retired_total", "Browsers that were replaced for age, sessions or memory.", func() int { return p().Replaced }),
		counter("parley_browsers_crashed_total", "Browsers that died by themselves.", func() int { return p().Crashed }),
	}
}

// memory measures what all browsers use, in bytes.
func (s *System) memory(ctx context.Context) (int64, error) {
	all, err := s.pool.Memory(ctx)
	if err != nil {
		return 0, fmt.Errorf("measuring the browsers: %w", err)
	}
	var bytes int64
	processes := 0
	for _, one := range all {
		bytes += one.PSS
		processes += one.Processes
	}
	s.processes.Store(int64(processes))
	return bytes, nil
}
