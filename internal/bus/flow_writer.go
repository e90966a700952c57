package bus

import (
	"context"
	"crypto/rand"
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
		batch := w.collect()
		if batch == nil {
			break
		}
		w.former = len(batch)
		w.commit(ctx, b, batch)
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
}

// take adds the commit, if the batch has room and nothing of another one's
// concerns the same subject: the server refuses to compare within a batch.
func (p *pool) take(c *Commitment) bool {
	if p.messages+len(c.msgs) > maxBatch || p.bytes+c.bytes > maxBatchBytes {
		return false
	}
	for _, g := range c.guards {
		if _, ok := p.subjects[g.subject]; ok {
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
	for i, c := range waiting {
		if !p.take(c) {
			w.later = append(w.later, waiting[i:]...) // In their order.
			return p.commits
		}
	}
	if len(p.commits) == 0 {
		select {
		case c := <-w.queue:
			p.take(c)
		case <-w.quit:
			return nil
		}
	}
	var timer *time.Timer
	var late <-chan time.Time
	for {
		var c *Commitment
		select {
		case c = <-w.queue:
		default:
			if len(p.commits) >= w.former {
				return p.commits
			}
			if timer == nil {
				timer = time.NewTimer(flowLinger)
				defer timer.Stop()
				late = timer.C
			}
			select {
			case c = <-w.queue:
			case <-late:
				return p.commits
			case <-w.quit:
				return p.commits
			}
		}
		if !p.take(c) {
			w.later = append(w.later, c)
			return p.commits
		}
	}
}

// nextID returns the id of the next batch.
func (w *flowWriter) nextID() string {
	w.count++
	return w.name + "-" + strconv.FormatUint(w.count, 36)
}
