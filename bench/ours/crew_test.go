package ours

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/bench/contend"
)

// TestMain lets this test program be a worker of a crew.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == WorkCommand {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if Work(ctx, os.Args[2], os.Stdout, os.Stderr) != nil {
			os.Exit(1)
		}
		return
	}
	m.Run()
}

func TestSpreadFillsThePartitionsEvenly(t *testing.T) {
	t.Parallel()
	all := spread(3)
	var count [partitions]int
	for i, visitor := range all {
		count[partitionOf(visitor)]++
		if i%partitions == partitions-1 && slices.Min(count[:]) != slices.Max(count[:]) {
			t.Errorf("after %d visitors, a partition has %d and another %d", i+1, slices.Min(count[:]), slices.Max(count[:]))
		}
	}
	slices.Sort(all)
	if distinct := slices.Compact(slices.Clone(all)); len(distinct) != 3*partitions {
		t.Errorf("there are %d different visitors, want %d", len(distinct), 3*partitions)
	}
}

// TestElsewhere: what counts is the first action of another worker, from the
// fault, or from the first command that it was for.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	fault := time.Unix(1000, 0)
	at := func(ms int) time.Time { return fault.Add(time.Duration(ms) * time.Millisecond) }
	type done struct {
		begun, at int
		worker    string
	}
	for name, test := range map[string]struct {
		done []done
		want time.Duration
		ok   bool
	}{
		"nothing yet":                  {nil, 0, false},
		"only the victim":              {[]done{{-50, 10, "w1"}, {20, 5000, "w1"}}, 0, false},
		"another before the fault":     {[]done{{-50, -10, "w2"}}, 0, false},
		"a command that waited":        {[]done{{-50, 300, "w2"}, {10, 320, "w2"}}, 300 * time.Millisecond, true},
		"nothing waited at first":      {[]done{{200, 300, "w3"}}, 100 * time.Millisecond, true},
		"the victim meanwhile":         {[]done{{-20, 15, "w1"}, {5, 60, "w2"}}, 55 * time.Millisecond, true},
		"the first done is the second": {[]done{{-20, 90, "w2"}, {5, 60, "w2"}}, 60 * time.Millisecond, true},
	} {
		f := &failover{crew: &crew{deeds: &deeds{done: map[string]deed{}}}}
		var sent []order
		for i, one := range test.done {
			id := name + string(rune('a'+i))
			sent = append(sent, order{id, at(one.begun)})
			f.deeds.done[id] = deed{one.worker, at(one.at)}
		}
		sent = append(sent, order{"not done", at(-100)})
		if got, ok := f.elsewhere(sent, "w1", fault); got != test.want || ok != test.ok {
			t.Errorf("%s: got %s, %t; want %s, %t", name, got, ok, test.want, test.ok)
		}
	}
}

// TestACrewDoesItsWorkAndLosesAWorker runs real worker processes: as many
// actions as were asked for, none of which may fail, and a killed worker whose
// partitions go on.
func TestACrewDoesItsWorkAndLosesAWorker(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	t.Parallel()
	for job, want := range map[string]string{"scale-2": contend.PerWorker, "failover": contend.FailoverKill} {
		started, err := Start(contend.Setup{Job: job, Dir: t.TempDir(), Window: 4})
		if err != nil {
			t.Fatal(err)
		}
		r, err := started.Round(contend.Order{Round: 1, Jobs: 1})
		if err != nil {
			t.Errorf("%s: %v", job, err)
		}
		if len(r.Values) != 1 || r.Values[want] <= 0 {
			t.Errorf("%s measured %v, want %s", job, r.Values, want)
		}
		if err := started.Close(); err != nil {
			t.Errorf("%s: %v", job, err)
		}
	}
}

// TestWaitTellsWhatWasNotDone: a failed command, and one with two results, end
// the wait at once.
func TestWaitTellsWhatWasNotDone(t *testing.T) {
	t.Parallel()
	d := &deeds{done: map[string]deed{"a": {"w1", time.Unix(1, 0)}, "b": {"w2", time.Unix(3, 0)}}}
	last, err := d.wait(t.Context(), []string{"b", "a"})
	if err != nil || !last.Equal(time.Unix(3, 0)) {
		t.Errorf("the last one was at %s (%v), want second 3", last, err)
	}
	if diff := cmp.Diff(0, len(d.done)); diff != "" {
		t.Errorf("what was waited for is kept:\n%s", diff)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.wait(ctx, []string{"c"}); err == nil || !strings.Contains(err.Error(), "c") {
		t.Errorf("got the error %v, want one that names c", err)
	}
	d.err = errors.New("it failed")
	if _, err := d.wait(t.Context(), []string{"c"}); !errors.Is(err, d.err) {
		t.Errorf("got the error %v, want %v", err, d.err)
	}
}
