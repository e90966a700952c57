package bus_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/bus/bustest"
)

// TestSubjects tells the subjects that have a message now, each once, and no
// others.
func TestSubjects(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ask := func(filter string) []string {
		t.Helper()
		subjects, all, err := b.Subjects(t.Context(), filter)
		if err != nil || !all {
			t.Fatalf("Subjects(%s) = all %v, %v", filter, all, err)
		}
		slices.Sort(subjects)
		return subjects
	}
	if got := ask("run.*.*"); len(got) > 0 {
		t.Errorf("of nothing there are %v", got)
	}
	var msgs []bus.FlowMsg
	for i := range 3 {
		msgs = append(msgs, bus.FlowMsg{Subject: fmt.Sprintf("run.shop.s-%d", i), Data: []byte("{}"), Only: true})
	}
	msgs = append(msgs, bus.FlowMsg{Subject: "run.shop.s-0.r-1", Data: []byte("{}")}, bus.FlowMsg{Subject: "run.docs.s-0", Data: []byte("{}")})
	for range 2 { // The second one replaces the records.
		if _, err := b.Commit(t.Context(), msgs); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"run.docs.s-0", "run.shop.s-0", "run.shop.s-1", "run.shop.s-2"}, ask("run.*.*")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"run.docs.s-0"}, ask("run.docs.*")); diff != "" {
		t.Error(diff)
	}
}
