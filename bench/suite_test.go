package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/bench/report"
)

func TestTheSuiteIsComplete(t *testing.T) {
	t.Parallel()
	_, names, err := choose("")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"warm-action", "warm-throughput", "cold-session", "cold-full-page", "bus-path", "codec",
		"memory-held", "rehydrate", "sessions-logical", "failover", "ownership-cost", "scale-out", "snapshots",
		"ingest-batch", "ingest-single", "event-command", "event-path", "timers", "backtest",
		"rest-action", "crm-record", "crm-sustained", "crm-calls", "visitor-idle", "visitor-open", "page-weight",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	for _, b := range suite() {
		if b.repeats < 5 {
			t.Errorf("%s repeats %d times, want at least 5", b.name, b.repeats)
		}
		if len(b.promises) == 0 || b.contenders[0].name != "ours" {
			t.Errorf("%s promises %d things, and begins with %s", b.name, len(b.promises), b.contenders[0].name)
		}
		for _, p := range b.promises {
			others := b.contenders[1:]
			if p.than != "" {
				others = b.contenders // Ours beside itself.
			}
			if p.limit == 0 && !slices.ContainsFunc(others, func(c contender) bool { return c.name == p.against }) {
				t.Errorf("%s/%s is measured against %s, which is no contender", b.name, p.suffix, p.against)
			}
		}
	}
}

func TestAnUnknownNameIsRefused(t *testing.T) {
	t.Parallel()
	if _, _, err := choose("warm"); err == nil || !strings.Contains(err.Error(), "warm-action") {
		t.Errorf("got the error %v, want one that lists the names", err)
	}
}

func TestPicksAreTheSameForAll(t *testing.T) {
	t.Parallel()
	first := picks(3, 40, 20)
	if diff := cmp.Diff(first, picks(3, 40, 20)); diff != "" {
		t.Errorf("one round has two orders:\n%s", diff)
	}
	if slices.Equal(first, picks(4, 40, 20)) {
		t.Error("two rounds have one order")
	}
	for session := range 20 {
		times := 0
		for _, pick := range first {
			if pick == session {
				times++
			}
		}
		if times != 2 {
			t.Errorf("session %d is picked %d times, want 2", session, times)
		}
	}
}

func TestTheLastLineStandsForTheBenchmark(t *testing.T) {
	t.Parallel()
	b := report.Benchmark{Name: "cold", Lines: []report.Line{
		{Name: "cold/a", Measure: report.PerCPU, Ours: 30, Reference: 10, Min: 3, Median: 3, Max: 3, Bar: 2, AtLeast: true},
		{Name: "cold/b", Measure: report.P50, Ours: 500, Reference: 1000, Min: 0.5, Median: 0.5, Max: 0.5, Bar: 0.4},
	}}
	var out bytes.Buffer
	if !tell(&out, b) {
		t.Error("a short line was not told")
	}
	want := "cold/a ours=30.0/s reference=10.0/s ratio=3.00 (3.00/3.00/3.00) bar=>=2.00 ok\n" +
		"cold/b ours=500us reference=1.00ms ratio=0.50 (0.50/0.50/0.50) bar=<=0.40 short\n" +
		"cold ours=500us reference=1.00ms ratio=0.50 (0.50/0.50/0.50) bar=<=0.40 short\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
