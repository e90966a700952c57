package bus

import (
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"sync"
	"time"
)

// flowLinger is how long the writer waits for as many commits as last time.
// Those whose callers had to wait for the last batch come back at once, and a
// batch costs the server the same however many there are.
const flowLinger = 2 * time.Millisecond

// flowWriter commits for all goroutines of a bus. One goroutine writes: one
// batch is under way at a time, and meanwhile the next one collects.
type flowWriter struct {
	mu      sync.Mutex // guards the fields below
	queue   chan *Commitment
	quit    chan struct{} // closed when no more is taken
	done    chan struct{} // closed when the goroutine has ended
	started bool
	shut    bool

	// Of the goroutine alone.
	name   string // of this writer, in ids
	count  uint64 // of the batches
	last   uint64 // the highest sequence that is known to be there
	former int    // the commits of the last batch
	later  []*Commitment
	recent recent // what was created by this writer
	wary   bool   // the last batch was refused for what is there already
}

// offer puts the commit into the queue, and waits while that is full.
func (w *flowWriter) offer(ctx context.Context, b *Bus, c *Commitment) {
	queue, quit := w.start(ctx, b)
	if queue == nil {
		c.settle(0, b.goneErr())
		return
	}
	select {
	case queue <- c:
		return
	default:
	}
	select {
	case queue <- c:
	case <-quit:
		c.settle(0, b.goneErr())
	case <-ctx.Done():
		c.settle(0, classify(context.Cause(ctx)))
	}
}

// start starts the goroutine with the first commit. It returns no queue when
// the bus is closed.
func (w *flowWriter) start(ctx context.Context, b *Bus) (chan<- *Commitment, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shut {
		return nil, nil
	}
	if !w.started {
		w.started, w.name = true, rand.Text()[:12]
		w.queue = make(chan *Commitment, flowQueue)
		w.quit, w.done = make(chan struct{}), make(chan struct{})
		go w.run(context.WithoutCancel(ctx), b)
	}
	return w.queue, w.quit
}

// stop ends the goroutine; what is under way ends with the connection. It
// returns when the goroutine has ended, or the context.
func (w *flowWriter) stop(ctx context.Context, hangUp func()) {
	w.mu.Lock()
	first := !w.shut
	w.shut = true
	if first && w.started {
		close(w.quit)
	}
	started := w.started
	w.mu.Unlock()
	hangUp()
	if !started {
		return
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

// run collects and commits until the writer is stopped.
func (w *flowWriter) run(ctx context.Context, b *Bus) {
	defer close(w.done)
	for {
		w.later = w.suspect(ctx, b, w.later) // All that repeat one event at once.
		batch := w.collect()
		if batch == nil {
			break
		}
		w.former = len(batch)
		if batch = w.suspect(ctx, b, batch); len(batch) > 0 {
			w.commit(ctx, b, batch)
		}
	}
	for {
		select {
		case c := <-w.queue:
			c.settle(0, b.goneErr())
		default:
			for _, c := range w.later {
				c.settle(0, b.goneErr())
			}
			return
		}
	}
}

// pool is a batch that collects.
type pool struct {
	commits         []*Commitment
	messages, bytes int
	subjects        map[string]struct{}
	full            bool
}

// take adds the commit, if the batch has room and nothing in it has a subject
// that the commit compares or replaces: the server does neither within a batch.
//
// What comes after a commit that is not taken waits with it, to keep the order.
// One that only creates what another one in the batch creates is refused in any
// case, and so holds up nobody.
func (p *pool) take(c *Commitment) bool {
	if p.full || p.messages+len(c.msgs) > maxBatch || p.bytes+c.bytes > maxBatchBytes {
		p.full = true
		return false
	}
	for _, subject := range c.alone {
		if _, ok := p.subjects[subject]; ok {
			p.full = !c.creates()
			return false
		}
	}
	for _, m := range c.msgs {
		p.subjects[m.Subject] = struct{}{}
	}
	p.commits = append(p.commits, c)
	p.messages += len(c.msgs)
	p.bytes += c.bytes
	return true
}

// collect returns the next batch: at once when only one caller is there, and
// otherwise when all who were there last time have come again. It returns nil
// when the writer is stopped.
func (w *flowWriter) collect() []*Commitment {
	p := pool{subjects: map[string]struct{}{}}
	waiting := w.later
	w.later = nil
	for _, c := range waiting {
		w.pour(&p, c)
	}
	if len(p.commits) == 0 {
		select {
		case c := <-w.queue:
			w.pour(&p, c)
		case <-w.quit:
			return nil
		}
	}
	var late <-chan time.Time
	for !p.full {
		select {
		case c := <-w.queue:
			w.pour(&p, c)
			continue
		default:
		}
		if len(p.commits)+len(w.later) >= w.former {
			break
		}
		if late == nil {
			timer := time.NewTimer(flowLinger)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case c := <-w.queue:
			w.pour(&p, c)
		case <-late:
			return p.commits
		case <-w.quit:
			return p.commits
		}
	}
	return p.commits
}

// pour puts the commit into the batch, or keeps it for the next one.
func (w *flowWriter) pour(p *pool, c *Commitment) {
	if !p.take(c) {
		w.later = append(w.later, c)
	}
}

// nextID returns the id of the next batch.
func (w *flowWriter) nextID() string {
	w.count++
	return w.name + "-" + strconv.FormatUint(w.count, 36)
}

// suspect settles the commits that create what is there already, as far as
// that can be suspected: repetitions come soon after the first one, or many of
// them together. To ask costs less than a batch that is refused.
func (w *flowWriter) suspect(ctx context.Context, b *Bus, all []*Commitment) []*Commitment {
	var ask []*Commitment
	for _, c := range all {
		if c.creates() && (w.wary || w.recent.has(c.guards)) {
			ask = append(ask, c)
		}
	}
	if len(ask) == 0 {
		return all
	}
	broken := w.weed(ctx, b, ask)
	w.wary = w.wary && len(broken) > 0
	return slices.DeleteFunc(all, func(c *Commitment) bool { return slices.Contains(broken, c) })
}

// recent remembers subjects that were created, the newest of them at the least.
type recent struct{ newer, older map[string]struct{} }

// maxRecent is the most subjects of one half of the memory.
const maxRecent = 32 << 10

func (r *recent) add(subject string) {
	if len(r.newer) >= maxRecent {
		r.older, r.newer = r.newer, nil
	}
	if r.newer == nil {
		r.newer = map[string]struct{}{}
	}
	r.newer[subject] = struct{}{}
}

func (r *recent) has(guards []guard) bool {
	return slices.ContainsFunc(guards, func(g guard) bool {
		_, newer := r.newer[g.subject]
		_, older := r.older[g.subject]
		return newer || older
	})
}
