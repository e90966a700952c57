// Package model plays many workers and many sessions in virtual time: who owns
// which partition, which sessions keep a tab, what commands wait for. It runs
// the code that the product runs, bus.Assign and session.Residency, and models
// the rest by what was measured. One seed gives one run, always.
package model

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/parley-chat/parley/internal/session"
)

// Config is what a run plays.
type Config struct {
	Load
	// Workers are there at the begin. When workers come and go, there are about
	// as many all the time.
	Workers    int
	Partitions int
	// Places is how many tabs a worker holds at most, Waiting how many openings
	// may wait on it; 0 means the policy's own number.
	Places, Waiting int
	// Memory is how many bytes a worker's tabs may use, Base of them whether there
	// are tabs or not; the policy is told every MeasureEach. 0 means no limit.
	Memory, Base int64
	MeasureEach  time.Duration
	// Idle is how long a tab stays open without a command.
	Idle time.Duration
	// Deadline is how long a command may take. 0 means for ever.
	Deadline time.Duration
	// HangLength is how long, in the last quarter of the run, every command of the
	// second site takes HangTime.
	HangLength, HangTime time.Duration
	// Faults is how often in a minute a worker joins, leaves, is killed or is
	// paused.
	Faults float64
	Costs  Costs
	// Progress is told the virtual time now and then, when it is not nil.
	Progress func(at, of time.Duration)

	// Hibernated says that every session has a snapshot at the begin. Otherwise its
	// first tab is a cold one.
	Hibernated bool

	// unfenced lets workers act on leases that they have lost. It is for the test
	// that the verdict sees it.
	unfenced bool
}

// Span is a time between two, each equally likely.
type Span struct{ From, To time.Duration }

func (s Span) draw(random *rand.Rand) time.Duration {
	return s.From + time.Duration(random.Float64()*float64(s.To-s.From))
}

// Costs are what things take, as they were measured.
type Costs struct {
	// Warm is a command in an open tab, to its verified result; Slow is one that
	// waits for something on the page, as SlowPart of them do.
	Warm, Slow Span
	SlowPart   float64
	// Restore opens the tab of a session that hibernates, Cold that of a new one;
	// as many as Openers open at once at this speed on one worker, more share it.
	Restore, Cold Span
	Openers       int
	// Hibernate closes a tab, with its snapshot.
	Hibernate Span
	// HandOver is what giving up a partition takes after its commands ended,
	// TakeOver what beginning with one takes.
	HandOver, TakeOver Span
	// Detect is how long a killed worker is thought alive. A frozen one is until
	// TTL after its last heartbeat, and those come each quarter of it.
	Detect Span
	TTL    time.Duration
	// Watch is how late a worker sees what happened to another.
	Watch Span
	// Pause is how long a frozen worker sleeps.
	Pause Span
}

// Measured returns the costs that were measured: ownership in the design of the
// bus, sessions in docs/benchmarks.md.
func Measured() Costs {
	const ms = time.Millisecond
	return Costs{
		Warm: Span{2 * ms, 4 * ms}, Slow: Span{100 * ms, 1500 * ms}, SlowPart: 0.05, Restore: Span{70 * ms, 100 * ms}, Cold: Span{80 * ms, 130 * ms}, Openers: 4,
		Hibernate: Span{5 * ms, 20 * ms}, HandOver: Span{35 * ms, 62 * ms}, TakeOver: Span{1 * ms, 30 * ms},
		Detect: Span{150 * ms, 450 * ms}, TTL: 2 * time.Second, Watch: Span{1 * ms, 50 * ms}, Pause: Span{500 * ms, 6 * time.Second},
	}
}

// maxPending is how many commands of one session may wait in the stream. More
// are refused at once.
const maxPending = 64

// Run plays the run to its end: until every command has its answer.
func Run(c Config) (Report, error) {
	switch {
	case c.Workers < 1 || c.Partitions < 1 || c.Places < 1:
		return Report{}, errors.New("a run needs workers, partitions and places")
	case c.Length <= 0 || c.PerSecond <= 0 || len(c.Sites) == 0:
		return Report{}, errors.New("a run needs a length, a load and sites")
	}
	w := newWorld(c)
	w.begin()
	w.play()
	return w.report(), nil
}

// world is the state of a run.
type world struct {
	c     Config
	now   time.Duration
	queue agenda
	costs *rand.Rand
	fates *rand.Rand

	sessions []sess
	parts    [][]int32 // sessions by partition
	workers  []*worker
	members  map[int]int // life by worker: the keys with a heartbeat
	views    []view
	records  []record
	ledger   ledger
}

func newWorld(c Config) *world {
	w := &world{
		c: c, costs: dice(c.Seed, streamCosts), fates: dice(c.Seed, streamFaults),
		parts: make([][]int32, c.Partitions), members: map[int]int{},
		records: make([]record, c.Partitions), ledger: newLedger(c.Sites),
	}
	w.sessions = newSessions(c.Load, c.Partitions)
	for i := range w.sessions {
		p := w.sessions[i].part
		w.sessions[i].known = c.Hibernated
		w.parts[p] = append(w.parts[p], int32(i))
	}
	for p := range w.records {
		w.records[p].owner = nobody
	}
	return w
}

// begin lets the first workers join, and plans the first fault.
func (w *world) begin() {
	for range w.c.Workers {
		at := w.hire()
		w.members[at.id] = at.life
	}
	w.publish()
	w.planFault()
}

// play takes one event after another: the commands as they come, and what
// follows from them.
func (w *world) play() {
	next := w.c.next()
	c, more := next()
	told := time.Duration(0)
	for {
		at, waits := w.queue.next()
		switch {
		case more && (!waits || c.At <= at):
			w.now = c.At
			w.arrive(c)
			c, more = next()
		case waits:
			w.now = at
			w.handle(w.queue.pop())
		default:
			return
		}
		if w.c.Progress != nil && w.now >= told {
			told = w.now + w.c.Length/100
			w.c.Progress(w.now, w.c.Length)
		}
		if !more && w.ledger.answered == w.ledger.asked {
			return // What is left are timers.
		}
	}
}

// policy returns what a worker decides by.
func (w *world) policy() *session.Residency {
	weights := map[string]int{}
	for _, s := range w.c.Sites {
		weights[s.Name] = s.Weight
	}
	return session.NewResidency(session.ResidencyOptions{
		Held: w.c.Places, Idle: w.c.Idle, Waiting: w.c.Waiting, Memory: w.c.Memory, Weights: weights,
		Remembered: len(w.sessions),
	})
}

// clock is the virtual time as the product's code reads it.
func (w *world) clock() time.Time { return epoch().Add(w.now) }

func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
