package ours

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
)

const (
	// crewSize is how many workers there are, and crewLanes how many sessions each
	// works for at the same time.
	crewSize  = 3
	crewLanes = 64
	// rate is how many commands are sent in a second.
	rate = 500
	// calm is the time between the faults, and paused how long a worker is paused.
	calm   = time.Second
	paused = 5 * time.Second
)

// failover takes workers away under load, and sees when their partitions go on.
type failover struct {
	*crew
	visitors []int
	sent     int
}

func startFailover(ctx context.Context, s contend.Setup) (*failover, error) {
	c, err := startCrew(ctx, s.Dir, crewSize, crewLanes)
	if err != nil {
		return nil, err
	}
	return &failover{crew: c, visitors: spread(6)}, nil
}

// order is a command on its way.
type order struct {
	id    string
	begun time.Time
}

// load is what was sent in one round.
type load struct {
	mu   sync.Mutex // guards the fields below
	sent [partitions][]order
	err  error
}

// faults are what a round does, in this order.
func faults() []struct {
	measure string
	signal  syscall.Signal
} {
	return []struct {
		measure string
		signal  syscall.Signal
	}{
		{contend.FailoverKill, syscall.SIGKILL},
		{contend.FailoverStop, syscall.SIGTERM},
		{contend.FailoverPause, syscall.SIGSTOP},
	}
}

// Round does so many of the faults under load. Every command must be done.
func (f *failover) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sending, calmDown := context.WithCancel(ctx)
	defer calmDown()
	l := &load{}
	var work sync.WaitGroup
	work.Go(func() { l.err = f.send(sending, ctx, l) })
	report := contend.Report{Jobs: o.Jobs, Values: map[string]float64{}}
	var failed error
	for i, one := range faults()[:o.Jobs] {
		waits, err := f.hurt(ctx, l, one.signal, o.Round+i)
		if err != nil {
			failed = fmt.Errorf("%s: %w", one.signal, err)
			break
		}
		report.Values[one.measure] = contend.Percentile(waits, 99)
	}
	calmDown()
	work.Wait()
	if err := errors.Join(failed, l.err); err != nil {
		return report, err
	}
	var ids []string
	for _, all := range l.sent {
		for _, one := range all {
			ids = append(ids, one.id)
		}
	}
	_, err := f.deeds.wait(ctx, ids)
	return report, err
}

// send sends commands at the rate until sending ends, and waits until all are
// stored.
func (f *failover) send(sending, ctx context.Context, l *load) error {
	const beat = 4 * time.Millisecond
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var under []*bus.Future
	begun, n := time.Now(), 0
	for sending.Err() == nil {
		select {
		case <-ticker.C:
		case <-sending.Done():
		}
		for due := int(time.Since(begun).Seconds() * rate); n < due; n++ {
			visitor := f.visitors[n%len(f.visitors)]
			command := message.Command(2*f.sent, visitor)
			f.sent++
			l.add(visitor, order{command.ID, time.Now()})
			under = append(under, f.bus.PublishAsync(message.CommandSubject(command), command))
		}
	}
	for _, future := range under {
		if _, err := future.Wait(ctx); err != nil {
			return fmt.Errorf("publishing a command: %w", err)
		}
	}
	return nil
}

func (l *load) add(visitor int, one order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := partitionOf(visitor)
	l.sent[at] = append(l.sent[at], one)
}

// of returns what was sent to the partition so far.
func (l *load) of(partition int) []order {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clip(l.sent[partition])
}

// hurt sends the signal to a worker, and returns how long each of its
// partitions waited for its first action elsewhere, in microseconds. Then it
// makes the crew whole again.
func (f *failover) hurt(ctx context.Context, l *load, s syscall.Signal, pick int) ([]float64, error) {
	if err := rest(ctx, calm); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(f.members))
	victim := names[pick%len(names)]
	lost, err := f.owned(ctx, victim)
	if err != nil {
		return nil, err
	}
	at := time.Now()
	if err := f.signal(victim, s); err != nil {
		return nil, err
	}
	var waits []float64
	err = until(ctx, func() bool {
		waits = waits[:0]
		for _, partition := range lost {
			if wait, ok := f.elsewhere(l.of(partition), victim, at); ok {
				waits = append(waits, microseconds(wait))
			}
		}
		return len(waits) == len(lost)
	})
	if err != nil {
		return nil, fmt.Errorf("%d of the %d partitions of %s have gone on elsewhere: %w", len(waits), len(lost), victim, err)
	}
	return waits, f.mend(ctx, s, victim, at)
}

// elsewhere returns how long the partition waited for the first action of
// another worker: from the fault, or from when there was something to do.
func (f *failover) elsewhere(sent []order, victim string, at time.Time) (time.Duration, bool) {
	var first, waiting time.Time
	for _, one := range sent {
		done, ok := f.deeds.of(one.id)
		if !ok || done.worker == victim || done.at.Before(at) {
			continue
		}
		if first.IsZero() || done.at.Before(first) {
			first = done.at
		}
		if waiting.IsZero() || one.begun.Before(waiting) {
			waiting = one.begun
		}
	}
	if first.IsZero() {
		return 0, false
	}
	if waiting.Before(at) {
		waiting = at
	}
	return first.Sub(waiting), true
}

// mend makes the crew whole again.
func (f *failover) mend(ctx context.Context, s syscall.Signal, victim string, at time.Time) error {
	if s == syscall.SIGSTOP {
		if err := rest(ctx, time.Until(at.Add(paused))); err != nil {
			return err
		}
		if err := f.signal(victim, syscall.SIGCONT); err != nil {
			return err
		}
		return f.settled(ctx)
	}
	if err := f.gone(victim); err != nil {
		return err
	}
	if err := f.add(ctx); err != nil {
		return err
	}
	return f.settled(ctx)
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting: %w", context.Cause(ctx))
	}
}
