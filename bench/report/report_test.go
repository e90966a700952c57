package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is a benchmark with one promise that is kept and one that is not.
func sample(t *testing.T) Benchmark {
	t.Helper()
	b := Benchmark{
		Name: "warm", Title: "A warm thing.", Method: "Do it.", Date: "2026-11-25", Repeats: 3, Jobs: 10,
		Machine: Machine{CPU: "Z80", Cores: 1, System: "linux", Go: "go1.26"},
		Contenders: []Contender{
			{Name: "ours", What: "Parley", Values: map[Measure][]float64{P50: {100, 120, 110}, PerCPU: {50, 40, 60}}},
			{Name: "raw", What: "<raw> & bare", Values: map[Measure][]float64{P50: {100, 100, 100}, PerCPU: {40, 40, 40}}},
		},
	}
	for _, l := range []Line{
		{Name: "warm/p50", Measure: P50, Against: "raw", Bar: 1.05},
		{Name: "warm/cpu", Measure: PerCPU, Against: "raw", Bar: 1.2, AtLeast: true},
	} {
		line, err := Compare(l, b.Contenders[0].Values[l.Measure], b.Contenders[1].Values[l.Measure])
		if err != nil {
			t.Fatal(err)
		}
		b.Lines = append(b.Lines, line)
	}
	return b
}

func TestLines(t *testing.T) {
	t.Parallel()
	b := sample(t)
	want := []string{
		"warm/p50 ours=110us reference=100us ratio=1.10 (1.00/1.10/1.20) bar=<=1.05 short",
		"warm/cpu ours=50.0/s reference=40.0/s ratio=1.25 (1.00/1.25/1.50) bar=>=1.20 ok",
	}
	if diff := cmp.Diff(want, []string{b.Lines[0].String(), b.Lines[1].String()}); diff != "" {
		t.Error(diff)
	}
	if got := b.Closest(); got.Name != "warm" || got.OK() {
		t.Errorf("the closest line is %s, want the short one under the benchmark's name", got)
	}
}

func TestCompareRefusesWhatWasNotMeasured(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][2][]float64{
		"nothing":       {{}, {}},
		"fewer":         {{1}, {1, 2}},
		"an empty side": {{1, 2}, {1, 0}},
	} {
		if _, err := Compare(Line{}, values[0], values[1]); err == nil {
			t.Errorf("%s was compared", name)
		}
	}
}

func TestTheChartIsWellFormed(t *testing.T) {
	t.Parallel()
	decoder := xml.NewDecoder(strings.NewReader(sample(t).Chart()))
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestResultsAreKeptInOrder(t *testing.T) {
	t.Parallel()
	file, order := filepath.Join(t.TempDir(), "results.json"), []string{"a", "warm", "z"}
	r, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"z", "warm", "a", "warm"} {
		b := sample(t)
		b.Name = name
		r = r.With(b, order)
	}
	if err := r.Save(file); err != nil {
		t.Fatal(err)
	}
	again, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range again.Benchmarks {
		names = append(names, b.Name)
	}
	if diff := cmp.Diff(order, names); diff != "" {
		t.Error(diff)
	}
}

// TestThePageIsFresh holds the committed page against the committed results.
func TestThePageIsFresh(t *testing.T) {
	t.Parallel()
	results, err := Load("../results.json")
	if err != nil {
		t.Fatal(err)
	}
	if results.Faults, err = LoadFaults(os.DirFS("../faults")); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(results.Page(), string(page)); diff != "" {
		t.Errorf("docs/benchmarks.md is stale; `go run ./bench -page` writes it:\n%s", diff)
	}
	for _, b := range results.Benchmarks {
		chart, err := os.ReadFile("../../docs/img/bench-" + b.Name + ".svg")
		if err != nil {
			t.Fatal(err)
		}
		if string(chart) != b.Chart() {
			t.Errorf("the chart of %s is stale; `go run ./bench -page` writes it", b.Name)
		}
	}
}
