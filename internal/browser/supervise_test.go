//go:build browser

package browser

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// hold opens a page as a session does that moves when it must: the tab is
// closed by the caller.
func hold(t *testing.T, p *Pool) *Tab {
	t.Helper()
	tab, err := p.Open(within(t, 30*time.Second), lightRequest(""))
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// retires waits until the tab's browser is to be replaced.
func retires(t *testing.T, tab *Tab) {
	t.Helper()
	select {
	case <-tab.Retire():
	case <-tab.Done():
		t.Fatalf("the tab has gone: %v", tab.Err())
	case <-within(t, 20*time.Second).Done():
		t.Fatal("the browser is not replaced")
	}
}

func gone(t *testing.T, proc *process) {
	t.Helper()
	select {
	case <-proc.ended:
	case <-within(t, 20*time.Second).Done():
		t.Fatal("the browser does not end")
	}
	if left := members(t, proc.cmd.Process.Pid); len(left) > 0 {
		t.Errorf("%d processes of the browser are left", len(left))
	}
}

// A worn browser has a successor before it takes no more sessions, keeps the
// tabs that it has, and ends with the last of them.
func TestWornBrowserIsReplaced(t *testing.T) {
	t.Parallel()
	tests := []struct {
		why  string
		wear func(*Options)
	}{
		{wornByAge, func(o *Options) { o.MaxAge = 500 * time.Millisecond }},
		{wornBySessions, func(o *Options) { o.Sessions = 1 }},
		{wornByMemory, func(o *Options) { o.MaxMemory = 1 << 20 }},
	}
	for _, test := range tests {
		t.Run(test.why, func(t *testing.T) {
			t.Parallel()
			o := newSite(t, pages(nil)).options(t)
			o.Watch = 100 * time.Millisecond
			test.wear(&o)
			p := newPool(t, o)
			tab := hold(t, p)
			old := tab.room.proc
			retires(t, tab)
			var stats ProcessStats
			for _, b := range p.Stats().Browsers {
				if b.PID == old.cmd.Process.Pid {
					stats = b
				}
			}
			if stats.Wear != test.why || !stats.Leaving || stats.Tabs != 1 {
				t.Errorf("the old browser is described as %+v", stats)
			}
			next := hold(t, p)
			if next.room.proc == old {
				t.Error("the worn browser got one more session")
			}
			for i, tab := range []*Tab{tab, next} {
				if got := ask[int](t, tab, "echo", i); got != i {
					t.Errorf("tab %d answers %d", i, got)
				}
				closeTab(t, tab)
			}
			gone(t, old)
			if s := p.Stats(); s.Crashed != 0 || s.Replaced < 1 || s.Tabs != 0 {
				t.Errorf("the pool counts %+v", s)
			}
		})
	}
}

// Nobody waits and nothing fails while browsers are replaced one after another.
func TestReplacingLosesNothing(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Sessions = 6
	p := newPool(t, o)
	for i := range 60 {
		tab := hold(t, p)
		if got := ask[int](t, tab, "echo", i); got != i {
			t.Fatalf("session %d answers %d", i, got)
		}
		closeTab(t, tab)
	}
	if s := p.Stats(); s.Replaced < 3 || s.Crashed != 0 {
		t.Errorf("the pool counts %+v", s)
	}
}

func TestTabsOfAReplacedBrowserEnd(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Watch, o.MaxAge, o.Leave = 100*time.Millisecond, time.Second, time.Second
	p := newPool(t, o)
	tab := hold(t, p)
	retires(t, tab)
	select {
	case <-tab.Done():
		wantFault(t, tab.Err(), fault.BrowserCrashed)
	case <-within(t, 20*time.Second).Done():
		t.Fatal("the tab keeps its browser for ever")
	}
	gone(t, tab.room.proc)
}

// A browser that no successor can be started for stays, and works.
func TestWornBrowserStaysWithoutSuccessor(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	tab := open(t, p, lightRequest(""))
	whole := p.launcher.bin.path
	p.launcher.bin.path = filepath.Join(t.TempDir(), "nothing")
	proc := tab.room.proc
	p.replace(t.Context(), proc, wornByAge)
	p.launcher.bin.path = whole
	if proc.leaves() || proc.worn() {
		t.Error("the browser takes no more sessions")
	}
	if next := open(t, p, lightRequest("")); next.room.proc != proc {
		t.Error("another browser was started")
	}
	proc.wearOut(t.Context(), wornByAge)
	retires(t, tab)
}

// The death of one browser is nothing to the tabs of another.
func TestOneOfTwoBrowsersDies(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Tabs, o.Processes = 4, 2
	p := newPool(t, o)
	of := map[*process][]*Tab{}
	for range 4 {
		tab := open(t, p, lightRequest(""))
		of[tab.room.proc] = append(of[tab.room.proc], tab)
		if st := p.underway(light); st != nil {
			<-st.done
		}
	}
	if len(of) != 2 {
		t.Fatalf("%d browsers were used, want 2", len(of))
	}
	dead := anyOf(of)
	if err := syscall.Kill(dead.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for proc, tabs := range of {
		for _, tab := range tabs {
			if proc == dead {
				<-tab.Done()
				wantFault(t, tab.Err(), fault.BrowserCrashed)
			} else if got := ask[int](t, tab, "echo", 3); got != 3 {
				t.Errorf("a tab of the other browser answers %d", got)
			}
		}
	}
	gone(t, dead)
	open(t, p, lightRequest(""))
}

func anyOf(of map[*process][]*Tab) *process {
	for proc := range of {
		return proc
	}
	return nil
}

// A spare tab whose renderer has just died is not what a session gets.
func TestDeadSpareIsNotHandedOut(t *testing.T) {
	t.Parallel()
	p := newPool(t, newSite(t, pages(nil)).options(t))
	rounds := 20
	if *storm {
		rounds = 200
	}
	for i := range rounds {
		for pid := range renderersOf(t, p) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		tab := hold(t, p)
		if got := ask[int](t, tab, "echo", i); got != i {
			t.Fatalf("session %d answers %d", i, got)
		}
		closeTab(t, tab)
	}
}

func TestMemoryIsMeasured(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Spare = -1
	p := newPool(t, o)
	pid := only(t, p, light).cmd.Process.Pid
	measure := func() Memory {
		list, err := p.Memory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 {
			t.Fatalf("%d browsers were measured", len(list))
		}
		return list[pid]
	}
	empty := measure()
	const count = 5
	for range count {
		open(t, p, lightRequest(""))
	}
	held := measure()
	each := (held.PSS - empty.PSS) / count
	t.Logf("empty %d MiB in %d processes, %d MiB for each of %d tabs", empty.PSS>>20, empty.Processes, each>>20, count)
	if empty.PSS < 20<<20 || held.Processes < empty.Processes+count || each < 1<<20 || each > 100<<20 {
		t.Errorf("empty %+v, with %d tabs %+v", empty, count, held)
	}
}

// A browser that stands still is found when a tab is to be prepared, at the
// latest, and the session gets one of its successor's.
func TestStoppedBrowserPreparesNothing(t *testing.T) {
	t.Parallel()
	o := newSite(t, pages(nil)).options(t)
	o.Spare = -1
	p := newPool(t, o)
	dead := only(t, p, light)
	if err := syscall.Kill(dead.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	tab, err := p.Open(within(t, 60*time.Second), lightRequest(""))
	if err != nil {
		t.Fatal(err)
	}
	closeTab(t, tab)
	gone(t, dead)
}
