package browser

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Why a browser is replaced.
const (
	wornByAge      = "age"
	wornBySessions = "sessions"
	wornByMemory   = "memory"
)

// youth is how many looks at a browser it is left alone for, whatever memory it
// uses: else a limit that is too small would replace browsers without end.
const youth = 4

// Retire returns a channel that is closed when the tab's browser is to be
// replaced, because it is old, has served its number of sessions or uses too
// much memory. The tab works on: its holder should move the session to another
// tab, which is opened in another browser from then on, and close this one. The
// browser ends with its last tab, or after [Options.Leave].
func (t *Tab) Retire() <-chan struct{} { return t.room.proc.retired }

// supervise looks at the browsers until the pool closes.
func (p *Pool) supervise(ctx context.Context) {
	tick := time.NewTicker(p.opts.Watch)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, k := range []kind{light, full} {
				p.look(ctx, k, now)
			}
		case <-p.stop:
			return
		}
	}
}

// look replaces a browser of the kind that is worn: one at a time, so that not
// all sessions move at once.
func (p *Pool) look(ctx context.Context, k kind, now time.Time) {
	p.mu.Lock()
	list := slices.Clone(p.procs[k])
	leaving := slices.ContainsFunc(list, (*process).worn)
	for proc := range p.retired {
		leaving = leaving || proc.kind == k
	}
	p.mu.Unlock()
	if leaving {
		return
	}
	for _, proc := range list {
		age := now.Sub(proc.born)
		if p.opts.MaxAge > 0 && age > p.opts.MaxAge {
			proc.wearOut(ctx, wornByAge)
			return
		}
		if p.opts.MaxMemory > 0 && age > youth*p.opts.Watch && group(proc.cmd.Process.Pid).memory().PSS > p.opts.MaxMemory {
			proc.wearOut(ctx, wornByMemory)
			return
		}
	}
}

// wearOut replaces the browser, in the background. It takes sessions until its
// successor runs, but only when there is no other.
func (proc *process) wearOut(ctx context.Context, why string) {
	proc.mu.Lock()
	first := proc.wear == ""
	if first {
		proc.wear = why
	}
	proc.mu.Unlock()
	if first {
		ctx = context.WithoutCancel(ctx)
		proc.pool.spawn(func() { proc.pool.replace(ctx, proc, why) })
	}
}

// replace starts a successor, and when that is ready gives no more sessions to
// the browser. When none starts, the browser stays until the next look.
func (p *Pool) replace(ctx context.Context, proc *process, why string) {
	ctx, cancel := p.bound(ctx)
	defer cancel()
	p.log.LogAttrs(ctx, slog.LevelInfo, "browser is replaced",
		slog.String("kind", string(proc.kind)), slog.Int("pid", proc.cmd.Process.Pid), slog.String("why", why), slog.Int("tabs", proc.load()))
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	st := p.begin(ctx, proc.kind)
	p.mu.Unlock()
	<-st.done // A start is bounded.
	if st.err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "browser has no successor, and stays", slog.Any("err", st.err))
		proc.mu.Lock()
		proc.wear = ""
		proc.mu.Unlock()
		return
	}
	_ = st.proc.fill(ctx) // A tab that cannot be prepared now is prepared by Open.
	p.retire(ctx, proc)
}

// retire stops giving sessions to the browser, and tells those who hold its
// tabs. It ends with its last tab, or after a limit.
func (p *Pool) retire(ctx context.Context, proc *process) {
	p.mu.Lock()
	i := slices.Index(p.procs[proc.kind], proc)
	if i >= 0 {
		p.procs[proc.kind] = slices.Delete(p.procs[proc.kind], i, i+1)
		p.retired[proc] = struct{}{}
		p.counts.Replaced++
	}
	p.mu.Unlock()
	if i < 0 {
		return // It died meanwhile.
	}
	close(proc.retired)
	if proc.unused() {
		proc.kill(errReplaced())
		return
	}
	limit := time.NewTimer(p.opts.Leave)
	defer limit.Stop()
	select {
	case <-proc.ended:
	case <-p.stop:
	case <-limit.C:
		p.log.LogAttrs(ctx, slog.LevelWarn, "browser still has tabs, and is ended",
			slog.Int("pid", proc.cmd.Process.Pid), slog.Int("tabs", proc.load()))
		proc.kill(errReplaced())
	}
}

func errReplaced() error { return fault.New(fault.BrowserCrashed, "the browser was replaced") }

// worn reports whether the browser should get no more sessions.
func (proc *process) worn() bool {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return proc.why != nil || proc.wear != ""
}

// leaves reports whether the browser gets no more sessions.
func (proc *process) leaves() bool {
	select {
	case <-proc.retired:
		return true
	default:
		return false
	}
}

// unused reports whether no session has a tab of the browser.
func (proc *process) unused() bool { return proc.load() == 0 }
