package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"github.com/parley-chat/parley/internal/event"
	"github.com/parley-chat/parley/internal/fault"
	"github.com/parley-chat/parley/internal/ingest"
)

const (
	// backfillLines and backfillBytes bound what is stored together. A rate makes
	// it less: what comes in a fifth of a second.
	backfillLines = 512
	backfillBytes = 4 << 20
	// saveEvery is how often the place is kept while all goes well. After a crash
	// the lines since then come again, and are duplicates.
	saveEvery = time.Second
	// storeWithin bounds one try to store a batch. It outlives the stop.
	storeWithin = 30 * time.Second
	// storeTries is how often a batch is tried while the bus is away.
	storeTries = 10
)

// backfill is one run of the command.
type backfill struct {
	*cli
	cmd   *backfillCmd
	edge  *ingest.Edge
	name  string // of the source
	read  func(ctx context.Context, line []byte, at time.Time) []ingest.Item
	limit *rate.Limiter
	batch int // lines that are stored together, and the limit's burst
	state *backfillState
	begun time.Time
	saved time.Time
	shown time.Time
	here  int64 // lines of this run
}

// run reads one file after the other.
func (j *backfill) run(ctx context.Context) error {
	path := j.cmd.State
	if path == "" {
		path = j.cmd.Files[0] + ".backfill.json"
	}
	var err error
	switch {
	case j.cmd.DryRun:
		j.state = &backfillState{Files: map[string]filePlace{}}
	case j.cmd.Restart:
		j.state = &backfillState{Source: j.name, Files: map[string]filePlace{}, path: path}
	default:
		if j.state, err = loadState(path, j.name); err != nil {
			return err
		}
	}
	j.begun = time.Now()
	for _, name := range j.cmd.Files {
		if err = j.file(ctx, name); err != nil {
			break
		}
	}
	j.progress("", nil, true)
	err = errors.Join(err, j.state.save())
	if err != nil && ctx.Err() != nil {
		_, _ = fmt.Fprintf(j.Stderr, "stopped after %d lines; the same command goes on from there\n", j.state.Tally.Lines)
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if err := writeJSON(j.Stdout, j.state.Tally, ""); err != nil {
		return err
	}
	if j.state.Tally.Rejected+j.state.Tally.Conflict > 0 {
		return silentError{1}
	}
	return nil
}

// file stores the lines of one file that are not stored yet.
func (j *backfill) file(ctx context.Context, name string) error {
	key, err := filepath.Abs(name)
	if err != nil {
		return fault.New(fault.BadConfig, "finding the file %s", name).Because(err)
	}
	place, err := j.state.place(key)
	if err != nil || place.Done {
		return err
	}
	lines, err := openLines(name)
	if err != nil {
		return err
	}
	defer lines.close()
	if err := lines.skip(place.Offset, place.Line); err != nil {
		return fault.New(fault.BadConfig, "going on with the file %s", name).Because(err).WithFix("begin anew with --restart")
	}
	for !place.Done {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		batch, last := j.gather(ctx, lines)
		if last != nil && !errors.Is(last, io.EOF) {
			// What came before the damage is stored.
			last = fault.New(fault.Malformed, "reading the file %s", name).Because(last)
		}
		if err := j.store(ctx, name, batch); err != nil {
			return err
		}
		place.Offset, place.Line, place.Done = lines.offset, lines.line, errors.Is(last, io.EOF)
		j.state.Files[key] = place
		j.progress(name, lines, false)
		if last != nil && !place.Done {
			return last
		}
		if time.Since(j.saved) >= saveEvery {
			if err := j.state.save(); err != nil {
				return err
			}
			j.saved = time.Now()
		}
	}
	return nil
}

// gathered is a number of events, and the lines that they came from.
type gathered struct {
	items []ingest.Item
	lines []int64 // of each item
	read  int64   // lines
}

// gather reads a batch. The error says why there are no more lines.
func (j *backfill) gather(ctx context.Context, lines *lineFile) (g gathered, err error) {
	for size := 0; g.read < int64(j.batch) && size < backfillBytes; {
		text, long, err := lines.next()
		if err != nil {
			return g, err
		}
		g.read++
		size += len(text)
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		items := []ingest.Item{{Raw: text, Err: fault.New(fault.TooLarge, "the line has more than %d bytes", maxLine)}}
		if !long {
			items = j.read(ctx, text, time.Now().UTC())
		}
		for _, item := range items {
			item.Authenticated = event.AuthenticFull
			g.items, g.lines = append(g.items, item), append(g.lines, lines.line)
		}
	}
	return g, nil
}

// store stores a batch, as fast as it may, and counts what became of it. The stop
// waits for a batch that is under way.
func (j *backfill) store(ctx context.Context, name string, g gathered) error {
	if len(g.items) == 0 {
		j.count(g)
		return nil
	}
	for rest := len(g.items); rest > 0; rest -= j.batch {
		if err := j.limit.WaitN(ctx, min(rest, j.batch)); err != nil {
			return context.Cause(ctx)
		}
	}
	results, err := j.try(ctx, g.items)
	if err != nil {
		return err
	}
	j.count(g)
	t := &j.state.Tally
	for i, r := range results {
		switch {
		case r.Rejected != nil:
			t.Rejected++
			j.complain(name, g.lines[i], r.ID, r.Rejected)
		case r.Conflict:
			t.Conflict++
			j.complain(name, g.lines[i], r.ID, fault.New(fault.IDReused, "another event with this id is stored"))
		case r.Duplicate:
			t.Duplicate++
		default:
			t.Stored++
		}
	}
	return nil
}

func (j *backfill) count(g gathered) {
	j.here += g.read
	j.state.Tally.Lines += g.read
}

// try stores the events, again while the bus is away.
func (j *backfill) try(ctx context.Context, items []ingest.Item) ([]ingest.Result, error) {
	for n := 1; ; n++ {
		bounded, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), storeWithin,
			fault.New(fault.BusUnavailable, "the bus did not store the events within %s", storeWithin))
		results, err := j.edge.Backfill(bounded, j.name, items, j.cmd.Live)
		cancel()
		if err == nil || n == storeTries || !fault.Retryable(err) && fault.CodeOf(err) != fault.Expired {
			return results, err //nolint:wrapcheck // It says what was being done.
		}
		pause := time.NewTimer(max(time.Second, fault.From(err).After))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil, context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// complaint is what is printed of a line that is wrong.
type complaint struct {
	File    string         `json:"file"`
	Line    int64          `json:"line"`
	ID      string         `json:"id,omitempty"`
	Problem *event.Problem `json:"problem"`
}

func (j *backfill) complain(name string, line int64, id string, why error) {
	if j.Terminal.Err {
		_, _ = fmt.Fprint(j.Stderr, "\r\x1b[K")
	}
	_ = writeJSON(j.Stdout, complaint{name, line, id, problemOf(why)}, "") // A closed pipe ends us anyway.
}

// progress shows on a terminal how far it is, a few times in a second.
func (j *backfill) progress(name string, lines *lineFile, last bool) {
	if !j.Terminal.Err || !last && time.Since(j.shown) < 200*time.Millisecond {
		return
	}
	j.shown = time.Now()
	t, where := j.state.Tally, "done"
	if lines != nil {
		where = fmt.Sprintf("%s %d %%", filepath.Base(name), int(100*lines.done()))
	}
	speed := float64(j.here) / max(time.Since(j.begun).Seconds(), 0.001)
	_, _ = fmt.Fprintf(j.Stderr, "\r\x1b[K%s: %d lines, %d stored, %d duplicate, %d rejected, %.0f/s",
		where, t.Lines, t.Stored, t.Duplicate, t.Rejected+t.Conflict, speed)
	if last {
		_, _ = fmt.Fprintln(j.Stderr)
	}
}
