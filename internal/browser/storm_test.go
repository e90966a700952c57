//go:build browser

package browser

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

var storm = flag.Bool("storm", false, "kill 100 browsers and 200 renderers, in place of a few")

// TestStorm kills browsers and renderers below sessions that call all the time.
// Every call must be answered or fail with a reason, each session must go on in
// a new tab, and nothing may be left at the end.
func TestStorm(t *testing.T) {
	t.Parallel()
	browsers, renderers, holders := 8, 16, 6
	if *storm {
		browsers, renderers, holders = 100, 200, 10
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	o := newSite(t, pages(nil)).options(t)
	o.Processes, o.Tabs = 2, holders+4
	p := newPool(t, o)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	s := &stormy{t: t, pool: p, answered: make(chan struct{}, 1)}
	for range holders {
		work.Go(func() { s.session(ctx) })
	}
	groups := map[int]bool{}
	for browsers+renderers > 0 {
		s.await(10)
		var list []int
		p.mu.Lock()
		procs := p.all()
		p.mu.Unlock()
		for _, proc := range procs {
			groups[proc.cmd.Process.Pid] = true
		}
		if len(procs) == 0 {
			continue
		}
		victim := procs[random.IntN(len(procs))].cmd.Process.Pid
		if random.IntN(browsers+renderers) < browsers {
			browsers--
			list = []int{victim}
		} else if list = pidsOf(members(t, victim).named("--type=renderer")); len(list) > 0 {
			renderers--
			list = []int{list[random.IntN(len(list))]}
		}
		for _, pid := range list {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	s.await(holders * 5)
	stop()
	work.Wait()
	closePool(t, p)
	for group := range groups {
		if left := members(t, group); len(left) > 0 {
			t.Errorf("%d processes of browser %d are left", len(left), group)
		}
	}
	if got := p.inUse(); got != 0 {
		t.Errorf("%d tabs are counted", got)
	}
	slices.Sort(s.recovered)
	n := len(s.recovered)
	if n == 0 {
		t.Fatal("no session was hit")
	}
	t.Logf("%d browsers ran; %d calls were answered, %d sessions were hit and went on: p50 %s, p99 %s, max %s",
		len(groups), s.calls, n, s.recovered[n/2], s.recovered[n*99/100], s.recovered[n-1])
}

func pidsOf(list family) []int {
	var pids []int
	for _, p := range list {
		pids = append(pids, p.pid)
	}
	return pids
}

// stormy are the sessions of TestStorm.
type stormy struct {
	t        *testing.T
	pool     *Pool
	answered chan struct{}

	mu        sync.Mutex // guards the fields below
	calls     int
	recovered []time.Duration // from a failed call to the next answer
}

// session holds a tab, calls it, and opens another one when it is lost.
func (s *stormy) session(ctx context.Context) {
	var tab *Tab
	var lost time.Time
	for n := 0; ctx.Err() == nil; n++ {
		err := s.step(ctx, &tab, n)
		switch {
		case err == nil:
			s.note(lost)
			lost = time.Time{}
		case ctx.Err() != nil:
		case !slices.Contains([]fault.Reason{fault.BrowserCrashed, fault.PageCrashed, fault.ShuttingDown}, fault.From(err).Reason):
			s.t.Errorf("a session was told %v (%s)", err, fault.From(err).Reason)
		case lost.IsZero():
			lost = time.Now()
		}
	}
	if tab != nil {
		_ = tab.Close(context.WithoutCancel(ctx))
	}
}

// step makes one call, in a new tab when the old one is gone.
func (s *stormy) step(ctx context.Context, tab **Tab, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if *tab == nil || (*tab).Err() != nil {
		opened, err := s.pool.Open(ctx, lightRequest(""))
		if err != nil {
			return err
		}
		*tab = opened
	}
	var got int
	if err := (*tab).Call(ctx, "echo", n, &got); err != nil {
		return err
	}
	if got != n {
		return errors.New("another session's answer")
	}
	return nil
}

// note counts an answer, and how long the session was away.
func (s *stormy) note(lost time.Time) {
	s.mu.Lock()
	s.calls++
	if !lost.IsZero() {
		s.recovered = append(s.recovered, time.Since(lost))
	}
	s.mu.Unlock()
	select {
	case s.answered <- struct{}{}:
	default:
	}
}

// await waits for so many more answers.
func (s *stormy) await(count int) {
	s.t.Helper()
	s.mu.Lock()
	until := s.calls + count
	s.mu.Unlock()
	limit := within(s.t, 90*time.Second)
	for {
		s.mu.Lock()
		there := s.calls >= until
		s.mu.Unlock()
		if there {
			return
		}
		select {
		case <-s.answered:
		case <-limit.Done():
			s.t.Fatal("the sessions get no answers any more")
		}
	}
}
