package report

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// FaultRun is what a run of bench/cluster wrote, as far as the page shows it.
type FaultRun struct {
	Settings struct {
		Mode     string        `json:"mode"`
		Seed     uint64        `json:"seed"`
		Workers  int           `json:"workers"`
		Rate     int           `json:"rate"`
		Duration time.Duration `json:"duration_ns"`
		Sync     string        `json:"sync"`
	} `json:"settings"`
	Stored   int                   `json:"stored"`
	Refused  int                   `json:"refused"`
	Recovery map[string]FaultTimes `json:"recovery"`
	Verdict  struct {
		Lost      []string `json:"lost"`
		Twice     []string `json:"twice"`
		Reordered []string `json:"reordered"`
		Stale     []string `json:"stale"`
		Failed    []string `json:"failed"`
		Orphans   []string `json:"orphans"`
	} `json:"verdict"`
}

// FaultTimes is how long it took until work went on after the faults of a kind.
type FaultTimes struct {
	Faults int           `json:"faults"`
	P50    time.Duration `json:"p50_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// LoadFaults reads the runs from the files of the folder, in the order of their
// names. A folder that does not exist holds none.
func LoadFaults(dir fs.FS) ([]FaultRun, error) {
	files, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, fmt.Errorf("looking for runs with faults: %w", err)
	}
	var runs []FaultRun
	for _, file := range files {
		text, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, fmt.Errorf("reading a run with faults: %w", err)
		}
		var run FaultRun
		if err := json.Unmarshal(text, &run); err != nil {
			return nil, fmt.Errorf("reading the run with faults %s: %w", file, err)
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// faults writes the section of the runs with faults.
func (r Results) faults(to *strings.Builder) {
	if len(r.Faults) == 0 {
		return
	}
	to.WriteString(`
## Faults

Three NATS servers and several workers on one machine, hurt from a seed while commands
flow; ledgers that no worker can write tell what was lost, done twice or out of order
([how](../bench/cluster/DESIGN.md)). Recovery is the time to the first action of a moved
partition elsewhere for kill, stop and pause, and the longest wait of a command for the
others.

| run | commands | lost | twice | out of order | stale accepted | stale refused | failed | orphans |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
`)
	for _, run := range r.Faults {
		v := run.Verdict
		fmt.Fprintf(to, "| %s | %d | %d | %d | %d | %d | %d | %d | %d |\n", run.name(), run.Stored,
			len(v.Lost), len(v.Twice), len(v.Reordered), len(v.Stale), run.Refused, len(v.Failed), len(v.Orphans))
	}
	to.WriteString("\n| run | fault | times | p50 | p99 | max |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, run := range r.Faults {
		for _, kind := range slices.Sorted(maps.Keys(run.Recovery)) {
			x := run.Recovery[kind]
			fmt.Fprintf(to, "| %s | %s | %d | %s | %s | %s |\n", run.Settings.Mode, kind, x.Faults, short(x.P50), short(x.P99), short(x.Max))
		}
	}
	to.WriteString("\nAgain:\n\n```sh\n")
	for _, run := range r.Faults {
		s := run.Settings
		fmt.Fprintf(to, "go run ./bench/cluster -mode %s -seed %d -for %s -workers %d -rate %d\n", s.Mode, s.Seed, s.Duration, s.Workers, s.Rate)
	}
	to.WriteString("```\n")
}

func (f FaultRun) name() string {
	s := f.Settings
	return fmt.Sprintf("%s, seed %d, %s, %d workers, %d commands/s, sync %s", s.Mode, s.Seed, s.Duration, s.Workers, s.Rate, s.Sync)
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }
