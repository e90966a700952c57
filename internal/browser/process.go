package browser

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/target"

	"github.com/parley-chat/parley/internal/fault"
)

const (
	startLimit = 30 * time.Second
	// endLimit is how long the last processes of a killed browser may take. They
	// take milliseconds, unless the machine has no time for them.
	endLimit = 10 * time.Second
)

// A process is one running browser: its process group, its pipe, its folder.
type process struct {
	pool    *Pool
	kind    kind
	dir     string
	cmd     *exec.Cmd
	conn    *conn
	root    *session
	output  *output
	outlet  *outlet // what the browser itself uses: it reaches nothing
	pacer   *pacer  // nil when the browser makes its frames itself
	born    time.Time
	ended   chan struct{} // closed when no process and no file of it is left
	retired chan struct{} // closed when it takes no more sessions
	filler  chan struct{} // of capacity 1: held by who prepares spare tabs

	mu     sync.Mutex // guards the fields below
	tabs   map[*Tab]struct{}
	spares []*Tab
	served int
	wear   string // why it is being replaced, or ""
	why    error  // why it is dead, nil while it lives
	gone   bool   // its process id may belong to somebody else now
}

// launch starts a browser and waits until it answers. When it fails, nothing
// of it is left.
func (p *Pool) launch(ctx context.Context, k kind) (*process, error) {
	outlet, err := p.egress.open()
	if err != nil {
		return nil, err
	}
	proc := &process{
		pool: p, kind: k, outlet: outlet,
		born:    time.Now(),
		ended:   make(chan struct{}),
		retired: make(chan struct{}),
		filler:  make(chan struct{}, 1),
		tabs:    map[*Tab]struct{}{},
	}
	if paced(p.launcher.bin, k, p.opts) {
		proc.pacer = newPacer()
	}
	if proc.dir, err = p.launcher.folder(); err != nil {
		outlet.close()
		return nil, err
	}
	if err := proc.exec(p.launcher); err != nil {
		outlet.close()
		_ = os.RemoveAll(proc.dir)
		return nil, fault.New(fault.BrowserStart, "starting %s", p.launcher.bin.path).Because(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the browser did not answer within %s", startLimit))
	defer cancel()
	version, err := call(ctx, proc.root, cdpbrowser.GetVersion, cdp.Empty{})
	if err != nil {
		proc.kill(err)
		<-proc.ended
		return nil, fault.New(fault.BrowserStart, "starting %s: %s", p.launcher.bin.path, proc.exit()).Because(context.Cause(ctx))
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "browser started",
		slog.String("product", version.Product), slog.String("kind", string(k)), slog.Int("pid", proc.cmd.Process.Pid))
	return proc, nil
}

// exec starts the binary with its pipes, in a process group of its own.
func (proc *process) exec(l *launcher) error {
	files, err := newPipes()
	if err != nil {
		return err
	}
	//nolint:gosec,noctx // The binary and its flags are ours, and its life is not that of a context.
	proc.cmd = exec.Command(l.bin.path, flags(l.bin, proc.kind, filepath.Join(proc.dir, "profile"), proc.outlet.url(), l.opts)...)
	proc.cmd.Dir = proc.dir
	proc.cmd.Env = []string{"HOME=" + proc.dir, "TMPDIR=" + filepath.Join(proc.dir, "tmp"), "LANG=C.UTF-8"}
	proc.cmd.ExtraFiles = []*os.File{files.childIn, files.childOut}
	proc.cmd.Stdout, proc.cmd.Stderr = files.childErr, files.childErr
	proc.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if l.root {
		proc.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(l.uid), Gid: uint32(l.gid)} //nolint:gosec // Both are user ids.
	}
	started := make(chan error, 1)
	exited := make(chan struct{})
	proc.pool.work.Go(func() {
		// Pdeathsig is sent when the thread that forked ends, so the goroutine
		// keeps its thread until the browser has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := proc.cmd.Start()
		started <- err
		if err == nil {
			_ = proc.cmd.Wait()
			close(exited)
		}
	})
	err = <-started
	files.closeChild()
	if err != nil {
		files.closeOurs()
		return err
	}
	proc.output = &output{}
	proc.conn, proc.root = newConn(files.in, files.out, proc.handle)
	proc.pool.work.Go(proc.conn.run)
	if proc.pacer != nil {
		proc.pool.work.Go(proc.pace)
	}
	proc.pool.work.Go(func() { proc.watch(exited, files.err) })
	return nil
}

// handle reads the events of the browser itself.
func (proc *process) handle(method string, params jsonv2.Value) {
	switch method {
	case target.DetachedFromTarget.Method:
		decode(params, func(e target.EventDetachedFromTarget) { proc.conn.detached(e.SessionID) })
	case cdpbrowser.DownloadWillBegin.Method:
		decode(params, func(e cdpbrowser.EventDownloadWillBegin) {
			for _, t := range proc.all() {
				if string(t.target) == string(e.FrameID) {
					t.count(func(s *Stats) { s.Downloads++ })
				}
			}
		})
	}
}

// watch waits for the end of the browser, whatever caused it, and clears away
// what is left.
func (proc *process) watch(exited <-chan struct{}, stderr *os.File) {
	silent := make(chan struct{})
	proc.pool.work.Go(func() {
		defer close(silent)
		proc.output.read(stderr)
	})
	select {
	case <-exited:
	case <-proc.conn.lost:
	}
	proc.kill(nil)
	<-exited
	proc.pool.forget(proc)
	for _, t := range proc.all() {
		t.fail(fault.New(fault.BrowserCrashed, "%s", proc.exit()).Because(proc.cause()))
	}
	// A process closes its files some time before it has ended, so the end of the
	// browser's output would not do.
	if left := group(proc.cmd.Process.Pid).wait(endLimit); len(left) > 0 {
		proc.pool.log.LogAttrs(context.Background(), slog.LevelError, "browser processes do not end", slog.Any("pids", left))
	}
	select {
	case <-silent:
	case <-time.After(time.Second): // Somebody else holds it.
	}
	proc.mu.Lock()
	proc.gone = true
	proc.mu.Unlock()
	_ = stderr.Close()
	_ = proc.conn.pipe.Close()
	<-proc.conn.lost
	reap(proc.cmd.Process.Pid)
	proc.outlet.close()
	if err := os.RemoveAll(proc.dir); err != nil {
		proc.pool.log.LogAttrs(context.Background(), slog.LevelWarn, "browser folder stays", slog.String("dir", proc.dir), slog.Any("err", err))
	}
	close(proc.ended)
}

// kill ends the whole process group at once. why is kept for those who ask; nil
// means that the browser ended by itself.
func (proc *process) kill(why error) {
	proc.mu.Lock()
	if proc.why == nil {
		if why == nil {
			why = errLost
		}
		proc.why = why
	}
	if !proc.gone {
		_ = syscall.Kill(-proc.cmd.Process.Pid, syscall.SIGKILL)
	}
	proc.mu.Unlock()
}

// reap collects the children of the group that were left to us, as they are
// when we are the first process of a container.
func reap(group int) {
	for {
		pid, err := syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return
		}
	}
}

// cause returns why the browser was ended, or nil when it died by itself.
func (proc *process) cause() error {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	return proc.why
}

// exit says how the browser ended, with its own last words. Call it after
// ended, or from watch.
func (proc *process) exit() string {
	text := "the browser ended"
	if state := proc.cmd.ProcessState; state != nil {
		text += " (" + state.String() + ")"
	}
	if last := proc.output.last(); last != "" {
		text += ": " + last
	}
	return text
}

// all returns the tabs, spare ones included.
func (proc *process) all() []*Tab {
	proc.mu.Lock()
	defer proc.mu.Unlock()
	list := make([]*Tab, 0, len(proc.tabs))
	for t := range proc.tabs {
		list = append(list, t)
	}
	return list
}

// pipes are the three pipes of a browser: commands, answers, and its output.
type pipes struct {
	childIn, childOut, childErr *os.File
	out, in, err                *os.File
}

func newPipes() (*pipes, error) {
	p := &pipes{}
	for _, pair := range []struct{ read, write **os.File }{
		{&p.childIn, &p.out}, {&p.in, &p.childOut}, {&p.err, &p.childErr},
	} {
		var err error
		if *pair.read, *pair.write, err = os.Pipe(); err != nil {
			p.closeChild()
			p.closeOurs()
			return nil, fmt.Errorf("making a pipe: %w", err)
		}
	}
	return p, nil
}

func (p *pipes) closeChild() { closeFiles(p.childIn, p.childOut, p.childErr) }

func (p *pipes) closeOurs() { closeFiles(p.out, p.in, p.err) }

func closeFiles(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
