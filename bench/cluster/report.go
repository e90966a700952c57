package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run found, as it is written to the JSON file.
type report struct {
	Settings settings `json:"settings"`
	// Sent is what the generator began, Stored what the bus confirmed, and Resent
	// how often a command was sent again because it did not.
	Sent   int `json:"sent"`
	Stored int `json:"stored"`
	Resent int `json:"resent"`
	// Effects is what the outside world accepted, Refused the stale writes that it
	// refused.
	Effects int `json:"effects"`
	Refused int `json:"refused"`
	// Statuses counts the last results by status, and by reason where there is one.
	Statuses map[string]int `json:"statuses"`
	// Repeated counts results beyond a command's first, and Dead the dead letters.
	Repeated int            `json:"repeated"`
	Dead     int            `json:"dead"`
	Facts    map[string]int `json:"facts"`
	// ByWorker counts results by the worker that made them.
	ByWorker map[string]int `json:"by_worker"`

	Took     time.Duration   `json:"took_ns"`
	Latency  spread          `json:"latency"`
	Recovery map[kind]spread `json:"recovery"`
	Hurts    []hurt          `json:"faults"`
	Verdict  verdict         `json:"verdict"`
}

// summarize counts.
func summarize(s settings, e evidence, resent int, facts map[string]int) report {
	r := report{
		Settings: s, Sent: len(e.Sent), Resent: resent, Effects: len(e.Effects), Refused: e.Refused,
		Statuses: map[string]int{}, Dead: len(e.Dead), Facts: facts, ByWorker: map[string]int{},
	}
	for _, c := range e.Sent {
		if c.Stored {
			r.Stored++
		}
	}
	for _, list := range e.Results {
		r.Repeated += len(list) - 1
		last := list[len(list)-1]
		name := last.Status
		if last.Reason != "" {
			name += " " + last.Reason
		}
		r.Statuses[name]++
		r.ByWorker[last.Worker]++
	}
	return r
}

// show writes the report for a person.
func (r report) show(out io.Writer) {
	s := r.Settings
	what := fmt.Sprintf("simulated actions of %s, without a browser; bus, worker and sessions are real", s.Work)
	if s.Mode == pages {
		what = "real actions on Chromium, against the vendor's stand-in"
	}
	fmt.Fprintf(out, "\nmode %s: %s\nseed %d, %d workers, %d commands/s, %d sessions, sync_interval %s\n\n",
		s.Mode, what, s.Seed, s.Workers, s.Rate, s.Sessions, s.Sync)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "commands\t%d sent, %d stored, %d effects in the ledger, took %s\n", r.Sent, r.Stored, r.Effects, r.Took.Round(time.Second))
	fmt.Fprintf(w, "\t%d sent again, %d results repeated, %d dead letters, %d stale writes refused by the ledger\n", r.Resent, r.Repeated, r.Dead, r.Refused)
	fmt.Fprintf(w, "results\t%s\n", counts(r.Statuses))
	fmt.Fprintf(w, "by worker\t%s\n", counts(r.ByWorker))
	fmt.Fprintf(w, "latency\tp50 %s, p99 %s, max %s\n", timed(r.Latency.P50), timed(r.Latency.P99), timed(r.Latency.Max))
	_ = w.Flush()
	if len(r.Recovery) > 0 {
		fmt.Fprintln(out)
		fmt.Fprintln(w, "fault\ttimes\tpartitions\tp50\tp99\tmax\twhat is measured")
		for _, k := range slices.Sorted(maps.Keys(r.Recovery)) {
			x := r.Recovery[k]
			fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\t%s\t%s\n", k, x.Faults, x.N, timed(x.P50), timed(x.P99), timed(x.Max), measured(k))
		}
		_ = w.Flush()
	}
	r.Verdict.show(out)
}

// measured says what the times of a kind of fault are.
func measured(k kind) string {
	switch k {
	case killWorker, stopWorker, pauseWorker:
		return "to the first action elsewhere"
	case addWorker, cutWorker, killNode, killBrowser, killPage, hangSite:
	}
	return "longest wait of a command"
}

// show writes the verdict, with the first ids of each set.
func (v verdict) show(out io.Writer) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, set := range []struct {
		name string
		ids  []string
	}{
		{"lost", v.Lost},
		{"told and not done", v.Hollow},
		{"done twice", v.Twice},
		{"out of order", v.Reordered},
		{"stale writes accepted", v.Stale},
		{"failed", v.Failed},
		{"orphan processes", v.Orphans},
		{"broken", v.Broken},
	} {
		fmt.Fprintf(w, "%s\t%d\t%s\n", set.name, len(set.ids), some(set.ids))
	}
	fmt.Fprintf(w, "left in the queue\t%d\t\n", v.Queued)
	_ = w.Flush()
}

// some returns the first ids.
func some(ids []string) string {
	const most = 8
	if len(ids) > most {
		return strings.Join(ids[:most], ", ") + ", …"
	}
	return strings.Join(ids, ", ")
}

// counts writes a map as a line.
func counts(m map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(parts, ", ")
}

// save writes the report to the file.
func (r report) save(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil { //nolint:gosec // Figures for everybody.
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
