package bus

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// turns is how many messages of one lane are handled in a row while other lanes
// wait.
const turns = 8

// remembered is how many settled messages are kept in mind, so that one whose
// acknowledgement got lost is acknowledged again and not done again.
const remembered = 4096

// acker is what the server can be told about a message. jetstream.Msg is one.
type acker interface {
	Ack() error
	Nak() error
	InProgress() error
	TermWithReason(reason string) error
}

// held is a message that this process has and the server waits for.
type held struct {
	Delivery
	name  string // of its lane
	tries int    // by this process
	fails error  // why it will be buried, or nil

	// Guarded by lanes.mu.
	msg   acker
	from  *lease // under which the server delivered it; nil for Consume
	begun bool   // and counted by the lease
	told  time.Time
}

// lane is the queue of one session's messages. It exists while it holds any;
// its first message is the one that is handled.
type lane struct {
	name  string
	queue []*held
	busy  bool  // the first message is being handled
	next  *lane // in the list of those that are ready
}

// step says how a lane goes on after its first message was handled.
type step struct {
	again bool          // handle the same message again
	after time.Duration // a pause before that
	left  bool          // for the next worker; again, when that is us
}

// lanes run a handler over messages: those of one lane one after another, lanes
// in parallel, on a bounded number of goroutines that are kept. An empty lane
// costs nothing, and a lane that pauses holds no goroutine.
//
// A message is held from offer until release. Those that are held at the end
// are for the next worker. Messages that came under a lease are also dropped
// when the lease is shut: all but those that have begun.
type lanes struct {
	most   int // goroutines
	handle func(ctx context.Context, h *held) step

	mu      sync.Mutex // guards the fields below
	wake    *sync.Cond // tells goroutines that a lane is ready
	stopped bool
	running int   // goroutines
	idle    int   // of them, those that wait and were not told
	first   *lane // the list of lanes that are ready
	last    *lane
	byName  map[string]*lane
	paused  map[*lane]*time.Timer
	held    map[uint64]*held
	done    []mark // a ring
	oldest  int    // in the ring
	highest uint64 // sequence in the ring, so that most messages need no look

	wg sync.WaitGroup
}

// mark tells a message from all others, also after a stream was made anew.
type mark struct {
	sequence uint64
	at       int64
}

func markOf(h *held) mark { return mark{h.Sequence, h.StoredAt.UnixNano()} }

func newLanes(most int, handle func(context.Context, *held) step) *lanes {
	l := &lanes{
		most: most, handle: handle,
		byName: map[string]*lane{}, paused: map[*lane]*time.Timer{}, held: map[uint64]*held{},
		done: make([]mark, 0, remembered),
	}
	l.wake = sync.NewCond(&l.mu)
	return l
}

// offer takes a message over. It does not block. The message may be one that is
// held already or was settled, because the server delivers again what it did
// not hear of: then the server is told, and nothing is done twice.
func (l *lanes) offer(ctx context.Context, h *held) {
	l.mu.Lock()
	if old := l.held[h.Sequence]; old != nil && markOf(old) == markOf(h) {
		old.msg, old.told = h.msg, time.Now()
		l.adopt(old, h.from)
		l.mu.Unlock()
		_ = h.msg.InProgress() // If it is lost, keepAlive says it again.
		return
	}
	if h.Sequence <= l.highest && slices.Contains(l.done, markOf(h)) {
		l.mu.Unlock()
		_ = h.msg.Ack() // If it is lost, the message comes once more.
		return
	}
	defer l.mu.Unlock()
	if h.from.isShut() {
		h.from.left++ // For the next owner.
		return
	}
	h.told = time.Now()
	l.held[h.Sequence] = h
	if l.stopped {
		return
	}
	at := l.byName[h.name]
	if at != nil {
		at.queue = append(at.queue, h)
		return
	}
	at = &lane{name: h.name, queue: append(make([]*held, 0, 2), h)}
	l.byName[h.name] = at
	l.push(ctx, at)
}

// adopt moves a message that is held to a later lease of ours. The lock is held.
func (l *lanes) adopt(h *held, to *lease) {
	from := h.from
	if h.from = to; from != to && h.begun {
		to.begun++
		from.end()
	}
}

// push puts the lane at the end of those that are ready, and finds a goroutine
// for it. The lock is held.
func (l *lanes) push(ctx context.Context, at *lane) {
	if l.last == nil {
		l.first = at
	} else {
		l.last.next = at
	}
	l.last = at
	switch {
	case l.idle > 0:
		l.idle-- // Here and not by the one that wakes, so that two lanes wake two.
		l.wake.Signal()
	case l.running < l.most:
		l.running++
		l.wg.Go(func() { l.run(ctx) })
	}
}

// run handles lanes until the stop.
func (l *lanes) run(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for l.first == nil && !l.stopped {
			l.idle++
			l.wake.Wait()
		}
		if l.stopped {
			return
		}
		at := l.first
		l.first, at.next = at.next, nil
		if l.first == nil {
			l.last = nil
		}
		l.serve(ctx, at)
	}
}

// serve handles the lane's messages, up to its turn's end. The lock is held,
// except while the handler runs.
func (l *lanes) serve(ctx context.Context, at *lane) {
	for range turns {
		if len(at.queue) == 0 { // A lease was shut.
			return
		}
		h := at.queue[0]
		next := l.one(ctx, at, h)
		switch {
		case l.stopped:
			return
		case (next.again || next.left) && h.from.isShut():
			l.drop(h)
		case next.again || next.left:
			l.paused[at] = time.AfterFunc(next.after, func() { l.resume(ctx, at) })
			return
		}
		at.queue[0] = nil
		at.queue = at.queue[1:]
		if len(at.queue) == 0 {
			delete(l.byName, at.name)
			return
		}
	}
	l.push(ctx, at)
}

// one handles the lane's first message once. The lock is held, except while the
// handler runs.
func (l *lanes) one(ctx context.Context, at *lane, h *held) step {
	from := h.from
	if from != nil {
		h.lease, h.Partition, h.Fence = from, from.partition, from.fence
		if !h.begun {
			h.begun = true
			from.begun++
		}
	}
	at.busy = true
	l.mu.Unlock()
	var next step
	if from != nil {
		next = from.handle(h)
	} else {
		next = l.handle(ctx, h)
	}
	l.mu.Lock()
	at.busy = false
	return next
}

// resume ends a lane's pause.
func (l *lanes) resume(ctx context.Context, at *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused[at] == nil {
		return
	}
	delete(l.paused, at)
	if !l.stopped {
		l.push(ctx, at)
	}
}

// shut lets no further message of the lease begin, and drops those that wait.
// The channel is closed when those that have begun are settled, or dropped too.
func (l *lanes) shut(t *lease) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.shut {
		return t.idle
	}
	for name, at := range l.byName {
		kept := at.queue[:0]
		for i, h := range at.queue {
			if h.from == t && (i > 0 || !at.busy) {
				l.drop(h)
				continue
			}
			kept = append(kept, h)
		}
		clear(at.queue[len(kept):])
		at.queue = kept
		if len(kept) > 0 {
			continue
		}
		delete(l.byName, name) // If it is in the list of those that are ready, serve finds it empty.
		if timer := l.paused[at]; timer != nil {
			timer.Stop()
			delete(l.paused, at)
		}
	}
	t.shut = true // Not earlier: what was dropped above must not close the channel.
	if t.begun == 0 {
		close(t.idle)
	}
	return t.idle
}

// drop forgets a message that is left for the next owner. The lock is held.
func (l *lanes) drop(h *held) {
	if l.held[h.Sequence] == h {
		delete(l.held, h.Sequence)
	}
	h.from.left++
	l.over(h)
}

// over notes that a message that had begun is neither handled nor settled any
// more. The lock is held.
func (l *lanes) over(h *held) {
	if h.begun {
		h.begun = false
		h.from.end()
	}
}

// abandon forgets a message that was handled for a lease that is over.
func (l *lanes) abandon(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(h)
}

// term returns the lease that the message belongs to now.
func (l *lanes) term(h *held) *lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.from
}

// busy reports whether commands of the lease have begun and are not settled.
func (l *lanes) busy(t *lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.begun > 0
}

// unsettled returns how many messages the server delivered under the lease
// that nobody settled, as far as we know.
func (l *lanes) unsettled(t *lease) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.left
}

// release forgets a message that is settled.
func (l *lanes) release(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, h.Sequence)
	l.over(h)
	l.highest = max(l.highest, h.Sequence)
	if len(l.done) < remembered {
		l.done = append(l.done, markOf(h))
		return
	}
	l.done[l.oldest] = markOf(h)
	l.oldest = (l.oldest + 1) % remembered
}

// server returns what the server can be told about the message by. It changes
// when the message is delivered again.
func (l *lanes) server(h *held) acker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return h.msg
}

// silent returns the messages that the server has not heard of for the time,
// and notes that it hears of them now.
func (l *lanes) silent(since time.Duration) []acker {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []acker
	now := time.Now()
	for _, h := range l.held {
		if now.Sub(h.told) >= since {
			h.told = now
			all = append(all, h.msg)
		}
	}
	return all
}

// halt lets no further message begin. It may be called twice.
func (l *lanes) halt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	for _, timer := range l.paused {
		timer.Stop()
	}
	l.wake.Broadcast()
}

// wait returns when no message runs. Call halt before. Whoever wants to hurry
// the handlers ends their context.
func (l *lanes) wait() { l.wg.Wait() }

// left returns what is still held, in the order of the stream.
func (l *lanes) left() []*held {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(maps.Values(l.held), func(a, b *held) int { return cmp.Compare(a.Sequence, b.Sequence) })
}
