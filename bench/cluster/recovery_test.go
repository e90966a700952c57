package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ms returns a moment, so many milliseconds after the beginning of a test.
func ms(n int) time.Time { return time.Unix(2000, 0).Add(time.Duration(n) * time.Millisecond) }

// history of one partition: begun, done, by whom.
type step struct {
	begun, done int
	worker      string
}

func partition(number int, steps ...step) (commands []sent, deeds []deed) {
	for i, s := range steps {
		id := string(rune('a'+number)) + string(rune('0'+i))
		commands = append(commands, sent{ID: id, Partition: number, Begun: ms(s.begun)})
		if s.worker != "" {
			deeds = append(deeds, deed{ID: id, Worker: s.worker, At: ms(s.done)})
		}
	}
	return commands, deeds
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault kind
		steps []step
		want  time.Duration
		none  bool
	}{
		{"the next one waited from the fault on", killWorker, []step{{0, 10, "w1"}, {900, 1400, "w2"}}, 400 * time.Millisecond, false},
		{"nothing waited at first", killWorker, []step{{0, 10, "w1"}, {1300, 1400, "w2"}}, 100 * time.Millisecond, false},
		{"a later command was done first", killWorker, []step{{0, 10, "w1"}, {1100, 1500, "w2"}, {1200, 1300, "w2"}}, 200 * time.Millisecond, false},
		{"the victim's own last deed does not count", stopWorker, []step{{0, 10, "w1"}, {900, 1050, "w1"}, {1100, 1200, "w2"}}, 100 * time.Millisecond, false},
		{"another one had it", killWorker, []step{{0, 10, "w2"}, {900, 1400, "w2"}}, 0, true},
		{"nobody came before the next fault", pauseWorker, []step{{0, 10, "w1"}, {900, 9000, "w2"}}, 0, true},
		{"the longest wait counts", cutWorker, []step{{0, 10, "w1"}, {900, 3000, "w1"}, {2500, 3100, "w1"}}, 2 * time.Second, false},
		{"the cut hit another", cutWorker, []step{{0, 10, "w3"}, {900, 3000, "w3"}}, 0, true},
		{"a server's loss hits all", killNode, []step{{0, 10, "w3"}, {1500, 2250, "w3"}}, 750 * time.Millisecond, false},
		{"what was never done is no sample", killNode, []step{{0, 10, "w3"}, {1500, 0, ""}}, 0, true},
		{"who joined, and took it", addWorker, []step{{0, 10, "w2"}, {1500, 1600, "w1"}}, 100 * time.Millisecond, false},
		{"who joined, and did not take it", addWorker, []step{{0, 10, "w2"}, {1500, 1600, "w2"}}, 0, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			commands, deeds := partition(0, test.steps...)
			h := hurt{Kind: test.fault, Victim: "w1", At: ms(1000), Until: ms(6000)}
			got := recoveries([]hurt{h}, commands, deeds)[test.fault]
			want := spread{Faults: 1, N: 1, P50: test.want, P99: test.want, Max: test.want}
			if test.none {
				want = spread{Faults: 1}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSamplesOfPartitionsAndFaultsAreTogether(t *testing.T) {
	t.Parallel()
	commands, deeds := partition(0, step{0, 10, "w1"}, step{900, 1400, "w2"})
	more, others := partition(1, step{0, 10, "w1"}, step{900, 1100, "w2"}, step{7900, 8300, "w3"})
	got := recoveries([]hurt{
		{Kind: killWorker, Victim: "w1", At: ms(1000), Until: ms(6000)},
		{Kind: killWorker, Victim: "w2", At: ms(8000), Until: ms(9000)},
	}, append(commands, more...), append(deeds, others...))
	want := map[kind]spread{killWorker: {
		Faults: 2, N: 3, P50: 300 * time.Millisecond, P99: 300 * time.Millisecond, Max: 400 * time.Millisecond,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	commands, deeds := partition(0, step{0, 10, "w1"}, step{0, 20, "w1"}, step{0, 30, "w1"}, step{0, 0, ""})
	deeds = append(deeds, deed{ID: "a0", Worker: "w2", At: ms(900)}) // Again: the first time counts.
	commands[2].Doomed = true
	want := spread{N: 2, P50: 10 * time.Millisecond, P99: 10 * time.Millisecond, Max: 20 * time.Millisecond}
	if diff := cmp.Diff(want, latencies(commands, deeds)); diff != "" {
		t.Error(diff)
	}
	if got := latencies(nil, nil); got != (spread{}) {
		t.Errorf("nothing took %+v", got)
	}
}
