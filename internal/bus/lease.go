package bus

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/fault"
)

// Why a term of ownership ends. They are causes of contexts.
var (
	errMoving error = fault.New(fault.ShuttingDown, "the partition moves to another worker")
	errTaken  error = fault.New(fault.StaleFence, "the partition was taken by another worker")
)

// pulse tells how long the others surely think us alive.
type pulse struct {
	breaks *atomic.Uint64 // times that the connection was lost
	ttl    time.Duration
	last   atomic.Pointer[beat]
}

// beat is a heartbeat that was stored.
type beat struct {
	at     time.Time // before it was sent
	breaks uint64    // at that time
}

// now returns a heartbeat that is about to be sent.
func (p *pulse) now() *beat { return &beat{at: time.Now(), breaks: p.breaks.Load()} }

// fresh reports whether nobody can think us dead: the last heartbeat is well
// within the life of our key, and the connection was not lost since, which the
// others would see at once.
func (p *pulse) fresh() bool {
	b := p.last.Load()
	return b != nil && b.breaks == p.breaks.Load() && time.Since(b.at) < p.ttl*7/8
}

// lease is one term of our ownership of a partition. It ends once, and is never
// ours again; a later term is another lease.
type lease struct {
	partition int
	fences    *atomic.Uint64
	pulse     *pulse
	gone      atomic.Bool   // taken or given up
	taken     chan struct{} // closed when it was taken from us

	// Set before the first message comes.
	fence  uint64
	epoch  atomic.Uint64 // the same, for the member's loop; 0 until it is ours
	before atomic.Uint64 // the queue's last message before the consumer was made
	handle func(h *held) step

	moving    bool  // the member's loop has given it up
	withWhole *mode // it ended while one consumer served all partitions
	// rested is closed when the consumer for all may be deleted, for our part.
	rested chan struct{}

	// Guarded by lanes.mu.
	shut  bool
	begun int           // messages that are handled or settled
	left  int           // messages delivered and not settled
	idle  chan struct{} // closed when it is shut and begun is 0

	stop context.CancelCauseFunc // ends the taking: errMoving or errTaken
	kill context.CancelCauseFunc // ends the handlers' context
}

func newLease(partition int, p *pulse, fences *atomic.Uint64) *lease {
	return &lease{
		partition: partition, pulse: p, fences: fences,
		taken: make(chan struct{}), idle: make(chan struct{}), rested: make(chan struct{}),
	}
}

// owned returns nil while the partition is surely ours. A nil lease has nothing
// to own.
func (l *lease) owned() error {
	if l == nil || !l.gone.Load() && l.pulse.fresh() {
		return nil
	}
	l.fences.Add(1)
	return fault.New(fault.StaleFence, "the partition %d is not surely ours any more", l.partition)
}

// isGone reports whether the lease is over. A nil lease never is.
func (l *lease) isGone() bool { return l != nil && l.gone.Load() }

// isShut reports whether no message of the lease may begin. lanes.mu is held.
func (l *lease) isShut() bool { return l != nil && l.shut }

// end notes that one message that had begun is over. lanes.mu is held.
func (l *lease) end() {
	l.begun--
	if l.shut && l.begun == 0 {
		close(l.idle)
	}
}

// lose ends the lease because another worker has, or may have, the partition.
// Only the member's loop calls it.
func (l *lease) lose() {
	if l.gone.Swap(true) {
		return
	}
	close(l.taken)
	l.stop(errTaken)
	l.kill(errTaken)
}
