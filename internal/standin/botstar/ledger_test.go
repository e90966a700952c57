package botstar_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/internal/standin/botstar"
)

func TestReportsAreRecordedInTheirOrder(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	v.boot("i1", "u-1")
	v.report("i1", `{"seq":3,"type":"close","cause":"visitor"},{"seq":2,"type":"update","attributes":{"a":1}}`)
	if got := v.Ledger().Counts(); got[botstar.Closed] != 0 || got[botstar.Updated] != 0 {
		t.Errorf("reports that came early are recorded: %v", got)
	}
	v.report("i1", `{"seq":1,"type":"open","cause":"api"}`)
	v.report("i1", `{"seq":1,"type":"open","cause":"api"},{"seq":2,"type":"update"},{"seq":4,"type":"nonsense"},{"seq":5,"type":"message","text":"hi"}`)
	var got []string
	for i, e := range v.Ledger().Snapshot().Of("u-1") {
		got = append(got, string(e.Kind)+e.Cause)
		if e.Seq != i+1 {
			t.Errorf("entry %d has the number %d", i+1, e.Seq)
		}
	}
	if diff := cmp.Diff([]string{"booted", "openedapi", "updated", "closedvisitor", "messaged"}, got); diff != "" {
		t.Errorf("the entries (-want +got):\n%s", diff)
	}
	for body, want := range map[string]int{
		`{"instance":"unknown","entries":[]}`: http.StatusNotFound,
		`{"instance":`:                        http.StatusBadRequest,
	} {
		if status, _ := v.ask(botstar.WidgetOrigin+"/api/event", body); status != want {
			t.Errorf("%s answers %d, want %d", body, status, want)
		}
	}
}

func TestUpdatesAreLimited(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	clock := func() time.Time { return time.Unix(now.Load(), 0) }
	v := serve(t, botstar.Options{Now: clock})
	seq := map[string]int{}
	update := func(instance string, n int) {
		for range n {
			seq[instance]++
			v.report(instance, fmt.Sprintf(`{"seq":%d,"type":"update","attributes":{"n":%d}}`, seq[instance], seq[instance]))
		}
	}
	expect := func(what, visitor string, applied, ignored int) {
		t.Helper()
		s := v.Ledger().Snapshot()
		if a, i := s.Count(visitor, botstar.Updated), s.Count(visitor, botstar.Ignored); a != applied || i != ignored {
			t.Errorf("%s: %d updates of %s applied and %d ignored, want %d and %d", what, a, visitor, i, applied, ignored)
		}
	}
	v.boot("i1", "u-1")
	v.boot("i2", "u-2")
	update("i1", 19)
	now.Store(600)
	v.boot("i3", "u-1")
	update("i3", 3)
	update("i2", 1)
	expect("twenty in half an hour, over all frames", "u-1", 20, 2)
	expect("another visitor", "u-2", 1, 0)
	if e := v.Ledger().Snapshot().Kind(botstar.Ignored)[0]; e.Attributes["n"] != 2.0 || e.After.Attributes["n"] != 1.0 {
		t.Errorf("the ignored update said %v and left %v", e.Attributes, e.After.Attributes)
	}
	now.Store(1799)
	update("i1", 1)
	expect("a second before the window has passed", "u-1", 20, 3)
	now.Store(1800)
	update("i1", 20)
	expect("when the first nineteen have passed", "u-1", 39, 4)
	v.Set(botstar.Faults{Throttle: botstar.Throttle{Limit: -1}})
	update("i2", 1)
	expect("with a limit of none", "u-2", 1, 1)
	v.Set(botstar.Faults{Throttle: botstar.Throttle{Limit: 3, Window: time.Second}})
	now.Store(2000)
	update("i2", 4)
	expect("with a limit of three a second", "u-2", 4, 2)
}

func TestWaitForTheLedger(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	type answer struct {
		snapshot botstar.Snapshot
		err      error
	}
	waited := make(chan answer, 1)
	asked := make(chan struct{}, 100)
	go func() {
		s, err := v.Ledger().Wait(ctx, func(s botstar.Snapshot) bool {
			asked <- struct{}{}
			return s.Counts[botstar.Booted] == 2
		})
		waited <- answer{s, err}
	}()
	<-asked
	v.boot("i1", "u-1")
	<-asked
	v.boot("i2", "u-2")
	got := <-waited
	if got.err != nil || len(got.snapshot.Entries) != 2 {
		t.Errorf("waited for %+v, %v", got.snapshot, got.err)
	}
	cancel(errors.New("enough"))
	s, err := v.Ledger().Wait(ctx, func(botstar.Snapshot) bool { return false })
	if err == nil || !strings.Contains(err.Error(), "booted:2") || !strings.Contains(err.Error(), "enough") || len(s.Entries) != 2 {
		t.Errorf("an ended wait gives %+v, %v", s, err)
	}
	v.Ledger().Reset()
	v.boot("i3", "u-3")
	after := v.Ledger().Snapshot()
	if len(after.Entries) != 1 || after.Entries[0].Seq != 1 || after.Counts[botstar.Booted] != 1 {
		t.Errorf("after the reset: %+v", after)
	}
	if len(s.Entries) != 2 || s.Entries[0].Visitor != "u-1" {
		t.Error("the older snapshot has changed")
	}
}

func TestLedgerForgetsWhatIsOld(t *testing.T) {
	t.Parallel()
	v := serve(t, botstar.Options{Keep: 3})
	for i := range 10 {
		v.boot(fmt.Sprintf("i%d", i), fmt.Sprintf("u-%d", i))
	}
	s := v.Ledger().Snapshot()
	var visitors []string
	for _, e := range s.Entries {
		visitors = append(visitors, e.Visitor)
	}
	if diff := cmp.Diff([]string{"u-7", "u-8", "u-9"}, visitors); diff != "" || s.Counts[botstar.Booted] != 10 {
		t.Errorf("the kept visitors, of %d (-want +got):\n%s", s.Counts[botstar.Booted], diff)
	}
	if status, _ := v.ask(botstar.WidgetOrigin+"/api/event", `{"instance":"i0","entries":[]}`); status != http.StatusNotFound {
		t.Errorf("a forgotten frame answers %d", status)
	}
	v.report("i9", `{"seq":1,"type":"open"}`)
}
