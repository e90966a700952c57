package browser

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/parley-chat/parley/internal/fault"
)

// A start is a browser that is being started, once for all who wait for it.
type start struct {
	done chan struct{}
	proc *process // valid after done
	err  error    // valid after done
}

// Open opens the page for a new session, in a browser context of its own, and
// waits until its document is there. Call [Tab.Close] on the tab.
func (p *Pool) Open(ctx context.Context, r Request) (*Tab, error) {
	pl, err := p.plan(r)
	if err != nil {
		return nil, err
	}
	if err := p.reserve(); err != nil {
		return nil, err
	}
	t, err := p.open(ctx, pl, (*process).take)
	if died(err) && ctx.Err() == nil {
		// The browser, or the renderer of a spare tab, died under us or just
		// before. The other spare ones may have died with it.
		t, err = p.open(ctx, pl, (*process).takeNew)
	}
	if err != nil {
		p.release()
		return nil, err
	}
	return t, nil
}

// died reports whether the error says that a process of a browser has died.
func died(err error) bool {
	return errors.Is(err, fault.New(fault.BrowserCrashed, "")) || errors.Is(err, fault.New(fault.PageCrashed, ""))
}

func (p *Pool) open(ctx context.Context, pl plan, take func(*process, context.Context, string) (*Tab, error)) (*Tab, error) {
	proc, err := p.process(ctx, pl.kind())
	if err != nil {
		return nil, err
	}
	t, err := take(proc, ctx, pl.key)
	if err != nil {
		return nil, fmt.Errorf("preparing a tab: %w", proc.classify(err))
	}
	if err := t.open(ctx, pl); err != nil {
		t.fail(err)
		return nil, err
	}
	t.counted.Store(true)
	if err := t.Err(); err != nil && t.counted.Swap(false) {
		return nil, err // It died before it was counted: nobody else gives its place back.
	}
	p.spawn(func() { proc.refill() })
	return t, nil
}

// reserve takes one of the places for tabs.
func (p *Pool) reserve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.launcher == nil {
		return errClosed()
	}
	if p.tabs >= p.opts.Tabs {
		return fault.New(fault.BrowserBusy, "%d tabs are open", p.tabs)
	}
	p.tabs++
	return nil
}

func (p *Pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tabs--
}

// spawn runs the func in the background, unless the pool is closed. Close
// waits for it.
func (p *Pool) spawn(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.work.Go(f)
	}
}

// process returns the browser of the kind that has the fewest tabs. It starts
// one when there is none, and one more when all are well filled.
func (p *Pool) process(ctx context.Context, k kind) (*process, error) {
	for {
		p.mu.Lock()
		if p.closed || p.launcher == nil {
			p.mu.Unlock()
			return nil, errClosed()
		}
		best, filled := p.best(k)
		if best != nil && !filled {
			p.mu.Unlock()
			return best, nil
		}
		st := p.begin(ctx, k)
		p.mu.Unlock()
		if best != nil {
			return best, nil
		}
		select {
		case <-st.done:
			if st.err != nil {
				return nil, st.err
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a browser: %w", context.Cause(ctx))
		}
	}
}

// best returns the browser of the kind that should get the next session, or nil,
// and whether one more should be started. One that is being replaced is taken
// when there is no other. The caller holds mu.
func (p *Pool) best(k kind) (best *process, filled bool) {
	list := slices.DeleteFunc(slices.Clone(p.procs[k]), func(proc *process) bool { return proc.cause() != nil })
	if fit := slices.DeleteFunc(slices.Clone(list), (*process).worn); len(fit) > 0 {
		list = fit
	}
	if len(list) == 0 {
		return nil, true
	}
	best = slices.MinFunc(list, func(a, b *process) int { return cmp.Compare(a.load(), b.load()) })
	share := (p.opts.Tabs + p.opts.Processes - 1) / p.opts.Processes
	return best, len(list) < p.opts.Processes && best.load() >= share
}

// begin starts a browser in the background, or returns the start under way.
// The caller holds mu.
func (p *Pool) begin(ctx context.Context, k kind) *start {
	if st := p.starting[k]; st != nil {
		return st
	}
	st := &start{done: make(chan struct{})}
	p.starting[k] = st
	ctx = context.WithoutCancel(ctx)
	p.work.Go(func() {
		ctx, cancel := p.bound(ctx)
		defer cancel()
		proc, err := p.launch(ctx, k)
		p.mu.Lock()
		delete(p.starting, k)
		alive := err == nil && proc.cause() == nil
		if err == nil {
			p.counts.Started++
		}
		if alive {
			p.procs[k] = append(p.procs[k], proc)
		}
		closed := p.closed
		p.mu.Unlock()
		switch {
		case err == nil && closed:
			proc.kill(errClosed())
			err = errClosed()
		case err == nil && !alive:
			err = fault.New(fault.BrowserCrashed, "the browser died at its start")
		}
		st.proc, st.err = proc, err
		close(st.done)
	})
	return st
}

// bound returns a context that ends when the pool closes.
func (p *Pool) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-p.stop:
			cancel(errClosed())
		case <-done:
		}
	}()
	return ctx, func() {
		close(done)
		cancel(nil)
	}
}

// forget takes a dead browser off the lists, and starts its successor.
func (p *Pool) forget(proc *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.retired, proc)
	list := p.procs[proc.kind]
	i := slices.Index(list, proc)
	if i < 0 {
		return
	}
	p.procs[proc.kind] = slices.Delete(list, i, i+1)
	if p.closed {
		return
	}
	p.counts.Crashed++
	p.log.LogAttrs(context.Background(), slog.LevelWarn, "browser died",
		slog.String("kind", string(proc.kind)), slog.Int("pid", proc.cmd.Process.Pid), slog.String("exit", proc.exit()))
	if len(p.procs[proc.kind]) == 0 {
		p.begin(context.Background(), proc.kind)
	}
}
