package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a report with something in every place.
func sample() report {
	e := flawless()
	e.Refused = 2
	e.Results["s1-1"] = []outcome{{Worker: "w1", Status: "succeeded"}, {Worker: "w2", Status: "succeeded"}}
	e.Results["s0-1"] = []outcome{{Worker: "w1", Status: "failed", Reason: "page_hung"}}
	e.Sent[0].Stored = false
	for range 5 {
		e.Effects = append(e.Effects, e.Effects...) // So many ids that not all are shown.
	}
	s := settings{Mode: simulated, Seed: 11, Workers: 3, Rate: 500, Sessions: 400, Work: 20 * time.Millisecond, Sync: "always"}
	r := summarize(s, e, 7, map[string]int{"session.ended": 3})
	r.Took, r.Verdict = 61*time.Second, judge(e)
	r.Latency = spread{N: 6, P50: 1500 * time.Microsecond, P99: 20 * time.Millisecond, Max: time.Second}
	r.Recovery = map[kind]spread{
		killWorker: {Faults: 2, N: 40, P50: 300 * time.Millisecond, P99: 900 * time.Millisecond, Max: time.Second},
		killNode:   {Faults: 1, N: 64, P50: 2 * time.Second, P99: 6 * time.Second, Max: 7 * time.Second},
	}
	return r
}

func TestTheReportForAPerson(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sample().show(&out)
	file := filepath.Join("testdata", "report.txt")
	if *update {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTheReportForAProgram(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.json")
	if err := sample().save(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
	if err := sample().save(filepath.Join(t.TempDir(), "missing", "report.json")); err == nil {
		t.Error("a folder that is not there was written to")
	}
}
