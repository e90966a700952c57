package report

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestFaultsAreCountedOnThePage(t *testing.T) {
	t.Parallel()
	runs, err := LoadFaults(fstest.MapFS{"one.json": {Data: []byte(`{
		"settings": {"mode": "simulated", "seed": 7, "workers": 4, "rate": 500, "duration_ns": 60000000000, "sync": "always"},
		"stored": 30000, "refused": 4,
		"recovery": {"kill": {"faults": 3, "p50_ns": 300000000, "p99_ns": 500000000, "max_ns": 600000000}},
		"verdict": {"lost": ["a", "b"], "twice": ["c"], "reordered": null, "stale": [], "failed": null, "orphans": null}
	}`)}})
	if err != nil {
		t.Fatal(err)
	}
	page := Results{Faults: runs}.Page()
	for _, want := range []string{
		"| simulated, seed 7, 1m0s, 4 workers, 500 commands/s, sync always | 30000 | 2 | 1 | 0 | 0 | 4 | 0 | 0 |",
		"| simulated | kill | 3 | 300ms | 500ms | 600ms |",
		"go run ./bench/cluster -mode simulated -seed 7 -for 1m0s -workers 4 -rate 500",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestFaultsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	_, err := LoadFaults(fstest.MapFS{"bad.json": {Data: []byte("{")}})
	if err == nil || !strings.Contains(err.Error(), "bad.json") {
		t.Errorf("got %v, want an error that names the file", err)
	}
	if runs, err := LoadFaults(fstest.MapFS{}); err != nil || len(runs) != 0 {
		t.Errorf("got %v, %v for an empty folder", runs, err)
	}
}
