package ours

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/parley-chat/parley/bench/contend"
	"github.com/parley-chat/parley/bench/message"
	"github.com/parley-chat/parley/internal/bus"
	"github.com/parley-chat/parley/internal/event"
)

// window is how long the timers of a round of ten thousand lie apart.
const window = time.Minute

// timers are those of many visitors, of whom hardly any is due.
type timers struct {
	bus   *bus.Bus
	dir   string
	count int
	sent  int
	// memory and disk are what each of those that wait takes, in bytes.
	memory, disk float64
}

func startTimers(ctx context.Context, s contend.Setup) (*timers, error) {
	b, err := openBus(ctx, bus.Options{Dir: s.Dir})
	if err != nil {
		return nil, err
	}
	t := &timers{bus: b, dir: s.Dir, count: s.Sessions}
	memory, disk, err := t.weigh()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	begun := time.Now()
	err = t.set(ctx, s.Sessions, func(int) time.Time {
		return begun.Add(24*time.Hour + time.Duration(rand.Int64N(int64(30*24*time.Hour))))
	})
	if err != nil {
		return nil, err
	}
	fullMemory, fullDisk, err := t.weigh()
	t.memory, t.disk = float64(fullMemory-memory)/float64(s.Sessions), float64(fullDisk-disk)/float64(s.Sessions)
	return t, err
}

// weigh returns the memory of the process, after it gave back what it can, and
// what its folder takes.
func (t *timers) weigh() (memory, disk int64, err error) {
	debug.FreeOSMemory()
	if memory, err = contend.OwnMemory(); err != nil {
		return 0, 0, fmt.Errorf("measuring the memory: %w", err)
	}
	err = filepath.WalkDir(t.dir, func(_ string, file fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // It was removed meanwhile.
		}
		if err != nil || file.IsDir() {
			return err
		}
		info, err := file.Info()
		if err == nil {
			disk += info.Size()
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("measuring the folder: %w", err)
	}
	return memory, disk, err
}

// set sets timers as runs of workflows do, many in one commit, each of a visitor
// of its own.
func (t *timers) set(ctx context.Context, n int, due func(i int) time.Time) error {
	const together = 500
	var under []*bus.Commitment
	for from := 0; from < n; from += together {
		var msgs []bus.FlowMsg
		for i := from; i < min(from+together, n); i++ {
			t.sent++
			session := event.SessionKey(message.Site, event.Visitor{UserID: "u-" + strconv.Itoa(t.sent)})
			run := strconv.FormatInt(int64(t.sent), 36)
			msgs = append(msgs, bus.FlowMsg{
				Subject: event.TimerSubject(message.Site, session, run+"-wait"), Due: due(i),
				Target: event.WakeSubject(message.Site, session, run, "wait"), Data: []byte(`{}`),
			})
		}
		if under = append(under, t.bus.CommitAsync(ctx, msgs)); len(under) < 4 && from+together < n {
			continue
		}
		for _, commit := range under {
			if _, err := commit.Wait(ctx); err != nil {
				return fmt.Errorf("setting timers: %w", err)
			}
		}
		under = nil
	}
	return nil
}

// Round sets timers that are due within the next minute, or within a part of it
// when they are fewer than ten thousand, and reads them as they fire.
func (t *timers) Round(o contend.Order) (contend.Report, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	spread := window * time.Duration(o.Jobs) / 10_000
	if o.Round == 0 {
		spread /= 4 // It only warms up.
	}
	dues := map[string]time.Time{}
	first := t.sent
	begun := time.Now()
	lead := 2*time.Second + spread/10 // until all are set
	err := t.set(ctx, o.Jobs, func(i int) time.Time {
		at := begun.Add(lead + time.Duration(rand.Int64N(int64(spread))))
		dues[strconv.FormatInt(int64(first+i+1), 36)] = at
		return at
	})
	if err != nil {
		return contend.Report{}, err
	}
	if late := time.Since(begun); late > lead {
		return contend.Report{}, fmt.Errorf("it took %s to set the timers, and the first is due after %s", late, lead)
	}
	late, err := t.fire(ctx, begun, dues)
	return contend.Report{Jobs: len(late), WallUS: float64(time.Since(begun).Microseconds()), LatenciesUS: late, Values: map[string]float64{
		contend.TimerMemory: t.memory, contend.TimerDisk: t.disk,
	}}, err
}

// fire reads the timers that fire until all of these have, and returns how late
// each was, in microseconds.
func (t *timers) fire(ctx context.Context, begun time.Time, dues map[string]time.Time) (late []float64, err error) {
	for d, err := range t.bus.Read(ctx, bus.ReadOptions{Stream: bus.StreamFlow, Filters: []string{event.WakeFilter()}, Since: begun, Follow: true}) {
		if err != nil {
			return nil, fmt.Errorf("reading the timers that fire: %w", err)
		}
		now := time.Now()
		run := strings.Split(d.Subject, ".")[3] // See event.WakeSubject.
		due, waits := dues[run]
		if !waits {
			return nil, fmt.Errorf("the timer %s fired twice, or was not set", d.Subject)
		}
		if now.Before(due) || d.StoredAt.Before(due) {
			return nil, fmt.Errorf("the timer %s fired %s early", d.Subject, due.Sub(d.StoredAt))
		}
		delete(dues, run)
		late = append(late, float64(now.Sub(due).Nanoseconds())/1000)
		if len(dues) == 0 {
			return late, nil
		}
	}
	return nil, fmt.Errorf("%d timers did not fire: %w", len(dues), context.Cause(ctx))
}

// Close leaves the server to the end of the process: to put away a million
// timers in order takes longer than anybody waits, and nobody reads them again.
func (*timers) Close() error { return nil }
