package bus

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/fault"
)

func written(t *testing.T, value any) []byte {
	t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// rosterOf returns a roster of the group g with workers of the names, whose ids
// are their names.
func rosterOf(t *testing.T, names ...string) *roster {
	t.Helper()
	r := newRoster("g")
	for i, name := range names {
		if err := r.apply("w.g."+name, written(t, presence{ID: name, TTL: time.Second}), uint64(i+1), time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestRosterKnowsWhoLives(t *testing.T) {
	t.Parallel()
	r := rosterOf(t, "c", "a", "b")
	for _, step := range []struct {
		key   string
		value any
		want  []string
	}{
		{"w.g.b", presence{ID: "b", Leaving: true}, []string{"a", "c"}},
		{"w.g.a", nil, []string{"c"}},
		{"w.other.x", presence{ID: "x"}, []string{"c"}},
		{"w.g", presence{ID: "y"}, []string{"c"}},
		{"x.g.y", presence{ID: "y"}, []string{"c"}},
		{"w.g.a", presence{ID: "a2"}, []string{"a", "c"}},
	} {
		var value []byte
		if step.value != nil {
			value = written(t, step.value)
		}
		if err := r.apply(step.key, value, 10, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		if got := r.live(); !slices.Equal(got, step.want) {
			t.Errorf("after %s: %v, want %v", step.key, got, step.want)
		}
	}
	if err := r.apply("w.g.c", []byte("{"), 11, time.Unix(0, 0)); err == nil {
		t.Error("a key that cannot be read is no error")
	}
}

func TestRosterIgnoresWhatIsOlder(t *testing.T) {
	t.Parallel()
	r := rosterOf(t, "a", "b")
	for _, step := range []struct {
		revision uint64
		record   record
		want     entry
	}{
		{20, record{"a", "a"}, entry{record{"a", "a"}, 20}},
		{19, record{"b", "b"}, entry{record{"a", "a"}, 20}},
		{20, record{"b", "b"}, entry{record{"a", "a"}, 20}},
		{21, record{}, entry{record{}, 21}},
	} {
		if err := r.apply("p.g.7", written(t, step.record), step.revision, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, r.owned[7], cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("at %d (-want +got):\n%s", step.revision, diff)
		}
	}
	if err := r.apply("p.other.7", written(t, record{"x", "x"}), 99, time.Unix(0, 0)); err != nil || r.owned[7].revision != 21 {
		t.Errorf("the record of another group was taken: %+v, %v", r.owned[7], err)
	}
}

// TestAPartitionIsFreeWhenItsOwnerIsGone: an owner that came back is another
// one, with another id.
func TestAPartitionIsFreeWhenItsOwnerIsGone(t *testing.T) {
	t.Parallel()
	r := rosterOf(t, "a", "b")
	for owner, want := range map[record]bool{
		{}:                  true,
		{"a", "a"}:          false,
		{"a", "an old one"}: true,
		{"gone", "gone"}:    true,
	} {
		r.owned[3] = entry{owner, 9}
		if got, free := r.free(3); free != want || got.record != owner {
			t.Errorf("free of %+v: %t, want %t", owner, free, want)
		}
	}
}

func TestEachWorkerIsWatchedByOneOther(t *testing.T) {
	t.Parallel()
	names := []string{"c", "a", "d", "b"}
	r := rosterOf(t, names...)
	watched := map[string]int{}
	for _, name := range names {
		next, s, ok := r.neighbour(name)
		if !ok || next == name || s.ID != next {
			t.Errorf("%s watches %s: %+v", name, next, s)
		}
		watched[next]++
	}
	for _, name := range names {
		if watched[name] != 1 {
			t.Errorf("%s is watched by %d", name, watched[name])
		}
	}
	if next, _, ok := rosterOf(t, "a").neighbour("a"); ok {
		t.Errorf("a worker that is alone watches %q", next)
	}
}

func TestASilentWorkerIsForgotten(t *testing.T) {
	t.Parallel()
	r := rosterOf(t, "a", "b")
	if err := r.apply("w.g.a", written(t, presence{ID: "a", TTL: time.Second}), 9, time.Unix(3, 0)); err != nil {
		t.Fatal(err)
	}
	r.forget(time.Unix(3, 0))
	if got := r.live(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after 3 lives: %v", got)
	}
	r.forget(time.Unix(3, 1))
	if got := r.live(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after more than 3 lives: %v", got)
	}
}

func TestRivalsTakeTheSame(t *testing.T) {
	t.Parallel()
	r := newRoster("g")
	for name, filters := range map[string][]string{
		"w.g.ours":   {everyCommand},
		"w.h.user":   {"cq.*.*.botstar.user.*.*.*"},
		"w.i.widget": {"cq.*.*.botstar.widget.*.*.*"},
		"w.j.all":    {everyCommand},
	} {
		if err := r.apply(name, written(t, presence{ID: name, Filters: filters}), 1, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for at := range r.rivals([]string{"cq.*.*.botstar.widget.open.*.*"}) {
		got = append(got, at.name)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"all", "widget"}) {
		t.Errorf("rivals: %v", got)
	}
}

func TestNamesOfConsumers(t *testing.T) {
	t.Parallel()
	group := groupOf([]string{everyCommand})
	for _, partition := range []int{0, 7, partitions - 1} {
		got, ok := parseConsumer(consumerName(partition, group, 42))
		if !ok || got != (term{group: group, partition: partition, epoch: 42}) {
			t.Errorf("partition %d: %+v, %t", partition, got, ok)
		}
	}
	if got, ok := parseConsumer(wholeName(group, "abc")); !ok || got != (term{group: group, partition: -1, id: "abc"}) {
		t.Errorf("all: %+v, %t", got, ok)
	}
	for _, name := range []string{"", "worker-0123456789abcdef", "p1-g", "p64-g-e1", "p-1-g-e1", "px-g-e1", "p1-g-x1", "p1-g-e"} {
		if got, ok := parseConsumer(name); ok {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
}

func TestFiltersOfAPartition(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ asked, named, on7 []string }{
		{nil, []string{"cq.>"}, []string{"cq.7.>"}},
		{[]string{"cq.*.*.*.*.*.*.*"}, []string{"cq.>"}, []string{"cq.7.>"}},
		{
			[]string{"cq.*.*.b.*.*.*.*", "cq.*.*.a.*.*.*.*", "cq.*.*.a.*.*.*.*"},
			[]string{"cq.*.*.a.*.*.*.*", "cq.*.*.b.*.*.*.*"},
			[]string{"cq.7.*.a.*.*.*.*", "cq.7.*.b.*.*.*.*"},
		},
	} {
		named, err := queueFilters(test.asked)
		if err != nil || !slices.Equal(named, test.named) {
			t.Errorf("queueFilters(%v) = %v, %v", test.asked, named, err)
		}
		if got := filtersOn(7, named); !slices.Equal(got, test.on7) {
			t.Errorf("filtersOn(7, %v) = %v", named, got)
		}
	}
	if _, err := queueFilters([]string{"cq.3.>"}); fault.From(err) == nil || fault.From(err).Reason != fault.BadConfig {
		t.Errorf("a filter of one partition: %v", err)
	}
}

func TestPartitionOfASubject(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]int{
		"cq.0.w.a.b.c.s.t": 0, "cq.63.w.a.b.c.s.t": 63, "cq.64.w": -1, "cq.-1.w": -1, "cq.x.w": -1, "cq.5": -1, "cmd.5.w": -1,
	} {
		if got := partitionOf(subject); got != want {
			t.Errorf("partitionOf(%s) = %d, want %d", subject, got, want)
		}
	}
	seen := map[int]int{}
	for n := range 10000 {
		seen[PartitionOf("shop", strconv.Itoa(n))]++
	}
	if len(seen) != partitions {
		t.Errorf("10000 sessions are in %d partitions", len(seen))
	}
}
