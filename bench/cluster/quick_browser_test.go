//go:build browser

package main

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// TestQuickly is the quick form of `make cluster-test`: a real cluster, a load,
// and a few faults, first with simulated actions, then on real pages. What it
// finds is a violation, with the ids.
//
//nolint:paralleltest // It looks at all children of this process, and measures.
func TestQuickly(t *testing.T) {
	for _, s := range []settings{
		{
			Mode: simulated, Seed: 1, Workers: 3, Rate: 150, Sessions: 120, Span: 60, Duration: 16 * time.Second,
			Work: 20 * time.Millisecond, Faults: []kind{killWorker, stopWorker, killNode}, Calm: 2 * time.Second,
		},
		{
			Mode: pages, Seed: 1, Workers: 2, Rate: 4, Sessions: 6, Span: 48, Duration: 14 * time.Second,
			Faults: []kind{killBrowser, killPage, killWorker}, Calm: 3 * time.Second,
		},
	} {
		t.Run(string(s.Mode), func(t *testing.T) {
			s.Sync, s.Drain = "always", time.Minute
			r, err := execute(t.Context(), s, os.Args[0], func(text string) { t.Log(text) })
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			r.show(&out)
			t.Log(out.String())
			if !r.Verdict.clean() {
				t.Error("something was found")
			}
			if r.Stored < int(s.Duration.Seconds())*s.Rate/2 || len(r.Hurts) < len(s.Faults) {
				t.Errorf("%d commands and %d faults are no test", r.Stored, len(r.Hurts))
			}
		})
	}
}
