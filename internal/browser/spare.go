package browser

import (
	"context"
	"errors"
	"slices"
	"syscall"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"

	"github.com/parley-chat/parley/internal/fault"
)

// take returns a prepared tab, or prepares one now.
func (proc *process) take(ctx context.Context, key string) (*Tab, error) {
	proc.serve(ctx)
	proc.mu.Lock()
	t := proc.pick(key)
	if t == nil {
		t = proc.pick("")
	}
	proc.mu.Unlock()
	if t == nil {
		return proc.prepare(ctx)
	}
	if err := t.room.unused(ctx); err != nil {
		t.fail(fault.New(fault.ShuttingDown, "the tab is not clean"))
		return proc.prepare(ctx)
	}
	return t, nil
}

// takeNew prepares a tab now, for a session of any key.
func (proc *process) takeNew(ctx context.Context, _ string) (*Tab, error) {
	proc.serve(ctx)
	return proc.prepare(ctx)
}

// serve counts a session, and sees to a successor after the last one.
func (proc *process) serve(ctx context.Context) {
	proc.mu.Lock()
	proc.served++
	worn := proc.served >= proc.pool.opts.Sessions
	proc.mu.Unlock()
	if worn {
		proc.wearOut(ctx, wornBySessions)
	}
}

// pick takes the youngest spare tab of the key off the list, or returns nil. A
// tab of no session has the key "". The caller holds mu.
func (proc *process) pick(key string) *Tab {
	for i, t := range slices.Backward(proc.spares) {
		if t.room.key == key && t.Err() == nil {
			proc.spares = slices.Delete(proc.spares, i, i+1)
			return t
		}
	}
	return nil
}

// prepare makes a browser context with a blank tab, within a limit. A browser
// that does not even say that it lives is ended.
func (proc *process) prepare(ctx context.Context) (*Tab, error) {
	bounded, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	t, err := proc.make(bounded)
	if err == nil || bounded.Err() == nil || ctx.Err() != nil {
		return t, err
	}
	if proc.answered(ctx, begin(proc.root, cdpbrowser.GetVersion, cdp.Empty{}).reply, killLimit) || ctx.Err() != nil {
		return nil, fault.New(fault.BrowserBusy, "the browser prepared no tab within %s", prepareLimit).Because(err)
	}
	hung := fault.New(fault.BrowserCrashed, "the browser hung and was killed")
	proc.kill(hung)
	return nil, hung.Because(err)
}

// make does the work of prepare.
func (proc *process) make(ctx context.Context) (*Tab, error) {
	r, err := proc.newRoom(ctx)
	if err != nil {
		return nil, err
	}
	t, err := r.newTab(ctx, false)
	if err != nil {
		r.leave(err)
		return nil, err
	}
	return t, nil
}

// fill prepares tabs until there are as many spare ones as there should be.
func (proc *process) fill(ctx context.Context) error {
	select {
	case proc.filler <- struct{}{}:
		defer func() { <-proc.filler }()
	default:
		return nil // Somebody else does it.
	}
	for proc.wants() {
		t, err := proc.prepare(ctx)
		if err != nil {
			return proc.classify(err)
		}
		proc.mu.Lock()
		wanted := proc.wear == ""
		if wanted {
			proc.spares = append(proc.spares, t)
		}
		proc.mu.Unlock()
		if !wanted {
			t.fail(fault.New(fault.ShuttingDown, "the browser takes no more sessions"))
		}
	}
	return nil
}

// refill is fill in the background. A spare tab that cannot be made is made by
// the next Open, which then says why not.
func (proc *process) refill() {
	ctx, cancel := proc.pool.bound(context.Background())
	defer cancel()
	_ = proc.fill(ctx)
}

func (proc *process) wants() bool {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return proc.why == nil && proc.wear == "" && proc.fresh() < proc.pool.opts.Spare
}

// fresh is the number of spare tabs that belong to no key. The caller holds mu.
func (proc *process) fresh() int {
	count := 0
	for _, t := range proc.spares {
		if t.room.key == "" {
			count++
		}
	}
	return count
}

func (proc *process) add(t *Tab) {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	proc.tabs[t] = struct{}{}
}

// remove forgets the tab. A retired browser ends with its last one.
func (proc *process) remove(t *Tab) {
	proc.mu.Lock()
	delete(proc.tabs, t)
	if i := slices.Index(proc.spares, t); i >= 0 {
		proc.spares = slices.Delete(proc.spares, i, i+1)
	}
	last := proc.leaves() && len(proc.tabs) == len(proc.spares)
	proc.mu.Unlock()
	if last {
		proc.kill(errReplaced())
	}
}

// load is the number of tabs in use.
func (proc *process) load() int {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return len(proc.tabs) - len(proc.spares)
}

// killOne kills one process of the browser.
func (proc *process) killOne(pid int) {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	if group, err := syscall.Getpgid(pid); !proc.gone && err == nil && group == proc.cmd.Process.Pid {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// classify turns an error of the connection into a fault. A browser whose
// connection is lost is dead from then on.
func (proc *process) classify(err error) error {
	if errors.Is(err, errLost) {
		proc.kill(nil)
		return fault.New(fault.BrowserCrashed, "the browser died").Because(err)
	}
	return err
}
