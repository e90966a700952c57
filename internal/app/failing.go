package app

import (
	"context"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/session"
	"github.com/parley-chat/parley/internal/worker"
)

// Failing is a test mode: at the boundaries to the bus, the store and the page
// something is done, and then said to have failed. Nothing may get lost by it,
// and nothing may happen twice. No configuration leads here.
//
// What fails follows from the seed and from how often a thing was done, not from
// the order in which goroutines run.
type Failing struct {
	// Seed makes other things fail.
	Seed uint64
	// Rate is the share of what fails: 0.01 to 0.05.
	Rate float64

	failed atomic.Int64
	mu     sync.Mutex // guards the field below
	counts map[string]uint64
}

// Failed returns how often something was said to have failed. A nil mode never
// did.
func (f *Failing) Failed() int64 {
	if f == nil {
		return 0
	}
	return f.failed.Load()
}

// fails reports whether the thing, which was done now, is to fail.
func (f *Failing) fails(boundary, thing string) bool {
	name := boundary + "\x00" + thing
	f.mu.Lock()
	if f.counts == nil {
		f.counts = map[string]uint64{}
	}
	f.counts[name]++
	count := f.counts[name]
	f.mu.Unlock()
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.FormatUint(f.Seed, 10) + "\x00" + name + "\x00" + strconv.FormatUint(count, 10))) // A hash takes all.
	if float64(mixed(h.Sum64())>>11)/(1<<53) >= f.Rate {
		return false
	}
	f.failed.Add(1)
	return true
}

// mixed spreads the bits of a sum: those of names that differ in a number only
// are near each other.
func mixed(sum uint64) uint64 {
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum = (sum ^ sum>>33) * 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}

// lost is what is said of something that was done.
func lost(what string) error {
	return fault.New(fault.BusUnavailable, "the confirmation of %s was lost, by the test mode", what)
}

// unheard is for bus.Options.
func (f *Failing) unheard() func(subject string) bool {
	if f == nil {
		return nil
	}
	return func(subject string) bool { return f.fails("bus", subject) }
}

// records wraps the effect records.
func (f *Failing) records(all worker.Records) worker.Records {
	if f == nil {
		return all
	}
	return failingRecords{all, f}
}

type failingRecords struct {
	worker.Records

	mode *Failing
}

// Begin implements worker.Records.
func (r failingRecords) Begin(ctx context.Context, subject string, record []byte) (bus.Effect, error) {
	effect, err := r.Records.Begin(ctx, subject, record)
	if err == nil && r.mode.fails("begin", subject) {
		return bus.Effect{}, lost("an effect record")
	}
	return effect, err
}

// Finish implements worker.Records.
func (r failingRecords) Finish(ctx context.Context, subject string, revision uint64, record []byte) (bus.Receipt, error) {
	receipt, err := r.Records.Finish(ctx, subject, revision, record)
	if err == nil && r.mode.fails("finish", subject) {
		return bus.Receipt{}, lost("an effect record")
	}
	return receipt, err
}

// snapshots wraps the stored sessions.
func (f *Failing) snapshots(all session.Snapshots) session.Snapshots {
	if f == nil {
		return all
	}
	return failingSnapshots{all, f}
}

type failingSnapshots struct {
	session.Snapshots

	mode *Failing
}

// Create implements session.Snapshots.
func (s failingSnapshots) Create(ctx context.Context, key string, value []byte, life time.Duration) (uint64, error) {
	revision, err := s.Snapshots.Create(ctx, key, value, life)
	if err == nil && s.mode.fails("create", key) {
		return 0, lost("a snapshot")
	}
	return revision, err
}

// Replace implements session.Snapshots.
func (s failingSnapshots) Replace(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error) {
	next, err := s.Snapshots.Replace(ctx, key, value, revision, life)
	if err == nil && s.mode.fails("replace", key) {
		return 0, lost("a snapshot")
	}
	return next, err
}

// publish wraps the publishing of facts.
func (f *Failing) publish(all func(context.Context, string, event.Envelope) error) func(context.Context, string, event.Envelope) error {
	if f == nil {
		return all
	}
	return func(ctx context.Context, subject string, e event.Envelope) error {
		err := all(ctx, subject, e)
		if err == nil && f.fails("fact", subject) {
			return lost("a fact")
		}
		return err
	}
}

// pages wraps the pages. A call that is said to have failed leaves its page as
// it is: the next attempt finds the same one.
func (f *Failing) pages(all session.Pool) session.Pool {
	if f == nil {
		return all
	}
	return failingPool{all, f}
}

type failingPool struct {
	session.Pool

	mode *Failing
}

// Open implements session.Pool.
func (p failingPool) Open(ctx context.Context, r session.Request) (session.Tab, error) {
	tab, err := p.Pool.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	return failingTab{tab, p.mode, r.Label}, nil
}

type failingTab struct {
	session.Tab

	mode  *Failing
	label string
}

// Call implements session.Tab.
func (t failingTab) Call(ctx context.Context, name string, arg, out any) error {
	err := t.Tab.Call(ctx, name, arg, out)
	if err == nil && t.mode.fails("page", t.label+" "+name) {
		return fault.New(fault.PageCrashed, "the answer of %s was lost, by the test mode", name)
	}
	return err
}

// OpenPage implements session.Tab.
func (t failingTab) OpenPage(ctx context.Context, r session.Request) (session.Tab, error) {
	further, err := t.Tab.OpenPage(ctx, r)
	if err != nil {
		return nil, err
	}
	return failingTab{further, t.mode, r.Label}, nil
}
