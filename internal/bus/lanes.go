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
	msg   acker  // guarded by lanes.mu
	told  time.Time
}

// lane is the queue of one session's messages. It exists while it holds any;
// its first message is the one that is handled.
type lane struct {
	name  string
	queue []*held
	next  *lane // in the list of those that are ready
}

// step says how a lane goes on after its first message was handled.
type step struct {
	again bool          // handle the same message again
	after time.Duration // a pause before that
}

// lanes run a handler over messages: those of one lane one after another, lanes
// in parallel, on a bounded number of goroutines that are kept. An empty lane
// costs nothing, and a lane that pauses holds no goroutine.
//
// A message is held from offer until release. Those that are held at the end
// are for the next worker.
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
		h := at.queue[0]
		l.mu.Unlock()
		next := l.handle(ctx, h)
		l.mu.Lock()
		switch {
		case l.stopped:
			return
		case next.again:
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

// resume ends a lane's pause.
func (l *lanes) resume(ctx context.Context, at *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.paused, at)
	if !l.stopped {
		l.push(ctx, at)
	}
}

// release forgets a message that is settled.
func (l *lanes) release(h *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, h.Sequence)
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
